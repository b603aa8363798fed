//! Secret, as far as it is a certificate: what the servers of a Gateway show, and verify their clients by.
//!
//! Must not know: who may have it.   Invariant: nothing of a Secret is ever in a finding, not even where it is no Base64.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meltemi_names::Secret;
use serde_json::{Map, Value};

/// What is read of a Secret. Its keys are those of Istio (pilot/pkg/credentials/kube): of a certificate `cert` and `key`, else `tls.crt`
/// and `tls.key`; of what verifies others `cacert`, else `ca.crt`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    /// A certificate chain and its key, PEM.
    pub certificate: Option<Certificate>,
    /// What others are verified by, PEM.
    pub roots: Option<Arc<[u8]>>,
    /// What of these counts no more, PEM (`crl`, else `ca.crl`).
    pub revoked: Option<Arc<[u8]>>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The chain, PEM.
    pub chain: Arc<[u8]>,
    /// The key, PEM.
    pub key: Secret<Arc<[u8]>>,
    /// The last answer of the authority about it (`tls.ocsp-staple`).
    pub staple: Option<Arc<[u8]>>,
}

/// The keys of which one makes a Secret a credential.
const KEYS: [&str; 6] = ["cert", "key", "cacert", "tls.crt", "tls.key", "ca.crt"];

/// The types of Secrets that are no certificate, whatever they hold: tokens, passwords, releases of Helm, and what signs for the mesh. One
/// of any other type may be one, as in Istio.
pub const NO_CREDENTIALS: [&str; 8] = [
    "kubernetes.io/service-account-token",
    "kubernetes.io/dockercfg",
    "kubernetes.io/dockerconfigjson",
    "kubernetes.io/basic-auth",
    "kubernetes.io/ssh-auth",
    "bootstrap.kubernetes.io/token",
    "helm.sh/release.v1",
    "istio.io/ca-root",
];

/// The type of a Secret that can be nothing but a certificate.
const OF_CERTIFICATES: &str = "kubernetes.io/tls";

/// Whether a Secret may be a certificate: others are nobody's business here, tokens and registries' passwords above all.
pub(crate) fn is_credential(object: &Value) -> bool {
    let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
    let has = |part: &str| {
        let data = object.get(part).and_then(Value::as_object);
        data.is_some_and(|data| KEYS.iter().any(|key| data.contains_key(*key)))
    };
    !NO_CREDENTIALS.contains(&kind) && (has("data") || has("stringData"))
}

/// Whether its author can have meant nothing but a certificate, so that one that is none is worth a word.
pub fn is_of_certificates(object: &Value) -> bool {
    object.get("type").and_then(Value::as_str) == Some(OF_CERTIFICATES)
}

impl Credential {
    /// Reads it from a Secret.
    ///
    /// # Errors
    /// With a sentence that names the key and holds nothing of its value.
    pub(crate) fn read(object: &Value) -> Result<Self, String> {
        let none = Map::new();
        let part = |name: &str| object.get(name).and_then(Value::as_object).unwrap_or(&none);
        let (data, texts) = (part("data"), part("stringData"));
        let value = |key: &str| -> Result<Option<Arc<[u8]>>, String> {
            // As the API server does, which lays the texts over the data.
            let bytes = match (texts.get(key), data.get(key)) {
                (Some(Value::String(text)), _) => text.clone().into_bytes(),
                (None, Some(Value::String(text))) => {
                    let text: String = text.split_whitespace().collect();
                    STANDARD.decode(text).map_err(|_| format!("`{key}` of its data is no Base64"))?
                }
                (None | Some(Value::Null), None | Some(Value::Null)) => return Ok(None),
                _ => return Err(format!("`{key}` must be a text")),
            };
            Ok((!bytes.is_empty()).then(|| bytes.into()))
        };
        let chain = |key: &str| holding(key, value(key)?, "CERTIFICATE");
        let private = |key: &str| holding(key, value(key)?, "PRIVATE KEY");
        let generic = (chain("cert")?, private("key")?);
        let (pair, staple) = match generic {
            (Some(_), Some(_)) => (generic, None),
            _ => ((chain("tls.crt")?, private("tls.key")?), value("tls.ocsp-staple")?),
        };
        let certificate = match pair {
            (Some(chain), Some(key)) => Some(Certificate { chain, key: Secret::new(key), staple }),
            (None, None) => None,
            (Some(_), None) => return Err("there is a certificate and no key of it".to_owned()),
            (None, Some(_)) => return Err("there is a key and no certificate of it".to_owned()),
        };
        let roots = match chain("cacert")? {
            Some(roots) => Some(roots),
            None => chain("ca.crt")?,
        };
        let revoked = match value("crl")? {
            Some(list) => Some(list),
            None => value("ca.crl")?,
        };
        if certificate.is_none() && roots.is_none() {
            return Err(
                "it holds neither a certificate with its key nor certificates to verify others by".to_owned()
            );
        }
        Ok(Self { certificate, roots, revoked })
    }
}

/// A value that must hold a PEM block of that kind: Envoy refuses another one, and so the whole response that it comes in.
fn holding(key: &str, value: Option<Arc<[u8]>>, block: &str) -> Result<Option<Arc<[u8]>>, String> {
    let Some(bytes) = value else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let begins = text.lines().any(|line| {
        line.trim_end()
            .strip_prefix("-----BEGIN ")
            .is_some_and(|rest| rest.strip_suffix("-----").is_some_and(|found| found.ends_with(block)))
    });
    if begins {
        Ok(Some(bytes))
    } else {
        Err(format!("`{key}` holds no PEM block of a {}", block.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Credential, is_credential};
    use serde_json::json;

    const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n";

    #[test]
    fn a_certificate_is_found_by_either_pair_of_keys() {
        let both = json!({"stringData": {"tls.crt": CHAIN, "tls.key": KEY, "ca.crt": CHAIN}});
        let read = Credential::read(&both).unwrap();
        assert!(read.certificate.is_some() && read.roots.is_some());
        let generic = json!({"stringData": {"cert": CHAIN, "key": KEY, "tls.crt": "no matter"}});
        assert_eq!(
            Credential::read(&generic).unwrap().certificate.unwrap().key.reveal()[..],
            *KEY.as_bytes()
        );
        let data = json!({"data": {"cacert": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="}});
        assert!(Credential::read(&data).unwrap().certificate.is_none());
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_said_without_it() {
        for bad in [
            json!({"data": {"tls.crt": "%%hidden%%", "tls.key": "%%hidden%%"}}),
            json!({"stringData": {"tls.crt": CHAIN, "tls.key": "hidden"}}),
            json!({"stringData": {"tls.key": KEY}}),
            json!({"data": {"tls.crt": ["hidden"]}}),
        ] {
            let error = Credential::read(&bad).unwrap_err();
            assert!(!error.contains("hidden") && !error.contains("c2VjcmV0"), "{error}");
        }
    }

    #[test]
    fn other_secrets_are_nobodys_business() {
        assert!(!is_credential(
            &json!({"type": "kubernetes.io/service-account-token", "data": {"ca.crt": "x"}})
        ));
        assert!(!is_credential(&json!({"type": "istio.io/ca-root", "data": {"ca.crt": "x"}})));
        assert!(!is_credential(&json!({"type": "Opaque", "data": {"password": "x"}})));
        assert!(is_credential(
            &json!({"type": "example.com/edge", "data": {"tls.crt": "x", "tls.key": "x"}})
        ));
        assert!(is_credential(
            &json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "x", "tls.key": "x"}})
        ));
    }

    #[test]
    fn a_secret_is_handed_on_to_nobody() {
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "stringData": {"tls.crt": CHAIN, "tls.key": KEY}
        });
        let decoded = crate::decode(&object, "default").object.unwrap();
        assert_eq!(decoded.text.json(), None);
        assert!(!format!("{decoded:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_key_does_not_print() {
        let both = json!({"stringData": {"tls.crt": CHAIN, "tls.key": KEY}});
        let printed = format!("{:?}", Credential::read(&both).unwrap());
        assert!(printed.contains("<redacted>") && !printed.contains("PRIVATE"), "{printed}");
    }
}
