//! The workload's key, and the request for a certificate of it.
//!
//! Invariant: the key is printed nowhere, written nowhere, and overwritten in memory when it is dropped.

use meltemi_names::{Secret, SpiffeId};
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData as _, SanType};
use zeroize::Zeroizing;

/// A private key, P-256.
pub struct Key {
    pair: KeyPair,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<key>")
    }
}

/// Why no key or no request was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot make a {what}: {reason}")]
pub struct KeyError {
    what: &'static str,
    reason: String,
}

/// A key with the request for its certificate.
#[derive(Debug)]
pub struct Request {
    /// The key.
    pub key: Key,
    /// PKCS#10, PEM.
    pub csr: String,
}

impl Request {
    /// Makes a key, and asks for that name with it. Istio's authority ignores the name, other ones check it.
    ///
    /// # Errors
    /// When the machine has no random numbers.
    pub fn generate(id: &SpiffeId) -> Result<Self, KeyError> {
        let failed = |what| move |error: rcgen::Error| KeyError { what, reason: error.to_string() };
        let pair = KeyPair::generate().map_err(failed("key"))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = id.to_string().try_into().map_err(failed("name for a certificate"))?;
        params.subject_alt_names = vec![SanType::URI(name)];
        let csr = params.serialize_request(&pair).and_then(|csr| csr.pem());
        let csr = csr.map_err(failed("certificate request"))?;
        Ok(Self { key: Key { pair }, csr })
    }
}

impl Key {
    /// Its public half, DER (SubjectPublicKeyInfo).
    pub fn public(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// PKCS#8, DER.
    pub(super) fn der(&self) -> Secret<Zeroizing<Vec<u8>>> {
        Secret::new(Zeroizing::new(self.pair.serialize_der()))
    }

    /// PKCS#8, PEM: what Envoy reads.
    pub fn pem(&self) -> Secret<Zeroizing<String>> {
        Secret::new(Zeroizing::new(self.pair.serialize_pem()))
    }
}
