//! What the certificate service answered, taken only if it is right in every respect.
//!
//! Start at [`accept`].

use std::sync::Arc;

use meltemi_names::{Secret, SpiffeId};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use zeroize::Zeroizing;

use super::key::Key;
use super::time::Time;

/// The most certificates of one answer: leaf, chain and all roots.
const MOST: usize = 64;

/// A certificate with its key, and what the mesh trusts.
#[derive(Debug)]
pub struct Credential {
    /// Whose.
    pub id: SpiffeId,
    /// PEM: the certificate, and what leads towards a root.
    pub chain: String,
    /// PEM: all roots, as answered.
    pub roots: Arc<str>,
    /// When it came.
    pub created: Time,
    /// Its last second.
    pub not_after: Time,
    /// In hexadecimal, as Envoy's `/certs` shows it.
    pub serial: String,
    key: Key,
    ders: Vec<CertificateDer<'static>>,
}

impl Credential {
    /// The key as Envoy reads it, PEM.
    pub fn key(&self) -> Secret<Zeroizing<String>> {
        self.key.pem()
    }

    /// As a TLS client presents it.
    pub(super) fn presented(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key.der().reveal().to_vec());
        (self.ders.clone(), key.into())
    }
}

/// Why an answer was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Istio's services answer a certificate, what leads to a root, and last the roots.
    #[error("the answer has {0} elements, and it takes a certificate and roots")]
    Elements(usize),
    /// Not what it should be.
    #[error("element {0} of the answer is no certificate in PEM")]
    Pem(usize),
    /// More than is read.
    #[error("the answer has more than {MOST} certificates")]
    TooMany,
    /// Not X.509.
    #[error("the certificate cannot be read: {0}")]
    X509(String),
    /// Somebody else's key.
    #[error("the certificate is not for the key that was sent")]
    Key,
    /// Somebody else's name.
    #[error(
        "the certificate is for {found}, and this workload is {wanted}; set TRUST_DOMAIN, namespace and service account right"
    )]
    Name {
        /// What it says.
        found: String,
        /// What it should say.
        wanted: SpiffeId,
    },
    /// Nobody would believe it.
    #[error("the certificate does not verify to the roots that came with it: {0}")]
    Untrusted(String),
}

/// Takes the elements of an answer that came at `now` for `key`.
///
/// # Errors
/// Says what is wrong with it.
pub fn accept(elements: &[String], key: Key, id: &SpiffeId, now: Time) -> Result<Credential, Wrong> {
    let (Some((roots, before)), true) = (elements.split_last(), elements.len() >= 2) else {
        return Err(Wrong::Elements(elements.len()));
    };
    let anchors_der = certificates(roots).ok_or(Wrong::Pem(elements.len()))?;
    let mut ders = Vec::new();
    for (index, element) in before.iter().enumerate() {
        ders.extend(certificates(element).ok_or(Wrong::Pem(index + 1))?);
    }
    if ders.len() + anchors_der.len() > MOST {
        return Err(Wrong::TooMany);
    }
    let Some((leaf, chain)) = ders.split_first() else { return Err(Wrong::Pem(1)) };
    let (serial, not_after) = facts(leaf)?;
    let end = EndEntityCert::try_from(leaf).map_err(|error| Wrong::X509(error.to_string()))?;
    if end.subject_public_key_info().as_ref() != key.public() {
        return Err(Wrong::Key);
    }
    let names: Vec<&str> = end.valid_uri_names().collect();
    if names != [id.to_string()] {
        let found = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        return Err(Wrong::Name { found, wanted: id.clone() });
    }
    let untrusted = |error: webpki::Error| Wrong::Untrusted(error.to_string());
    let anchors = anchors_der.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>();
    let anchors = anchors.map_err(untrusted)?;
    // It is shown to those who connect and to those who are connected to.
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        end.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, chain, now.verifier(), usage, None, None)
            .map_err(untrusted)?;
    }
    Ok(Credential {
        id: id.clone(),
        chain: before.iter().map(|element| format!("{}\n", element.trim())).collect(),
        roots: format!("{}\n", roots.trim()).into(),
        created: now,
        not_after,
        serial,
        key,
        ders,
    })
}

/// The certificates of a text; none where one of them cannot be read, or there is none.
pub(crate) fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    read.ok().filter(|found| !found.is_empty())
}

/// Serial number and last second.
fn facts(der: &CertificateDer<'_>) -> Result<(String, Time), Wrong> {
    let (_, read) = X509Certificate::from_der(der).map_err(|error| Wrong::X509(error.to_string()))?;
    let end = u64::try_from(read.validity().not_after.timestamp()).unwrap_or_default();
    let serial: String =
        read.raw_serial().iter().skip_while(|byte| **byte == 0).map(|byte| format!("{byte:02x}")).collect();
    Ok((serial, Time::since_1970(std::time::Duration::from_secs(end))))
}
