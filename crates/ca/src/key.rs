//! A key that signs, in any form that an operator may have it; the cryptography is ring's, by way of rustls.
//!
//! Invariant: prints nothing of itself.

use rcgen::{PublicKeyData, SignatureAlgorithm};
use rustls::SignatureScheme;
use rustls::sign::Signer;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The schemes that are signed with, each with what a certificate calls it.
const SCHEMES: &[(SignatureScheme, &SignatureAlgorithm)] = &[
    (SignatureScheme::ECDSA_NISTP256_SHA256, &rcgen::PKCS_ECDSA_P256_SHA256),
    (SignatureScheme::ECDSA_NISTP384_SHA384, &rcgen::PKCS_ECDSA_P384_SHA384),
    (SignatureScheme::ED25519, &rcgen::PKCS_ED25519),
    (SignatureScheme::RSA_PKCS1_SHA256, &rcgen::PKCS_RSA_SHA256),
];

/// A private key, ready to sign.
pub(crate) struct Key {
    signer: Box<dyn Signer>,
    algorithm: &'static SignatureAlgorithm,
    /// The bits of the public key, without the name of its kind.
    public: Vec<u8>,
}

impl Key {
    /// Reads PKCS#8, PKCS#1 (RSA) or SEC1 (elliptic curves); none for any other.
    pub(crate) fn from_pem(pem: &[u8]) -> Option<Self> {
        let der = PrivateKeyDer::from_pem_slice(pem).ok()?;
        let key = rustls::crypto::ring::sign::any_supported_type(&der).ok()?;
        let (signer, algorithm) = SCHEMES
            .iter()
            .find_map(|(scheme, algorithm)| Some((key.choose_scheme(&[*scheme])?, *algorithm)))?;
        let spki = key.public_key()?;
        let (_, spki) = SubjectPublicKeyInfo::from_der(&spki).ok()?;
        Some(Self { signer, algorithm, public: spki.subject_public_key.data.to_vec() })
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signer.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}
