//! Istio's environment variables (Istio: pilot/cmd/pilot-agent/options).

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Note, OptionsError, value};

const STATIC_LABELS: &str = "ISTIO_METAJSON_LABELS";

/// The environment. An empty variable is one that is not set.
pub(super) struct Env<'a>(pub(super) &'a BTreeMap<String, String>);

impl<'a> Env<'a> {
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "t"))
    }

    pub(super) fn number<T: FromStr<Err: std::fmt::Display>>(
        &self,
        name: &str,
        flag: Option<T>,
        usual: T,
    ) -> Result<T, OptionsError> {
        match (flag, self.text(name)) {
            (Some(given), _) => Ok(given),
            (None, Some(text)) => text.parse().map_err(|error| value(name, text, &error)),
            (None, None) => Ok(usual),
        }
    }

    pub(super) fn ratio(&self, name: &str, usual: f64) -> Result<f64, OptionsError> {
        let ratio: f64 = self.number(name, None, usual)?;
        if (0.0..=1.0).contains(&ratio) {
            Ok(ratio)
        } else {
            Err(value(name, &ratio.to_string(), &"it is not between 0 and 1"))
        }
    }

    pub(super) fn duration(
        &self,
        name: &str,
        flag: Option<Duration>,
        usual: Duration,
    ) -> Result<Duration, OptionsError> {
        match (flag, self.text(name)) {
            (Some(given), _) => Ok(given),
            (None, Some(text)) => duration(name, text),
            (None, None) => Ok(usual),
        }
    }

    /// Headers that variables of that prefix name.
    pub(super) fn headers(&self, prefix: &str) -> Vec<(String, String)> {
        let named = self.0.iter().filter_map(|(name, text)| Some((name.strip_prefix(prefix)?, text)));
        named
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, text)| (name.to_ascii_lowercase(), text.clone()))
            .collect()
    }

    /// Labels that are set by hand, where Kubernetes sets none.
    pub(super) fn static_labels(&self, notes: &mut Vec<Note>) -> BTreeMap<String, String> {
        let Some(text) = self.text(STATIC_LABELS) else { return BTreeMap::new() };
        serde_json::from_str(text).unwrap_or_else(|_| {
            let reason = "it is no JSON object of texts".to_owned();
            notes.push(Note::Ignored { place: STATIC_LABELS.to_owned(), reason });
            BTreeMap::new()
        })
    }

    /// `ISTIO_META_<KEY>`, and the objects of `ISTIO_METAJSON_<ANY>`.
    pub(super) fn metadata(&self, notes: &mut Vec<Note>) -> Map<String, Value> {
        let mut metadata = Map::new();
        for (name, text) in self.0 {
            if let Some(key) = name.strip_prefix("ISTIO_META_").filter(|key| !key.is_empty()) {
                metadata.insert(key.to_owned(), text.as_str().into());
            } else if name.starts_with("ISTIO_METAJSON_") && name != STATIC_LABELS {
                match serde_json::from_str(text) {
                    Ok(Value::Object(fields)) => metadata.extend(fields),
                    _ => notes.push(Note::Ignored {
                        place: name.clone(),
                        reason: "it is no JSON object".to_owned(),
                    }),
                }
            }
        }
        metadata
    }
}

/// A duration as Go and Protobuf write it: `90s`, `1h30m`, `500ms`.
pub(super) fn duration(place: &str, text: &str) -> Result<Duration, OptionsError> {
    let read = jiff::SignedDuration::from_str(text).map_err(|error| value(place, text, &error))?;
    Duration::try_from(read).map_err(|_| value(place, text, &"it is less than nothing"))
}

/// Variables that Istio's agent acts on and this one does not, with the value that means nothing, and what is so instead.
const UNSUPPORTED: &[(&str, &str, &str)] = &[
    ("CA_PROVIDER", "Citadel", "certificates are asked for by Istio's certificate service"),
    ("CREDENTIAL_FETCHER_TYPE", "JWT", "the token is read from its file"),
    ("DISABLE_ENVOY", "false", "Envoy is started"),
    ("DNS_PROXY_ADDR", "", "no DNS is served here"),
    ("ECC_CURVE", "P256", "keys are P-256"),
    ("ECC_SIGNATURE_ALGORITHM", "ECDSA", "keys are P-256"),
    ("FILE_MOUNTED_CERTS", "false", "the certificate is asked for"),
    ("GRPC_XDS_BOOTSTRAP", "", "no bootstrap for gRPC is written"),
    (
        "ISTIO_META_DNS_CAPTURE",
        "false",
        "no DNS is served here; names are resolved by the pod's own resolver",
    ),
    ("OUTPUT_CERTS", "", "certificates are written nowhere"),
    ("PILOT_CERT_PROVIDER", "istiod", "the control plane is verified by the roots' file"),
    ("PKCS8_KEY", "true", "keys are PKCS#8"),
    ("PROV_CERT", "", "the certificate is asked for with the token"),
    ("PROXY_CONFIG_XDS_AGENT", "false", "roots come with certificates and the roots' file"),
    ("WORKLOAD_RSA_KEY_SIZE", "2048", "keys are P-256"),
];

pub(super) fn unsupported(env: &Env<'_>, notes: &mut Vec<Note>) {
    for (name, usual, instead) in UNSUPPORTED {
        if env.text(name).is_some_and(|text| text != *usual) {
            notes.push(Note::Unsupported { place: (*name).to_owned(), instead });
        }
    }
    for name in ["XDS_ROOT_CA", "CA_ROOT_CA"] {
        if env.text(name) == Some("SYSTEM") {
            notes.push(Note::Unsupported {
                place: format!("{name}=SYSTEM"),
                instead: "name the file with the system's roots",
            });
        }
    }
}
