//! Secrets of gateways: the certificates that their servers name, and the rules of their calls (SDS).
//!
//! Knows: how servers name Secrets, and Envoy's message. Must not know: who may have one; only layers of proxies that may have the Secrets
//! of their namespace ask here.   Start at [`SecretsKey`] (which there are) and [`SecretKey`] (each of them).
//! Invariant: no other namespace's Secret is ever read. A change of a Secret makes that one resource again, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::destination_rule::{ClientTls, TlsMode};
use meltemi_api::gateway::ServerTls;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::entry::IndexKey;
use meltemi_model::gateway::GatewaySet;
use meltemi_model::gateway::merge::Merged;
use meltemi_model::read::{self, Read, filed};
use meltemi_names::{Kind, Namespace, ObjectKey, ObjectName, TypeUrl};
use meltemi_proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};

use crate::encode::whole;
use crate::key::{Made, Members, ResourceKey};

/// What the name of a Secret's part that verifies clients ends in (Istio: pilot/pkg/security/model/authentication.go).
const OF_ROOTS: &str = "-cacert";

/// How SDS names begin that stand for Secrets (Istio: pilot/pkg/model/credentials/resource.go).
const SCHEME: &str = "kubernetes://";

/// The SDS name of a server's certificate in the Secret of that name, as it is written in a Gateway.
pub(crate) fn certificate_name(written: &str) -> String {
    if written.contains("://") { written.to_owned() } else { format!("{SCHEME}{written}") }
}

/// The SDS name of what clients are verified by, where `written` names the certificate, or the Secret of the roots itself.
pub(crate) fn roots_name(written: &str) -> String {
    certificate_name(&format!("{}{OF_ROOTS}", of_roots(written)))
}

/// The name without the end that says that it is of roots: whether it is written makes no difference (Istio: pilot/pkg/credentials/kube,
/// `GetCaCert`).
fn of_roots(written: &str) -> &str {
    written.strip_suffix(OF_ROOTS).unwrap_or(written)
}

/// The Secrets that may hold what clients are verified by, the first that is there counts; none as for [`secret_of`].
pub(crate) fn secrets_of_roots(written: &str, namespace: &Namespace) -> Option<[ObjectKey; 2]> {
    let own = secret_of(of_roots(written), namespace)?;
    let beside = ObjectKey::new(Kind::Secret, namespace.clone(), format!("{}{OF_ROOTS}", own.name).as_str());
    Some([beside, own])
}

/// The Secret that a name stands for at a proxy of `namespace`; none for one of another namespace, or of another sort.
pub fn secret_of(written: &str, namespace: &Namespace) -> Option<ObjectKey> {
    let name = written.strip_prefix(SCHEME).unwrap_or(written);
    let name = match name.split_once('/') {
        Some((own, name)) => Some(name).filter(|_| own == namespace.as_str())?,
        None => name,
    };
    let is_name = !name.is_empty() && !name.contains([':', '/']);
    is_name.then(|| ObjectKey::new(Kind::Secret, namespace.clone(), name))
}

/// The secrets of the gateways that some proxies serve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretsKey {
    /// The Gateways.
    pub set: GatewaySet,
    /// The proxies' namespace, whose Secrets they may have.
    pub namespace: Namespace,
    /// They may have certificates with their keys, and not only what verifies others.
    pub keys: bool,
}

impl Question for SecretsKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: secrets of gateways";

    fn answer(&self, read: &Read<'_>) -> Members {
        let merged = read.ask(Merged(self.set.clone()));
        let mut secrets = BTreeSet::new();
        let terminating = merged.listeners.values().flatten().filter_map(|server| server.server.terminates());
        for tls in terminating {
            secrets.extend(self.of(tls));
        }
        // Whether some call goes by a rule makes no difference: of these Envoy asks for what its clusters name.
        for rule in filed(read, IndexKey::RulesWithCredentials) {
            let rule = read::destination_rule(read, rule).map(|(_, rule)| rule);
            for tls in rule.iter().flat_map(|rule| rule.policies()).flat_map(|policy| policy.each_tls()) {
                secrets.extend(self.of_rule(tls));
            }
        }
        secrets.into_iter().map(ResourceKey::from).collect()
    }
}

impl SecretsKey {
    /// The secrets of one server.
    fn of(&self, tls: &ServerTls) -> impl Iterator<Item = SecretKey> {
        let certificates = tls.credentials().iter().filter_map(|written| self.certificate(written));
        certificates.chain(tls.roots_credential().and_then(|written| self.roots(written)))
    }

    /// Those of a rule for calls.
    fn of_rule(&self, tls: &ClientTls) -> impl Iterator<Item = SecretKey> {
        let shown = tls.credential().filter(|_| tls.mode == TlsMode::Mutual);
        let roots = tls.credential().filter(|_| !tls.insecure_skip_verify);
        let shown = shown.and_then(|written| self.certificate(written));
        shown.into_iter().chain(roots.and_then(|written| self.roots(written)))
    }

    fn certificate(&self, written: &str) -> Option<SecretKey> {
        let secret = secret_of(written, &self.namespace).filter(|_| self.keys)?;
        Some(SecretKey::of(certificate_name(written), secret, Part::Certificate))
    }

    fn roots(&self, written: &str) -> Option<SecretKey> {
        let secret = secret_of(of_roots(written), &self.namespace)?;
        Some(SecretKey::of(roots_name(written), secret, Part::Roots))
    }
}

/// Which part of a Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The certificate and its key.
    Certificate,
    /// What others are verified by.
    Roots,
}

/// One secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretKey {
    /// Its name for SDS.
    pub name: Arc<str>,
    /// The namespace of the Secret.
    pub namespace: Namespace,
    /// The Secret that holds it; of roots the one that a Secret `<name>-cacert` goes before.
    pub secret: ObjectName,
    /// Which part.
    pub part: Part,
}

impl SecretKey {
    fn of(name: String, secret: ObjectKey, part: Part) -> Self {
        Self { name: name.into(), namespace: secret.namespace, secret: secret.name, part }
    }
}

impl Question for SecretKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "secret";

    fn answer(&self, read: &Read<'_>) -> Made {
        let key = |name: &str| ObjectKey::new(Kind::Secret, self.namespace.clone(), name);
        let (own, beside) = (key(self.secret.as_str()), key(&format!("{}{OF_ROOTS}", self.secret)));
        let (kind, from) = match self.part {
            Part::Certificate => {
                let certificate = read::credential(read, &own)?.certificate.as_ref()?;
                let kind = secret::Type::TlsCertificate(TlsCertificate {
                    certificate_chain: Some(inline(&certificate.chain)),
                    private_key: Some(inline(certificate.key.reveal())),
                    ocsp_staple: certificate.staple.as_deref().map(inline),
                    ..TlsCertificate::default()
                });
                (kind, own)
            }
            Part::Roots => {
                // The Secret of roots alone goes before (Istio: pilot/pkg/credentials/kube, `GetCaCert`).
                let (credential, from) = match read::credential(read, &beside) {
                    Some(credential) => (credential, beside),
                    None => (read::credential(read, &own)?, own),
                };
                let kind = secret::Type::ValidationContext(CertificateValidationContext {
                    trusted_ca: Some(inline(credential.roots.as_deref()?)),
                    crl: credential.revoked.as_deref().map(inline),
                    ..CertificateValidationContext::default()
                });
                (kind, from)
            }
        };
        let secret = Secret { name: self.name.to_string(), r#type: Some(kind) };
        Some(whole(TypeUrl::Secret, (&*self.name).into(), &secret, Vec::new(), vec![from]))
    }
}

fn inline(bytes: &[u8]) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(bytes.to_vec())), ..DataSource::default() }
}
