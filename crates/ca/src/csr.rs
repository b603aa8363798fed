//! A request for a certificate (PKCS#10), read strictly: what is taken from it is its public key, proven by its signature.
//!
//! Knows: X.509. Must not know: who asks. The names, extensions and usages in a request are ignored, as Istio does: what a
//! certificate says comes from who was authenticated.   Start at [`Csr::from_pem`].
//! Invariant: whatever bytes come, the answer is a key whose owner signed the request, or an error.

use rcgen::{PublicKeyData, SignatureAlgorithm};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry as oid;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The longest request that is read, as PEM or DER. One with a key of RSA-4096 and a name has 1,800 bytes as PEM.
pub const MAX_BYTES: usize = 16 << 10;

/// The kinds of keys that get a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// ECDSA over P-256.
    P256,
    /// ECDSA over P-384.
    P384,
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits.
    Rsa4096,
    /// Ed25519.
    Ed25519,
}

/// A request whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csr {
    kind: KeyKind,
    key: Vec<u8>,
}

/// Why a request is refused; for whoever made it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Longer than is read.
    #[error("the certificate signing request has {0} bytes, and at most {MAX_BYTES} are read")]
    TooLarge(usize),
    /// No PEM block `CERTIFICATE REQUEST`, or more than one.
    #[error("the certificate signing request is not one PEM block `CERTIFICATE REQUEST`")]
    NotPem,
    /// Not PKCS#10.
    #[error("the certificate signing request cannot be read as PKCS#10")]
    NotPkcs10,
    /// Its key is of a kind that gets no certificate.
    #[error(
        "keys of the kind {0} get no certificate; P-256, P-384, RSA of 2048, 3072 or 4096 bits, and Ed25519 do"
    )]
    Key(String),
    /// It is signed in a way that proves too little.
    #[error(
        "the certificate signing request is signed with {0}; ECDSA or RSA (PKCS#1) with SHA-256, SHA-384 or SHA-512, or Ed25519 is wanted"
    )]
    Algorithm(String),
    /// Whoever asks does not have the key.
    #[error("the signature of the certificate signing request is not by its key")]
    Signature,
}

impl Csr {
    /// Reads a request as it travels: one PEM block.
    ///
    /// # Errors
    /// See [`CsrError`].
    pub fn from_pem(pem: &str) -> Result<Self, CsrError> {
        if pem.len() > MAX_BYTES {
            return Err(CsrError::TooLarge(pem.len()));
        }
        let mut requests = CertificateSigningRequestDer::pem_slice_iter(pem.as_bytes());
        match (requests.next(), requests.next()) {
            (Some(Ok(der)), None) => Self::from_der(&der),
            _ => Err(CsrError::NotPem),
        }
    }

    /// Reads a request as DER.
    ///
    /// # Errors
    /// See [`CsrError`].
    pub fn from_der(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_BYTES {
            return Err(CsrError::TooLarge(der.len()));
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::NotPkcs10)?;
        if !rest.is_empty() {
            return Err(CsrError::NotPkcs10);
        }
        let info = &request.certification_request_info.subject_pki;
        let kind = kind_of(info)?;
        let algorithm = &request.signature_algorithm.algorithm;
        // The library would take SHA-1 besides, and of PSS one length of salt only.
        let proves = [
            &oid::OID_SIG_ECDSA_WITH_SHA256,
            &oid::OID_SIG_ECDSA_WITH_SHA384,
            &oid::OID_SIG_ED25519,
            &oid::OID_PKCS1_SHA256WITHRSA,
            &oid::OID_PKCS1_SHA384WITHRSA,
            &oid::OID_PKCS1_SHA512WITHRSA,
        ];
        if !proves.contains(&algorithm) {
            return Err(CsrError::Algorithm(name_of(algorithm)));
        }
        if request.signature_value.unused_bits != 0 || info.subject_public_key.unused_bits != 0 {
            return Err(CsrError::NotPkcs10);
        }
        request.verify_signature().map_err(|_| CsrError::Signature)?;
        Ok(Self { kind, key: info.subject_public_key.data.to_vec() })
    }

    /// Of which kind the key is.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }
}

impl PublicKeyData for Csr {
    fn der_bytes(&self) -> &[u8] {
        &self.key
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        // Only the name of the key's kind is written from it; how a certificate is signed is its issuer's matter.
        match self.kind {
            KeyKind::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyKind::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => &rcgen::PKCS_RSA_SHA256,
            KeyKind::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }
}

fn kind_of(info: &SubjectPublicKeyInfo<'_>) -> Result<KeyKind, CsrError> {
    let algorithm = &info.algorithm.algorithm;
    if *algorithm == oid::OID_SIG_ED25519 {
        return Ok(KeyKind::Ed25519);
    }
    if *algorithm == oid::OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = info.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        return match curve {
            Some(curve) if curve == oid::OID_EC_P256 => Ok(KeyKind::P256),
            Some(curve) if curve == oid::OID_NIST_EC_P384 => Ok(KeyKind::P384),
            Some(curve) => Err(CsrError::Key(format!("ECDSA over {}", name_of(&curve)))),
            None => Err(CsrError::Key("ECDSA over an unnamed curve".to_owned())),
        };
    }
    if *algorithm == oid::OID_PKCS1_RSAENCRYPTION {
        let Ok(PublicKey::RSA(key)) = info.parsed() else { return Err(CsrError::NotPkcs10) };
        return match bits(key.modulus) {
            2048 => Ok(KeyKind::Rsa2048),
            3072 => Ok(KeyKind::Rsa3072),
            4096 => Ok(KeyKind::Rsa4096),
            bits => Err(CsrError::Key(format!("RSA of {bits} bits"))),
        };
    }
    Err(CsrError::Key(name_of(algorithm)))
}

/// How many bits a number has, given big end first.
fn bits(number: &[u8]) -> usize {
    let number = &number[number.iter().take_while(|byte| **byte == 0).count()..];
    let first = number.first().map_or(0, |byte| byte.leading_zeros());
    (number.len() * 8).saturating_sub(first as usize)
}

fn name_of(id: &x509_parser::der_parser::Oid<'_>) -> String {
    match x509_parser::objects::oid2sn(id, x509_parser::objects::oid_registry()) {
        Ok(name) => name.to_owned(),
        Err(_) => id.to_id_string(),
    }
}

#[cfg(test)]
mod tests;
