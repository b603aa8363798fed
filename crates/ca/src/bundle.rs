//! What workloads trust: roots in a stable order, each once, and the revocation lists that go with them.
//!
//! Knows: PEM, X.509. Must not know: keys.   Start at [`Bundle::read`].
//! Invariant: each root can be read, is a CA and was not expired when it was read; the same input gives the same text.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::refused::{Fault, Piece, Refused};
use crate::time::Time;

/// The most that is read of one piece: a Kubernetes Secret holds no more.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// Roots, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    roots: Vec<CertificateDer<'static>>,
    crl: Vec<Vec<u8>>,
}

impl Bundle {
    /// Reads roots of one PEM text.
    ///
    /// # Errors
    /// When there is none, or one of them cannot be a root at `now`.
    pub fn read(pem: &[u8], now: Time) -> Result<Self, Refused> {
        let read = || {
            let mut bundle = Self::default();
            for der in certificates(pem)? {
                with(&der, |certificate| check_ca(certificate, now))?;
                bundle.add(der);
            }
            Ok(bundle)
        };
        read().map_err(|fault: Fault| fault.of(Piece::Roots))
    }

    /// Roots of both, those of `self` first.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for root in &other.roots {
            self.add(root.clone());
        }
        self.revoking(other.crl.clone())
    }

    /// With revocation lists besides (DER), which [`crate::Authority::load`] has checked.
    pub(crate) fn revoking(mut self, lists: Vec<Vec<u8>>) -> Self {
        for list in lists {
            if !self.crl.contains(&list) {
                self.crl.push(list);
            }
        }
        self
    }

    /// The roots, DER.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// When the first of them expires.
    pub fn first_expiry(&self) -> Option<Time> {
        let ends = self.roots.iter().filter_map(|root| with(root, |read| Ok(validity(read).1)).ok());
        ends.min()
    }

    /// All roots, PEM.
    pub fn pem(&self) -> String {
        self.roots.iter().map(|root| to_pem("CERTIFICATE", root)).collect()
    }

    /// The revocation lists, DER.
    pub fn revoked(&self) -> &[Vec<u8>] {
        &self.crl
    }

    /// The revocation lists, PEM; empty when there are none.
    pub fn crl(&self) -> String {
        self.crl.iter().map(|list| to_pem("X509 CRL", list)).collect()
    }

    fn add(&mut self, root: CertificateDer<'static>) {
        if !self.roots.contains(&root) {
            self.roots.push(root);
        }
    }
}

/// The certificates in a PEM text, at least one; a text that holds anything else besides is none.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found = sections(pem, SectionKind::Certificate)?;
    found
        .into_iter()
        .enumerate()
        .map(|(index, der)| {
            let der = CertificateDer::from(der);
            match X509Certificate::from_der(&der) {
                Ok(([], _)) => Ok(der),
                _ => Err(Fault::NotX509(index + 1)),
            }
        })
        .collect()
}

/// What a PEM text holds, all of it of one kind.
pub(crate) fn sections(pem: &[u8], wanted: SectionKind) -> Result<Vec<Vec<u8>>, Fault> {
    if pem.len() > MAX_BYTES {
        return Err(Fault::TooLarge(pem.len()));
    }
    let mut found = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        match section {
            Ok((kind, der)) if kind == wanted => found.push(der),
            _ => return Err(Fault::NotPem),
        }
    }
    if found.is_empty() {
        return Err(if pem.trim_ascii().is_empty() { Fault::Empty } else { Fault::NotPem });
    }
    Ok(found)
}

/// Looks at a certificate that was read before.
pub(crate) fn with<T>(
    der: &CertificateDer<'_>,
    look: impl FnOnce(&X509Certificate<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => look(&certificate),
        Err(_) => Err(Fault::NotX509(1)),
    }
}

/// A certificate that may sign certificates, at `now`.
pub(crate) fn check_ca(certificate: &X509Certificate<'_>, now: Time) -> Result<(), Fault> {
    let name = || certificate.subject().to_string();
    if !certificate.is_ca() {
        return Err(Fault::NotCa(name()));
    }
    // A CA without the extension may do anything (RFC 5280, 4.2.1.3).
    if let Ok(Some(usage)) = certificate.key_usage()
        && !usage.value.key_cert_sign()
    {
        return Err(Fault::MayNotSign(name()));
    }
    let (from, until) = validity(certificate);
    if now < from {
        return Err(Fault::NotYet(name(), from));
    }
    if until < now {
        return Err(Fault::Expired(name(), until));
    }
    Ok(())
}

/// From when until when a certificate is valid.
pub(crate) fn validity(certificate: &X509Certificate<'_>) -> (Time, Time) {
    let time = |time: x509_parser::time::ASN1Time| {
        Time::from_unix(u64::try_from(time.timestamp()).unwrap_or_default())
    };
    (time(certificate.validity().not_before), time(certificate.validity().not_after))
}

/// One PEM block, ended by a newline.
pub(crate) fn to_pem(label: &str, der: &[u8]) -> String {
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), lines)
}

#[cfg(test)]
mod tests;
