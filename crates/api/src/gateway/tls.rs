//! How a server of a Gateway encrypts (Istio's `ServerTLSSettings`).

use crate::markers::not_yet;
use crate::validate::mesh_tls::is_cipher_suite;
use crate::value::non_empty;

/// How connections are encrypted, and what of clients is verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerTls {
    /// Clients in the clear are sent to HTTPS (301).
    pub https_redirect: bool,
    /// Who ends TLS, and whether clients show certificates.
    pub mode: ServerTlsMode,
    /// The file of the certificate chain, at the proxy.
    #[serde(deserialize_with = "non_empty")]
    pub server_certificate: Option<String>,
    /// The file of its key, at the proxy.
    #[serde(deserialize_with = "non_empty")]
    pub private_key: Option<String>,
    /// The file of the certificates that clients' are verified by, at the proxy.
    #[serde(deserialize_with = "non_empty")]
    pub ca_certificates: Option<String>,
    /// The file of the certificates that count no more, at the proxy.
    #[serde(deserialize_with = "non_empty")]
    pub ca_crl: Option<String>,
    /// The Secret with what clients are verified by, instead of the one with the certificate or the one beside it.
    #[serde(deserialize_with = "non_empty")]
    pub ca_cert_credential_name: Option<String>,
    /// The Secret with all of these, in the namespace of the proxy.
    #[serde(deserialize_with = "non_empty")]
    pub credential_name: Option<String>,
    /// Several Secrets instead: one for each kind of key.
    pub credential_names: Vec<String>,
    /// Several pairs of files instead: one for each kind of key.
    pub tls_certificates: Vec<ServerCertificate>,
    /// The names of which a client's certificate must have one; empty: any.
    pub subject_alt_names: Vec<String>,
    /// Hashes of public keys of which a client's must be one; empty: any.
    pub verify_certificate_spki: Vec<String>,
    /// Hashes of certificates of which a client's must be one; empty: any.
    pub verify_certificate_hash: Vec<String>,
    /// The oldest version that is spoken.
    pub min_protocol_version: TlsProtocol,
    /// The newest version that is spoken.
    pub max_protocol_version: TlsProtocol,
    /// Of TLS 1.2; empty: Envoy's.
    pub cipher_suites: Vec<String>,
    /// Curves of the key exchange; empty: Envoy's.
    pub ecdh_curves: Vec<String>,
    /// Clients' certificates are asked for and not verified.
    pub insecure_skip_verify: bool,
}

impl ServerTls {
    /// The cipher suites that count: each of those that are known, once (Istio: pkg/config/security, `FilterCipherSuites`).
    pub fn known_cipher_suites(&self) -> Vec<&str> {
        let mut known: Vec<&str> = Vec::new();
        for suite in &self.cipher_suites {
            if is_cipher_suite(suite) && !known.contains(&suite.as_str()) {
                known.push(suite);
            }
        }
        known
    }

    /// The Secret that says by what clients are verified: of several certificates' the first, as in Istio (pilot/pkg/security/model/
    /// authentication.go). None where no Secret holds the certificate either.
    pub fn roots_credential(&self) -> Option<&str> {
        let first = self.credentials().first().filter(|_| self.mode.verifies())?;
        Some(self.ca_cert_credential_name.as_ref().unwrap_or(first))
    }

    /// The Secrets that it names.
    pub fn credentials(&self) -> &[String] {
        match &self.credential_name {
            Some(name) if self.credential_names.is_empty() => std::slice::from_ref(name),
            _ => &self.credential_names,
        }
    }
}

/// Who ends TLS, and whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerTlsMode {
    /// The destination; connections are told apart by the name that the client asks for.
    #[default]
    Passthrough,
    /// The proxy.
    Simple,
    /// The proxy, and clients show a certificate.
    Mutual,
    /// The destination, which the name that the client asks for says itself.
    AutoPassthrough,
    /// The proxy with the mesh's own certificates, and clients show such a one.
    IstioMutual,
    /// The proxy, and clients may show a certificate.
    OptionalMutual,
}

impl ServerTlsMode {
    /// Whether the proxy hands the encrypted bytes on.
    pub fn passes_on(self) -> bool {
        matches!(self, Self::Passthrough | Self::AutoPassthrough)
    }

    /// Whether a client's certificate is verified where there is one.
    pub fn verifies(self) -> bool {
        matches!(self, Self::Mutual | Self::OptionalMutual)
    }
}

/// A certificate by its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerCertificate {
    /// The file of the certificate chain, at the proxy.
    #[serde(deserialize_with = "non_empty")]
    pub server_certificate: Option<String>,
    /// The file of its key, at the proxy.
    #[serde(deserialize_with = "non_empty")]
    pub private_key: Option<String>,
    /// Not read: clients are verified by the certificates beside the list, as in Istio.
    pub ca_certificates: not_yet::CaOfCertificate,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
pub enum TlsProtocol {
    /// As Envoy has it: from 1.2 to 1.3.
    #[default]
    #[serde(rename = "TLS_AUTO")]
    Auto,
    /// 1.0.
    #[serde(rename = "TLSV1_0")]
    V1_0,
    /// 1.1.
    #[serde(rename = "TLSV1_1")]
    V1_1,
    /// 1.2.
    #[serde(rename = "TLSV1_2")]
    V1_2,
    /// 1.3.
    #[serde(rename = "TLSV1_3")]
    V1_3,
}
