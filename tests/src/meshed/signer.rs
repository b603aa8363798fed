//! Certificates that a test makes by itself: by the mesh's own root or by a foreign one, for whom and how long it likes.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What signs.
pub struct Signer {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// What a certificate is to be like. The default is a good one for an hour.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Its URI name.
    pub name: &'a str,
    /// Whether it ended a minute ago.
    pub expired: bool,
}

/// A certificate and its key, to be shown to others.
pub struct Presented {
    /// The certificate, then what signed it; without the root.
    pub chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// The chain as PEM.
    pub chain_pem: String,
    /// The key as PEM.
    pub key_pem: String,
}

impl Signer {
    /// A root of its own, which nobody trusts.
    ///
    /// # Errors
    /// Never, on a machine with random numbers.
    pub fn foreign(organization: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, organization);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Self::of(&certificate, &String::from_utf8(key.serialize_pem().into_bytes())?)
    }

    /// A CA whose certificate and key are known (PEM).
    ///
    /// # Errors
    /// When they are none.
    pub fn of(certificate: &str, key: &str) -> Result<Self> {
        let key = KeyPair::from_pem(key)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key)?;
        Ok(Self { issuer, certificate: certificate.to_owned() })
    }

    /// Its certificate (PEM).
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for a key of its own.
    ///
    /// # Errors
    /// When the name is none.
    pub fn sign(&self, wish: Wish<'_>) -> Result<Presented> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(wish.name.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
        let end = if wish.expired { now - Duration::from_secs(60) } else { now + hour };
        params.not_before = (now - hour).into();
        params.not_after = end.into();
        let certificate = params.signed_by(&key, &self.issuer)?;
        Presented::new(&certificate.pem(), &key.serialize_pem())
    }
}

impl Presented {
    /// A chain and its key (PEM).
    ///
    /// # Errors
    /// When they are none.
    pub fn new(chain_pem: &str, key_pem: &str) -> Result<Self> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<_, _>>().context("a chain in PEM")?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).context("a key in PEM")?;
        Ok(Self { chain, key, chain_pem: chain_pem.to_owned(), key_pem: key_pem.to_owned() })
    }

    /// The key.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

/// A request for a certificate for `key`, as an agent makes it (PEM).
///
/// # Errors
/// Never, for a key that signs.
pub(super) fn request(key: &KeyPair) -> Result<String> {
    Ok(CertificateParams::default().serialize_request(key)?.pem()?)
}

/// A new key.
///
/// # Errors
/// Never, on a machine with random numbers.
pub(super) fn key() -> Result<KeyPair> {
    Ok(KeyPair::generate()?)
}
