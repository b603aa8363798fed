//! What signs: a root of our own, or an operator's intermediate with the chain to its roots.
//!
//! Knows: X.509. Must not know: files, Secrets, who asks.   Start at [`Authority::load`].
//! Invariant: what an `Authority` signs verified to one of its roots when it was loaded, tried with a certificate of its own.

use std::time::Duration;

use meltemi_names::{Secret, SpiffeId};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::SectionKind;
use serde::{Deserialize, Serialize};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::bundle::{self, Bundle, to_pem};
use crate::issue;
use crate::key::Key;
use crate::refused::{Fault, Piece, Refused};
use crate::time::Time;

/// How long a root that we make lives: ten years, as Istio's.
pub const ROOT_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);

/// What is given to sign with, PEM, in Istio's pieces. Without roots the certificate is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// `ca-cert.pem`: the certificate that signs.
    pub certificate: Vec<u8>,
    /// `ca-key.pem`.
    pub key: Secret<Vec<u8>>,
    /// `cert-chain.pem`: from the certificate towards a root; may be empty where a root signs.
    pub chain: Vec<u8>,
    /// `root-cert.pem`: may be empty where the certificate is its own root.
    pub roots: Vec<u8>,
    /// `ca-crl.pem`: may be empty.
    pub crl: Vec<u8>,
}

impl Material {
    /// A root without anything besides.
    pub fn root(certificate: Vec<u8>, key: Secret<Vec<u8>>) -> Self {
        Self { certificate, key, chain: Vec::new(), roots: Vec::new(), crl: Vec::new() }
    }

    /// Names it.
    ///
    /// # Errors
    /// When its certificate cannot be read.
    pub fn id(&self) -> Result<SignerId, Refused> {
        let certificate = one(bundle::certificates(&self.certificate));
        certificate.map(|der| SignerId::of(&der)).map_err(|fault| fault.of(Piece::Certificate))
    }

    /// Whether its certificate and that one (PEM) have the same key and the same name: what one has signed the other has, too.
    pub fn is_renewed_by(&self, certificate: &[u8]) -> bool {
        let read = |pem: &[u8]| {
            let der = one(bundle::certificates(pem)).ok()?;
            let of = |read: &X509Certificate<'_>| {
                Ok((read.subject().as_raw().to_vec(), read.public_key().raw.to_vec()))
            };
            bundle::with(&der, of).ok()
        };
        let before = read(&self.certificate);
        before.is_some() && before == read(certificate)
    }

    /// The last second of the certificate that signs, if it can be read.
    pub fn not_after(&self) -> Option<Time> {
        let certificate = one(bundle::certificates(&self.certificate)).ok()?;
        bundle::with(&certificate, |read| Ok(bundle::validity(read).1)).ok()
    }

    /// Makes a new root: P-256, self-signed, for `life` from `now` on.
    ///
    /// # Errors
    /// When the machine has no random numbers, or `life` ends beyond what a certificate can say.
    pub fn generate(trust_domain: &str, life: Duration, now: Time) -> Result<Self, Refused> {
        let make = || {
            let machine = |error: rcgen::Error| Fault::Machine(error.to_string());
            let key = KeyPair::generate().map_err(machine)?;
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, trust_domain);
            // Two roots of one mesh must be told apart by name: verifiers look an issuer up by it.
            let id = params.key_identifier(&key);
            let name = id.iter().take(4).map(|byte| format!("{byte:02x}")).collect::<String>();
            params.distinguished_name.push(DnType::CommonName, format!("Meltemi root {name}"));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let beyond = || Fault::Machine("the root's life ends beyond the year 9999".to_owned());
            params.not_before = now.before(issue::CLOCK_SKEW).date().ok_or_else(beyond)?;
            params.not_after = now.after(life).date().ok_or_else(beyond)?;
            params.serial_number = Some(issue::serial().map_err(|error| Fault::Machine(error.to_string()))?);
            let certificate = params.self_signed(&key).map_err(machine)?;
            let secret = Secret::new(to_pem("PRIVATE KEY", key.serialized_der()).into_bytes());
            Ok(Self::root(to_pem("CERTIFICATE", certificate.der()).into_bytes(), secret))
        };
        make().map_err(|fault: Fault| fault.of(Piece::Certificate))
    }
}

/// Names a signer: what its certificate's SHA-256 begins with, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignerId(String);

impl SignerId {
    pub(crate) fn of(certificate: &[u8]) -> Self {
        let hash = ring::digest::digest(&ring::digest::SHA256, certificate);
        // 64 bits: names a handful of signers in a state folder, and proves nothing.
        Self(hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The name itself; letters and digits only.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for SignerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What signs, with what leads to a root.
#[derive(Debug)]
pub struct Authority {
    id: SignerId,
    issuer: Issuer<'static, Key>,
    not_after: Time,
    /// From the certificate that signs towards a root; empty where a root signs.
    chain: Vec<CertificateDer<'static>>,
    /// The same, PEM.
    chain_pem: Vec<String>,
    bundle: Bundle,
    bundle_pem: String,
}

impl Authority {
    /// Takes material, if all of it is as it must be at `now`.
    ///
    /// # Errors
    /// Names the piece, and what is wrong with it.
    pub fn load(material: &Material, now: Time) -> Result<Self, Refused> {
        let of_certificate = |fault: Fault| fault.of(Piece::Certificate);
        let certificate = one(bundle::certificates(&material.certificate)).map_err(of_certificate)?;
        bundle::with(&certificate, |read| bundle::check_ca(read, now)).map_err(of_certificate)?;
        let key = Key::from_pem(material.key.reveal()).ok_or(Fault::KeyUnsupported.of(Piece::Key))?;
        bundle::with(&certificate, |read| {
            let public = &read.public_key().subject_public_key.data;
            if key.der_bytes() == &**public { Ok(()) } else { Err(Fault::KeyMismatch) }
        })
        .map_err(|fault| fault.of(Piece::Key))?;
        let bundle = match material.roots.trim_ascii() {
            [] => {
                // Roots may be left out only where the certificate is one: Envoy trusts nothing that another signed.
                let own = |read: &X509Certificate<'_>| {
                    let signed = read.issuer().as_raw() == read.subject().as_raw();
                    if signed && read.verify_signature(None).is_ok() { Ok(()) } else { Err(Fault::Empty) }
                };
                bundle::with(&certificate, own).map_err(|fault| fault.of(Piece::Roots))?;
                Bundle::read(&material.certificate, now)?
            }
            roots => Bundle::read(roots, now)?,
        };
        let chain = chain(&certificate, &material.chain, &bundle, now)?;
        let bundle = bundle.revoking(revoking(&chain, &material.crl)?);
        let (not_after, issuer) = bundle::with(&certificate, |read| {
            // The library that writes certificates knows names of one attribute for each element only.
            let name = || Fault::Name(read.subject().to_string());
            if read.subject().iter().any(|element| element.iter().count() != 1) {
                return Err(name());
            }
            let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|_| name())?;
            Ok((bundle::validity(read).1, issuer))
        })
        .map_err(of_certificate)?;
        let authority = Self {
            id: SignerId::of(&certificate),
            issuer,
            not_after,
            chain_pem: chain.iter().map(|der| to_pem("CERTIFICATE", der)).collect(),
            chain,
            bundle_pem: bundle.pem(),
            bundle,
        };
        authority.try_out(&authority.chain, now)?;
        Ok(authority)
    }

    /// The same, whose answers carry these roots besides its own: while roots change, workloads must trust both.
    #[must_use]
    pub fn trusting(mut self, also: &Bundle) -> Self {
        self.bundle = self.bundle.and(also);
        self.bundle_pem = self.bundle.pem();
        self
    }

    /// Names what signs.
    pub fn id(&self) -> &SignerId {
        &self.id
    }

    /// Until when it signs.
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// What leads from a certificate that it signed to a root, that root left out; empty where a root signs.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// What workloads trust.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// What a workload is answered, PEM: its certificate, what leads to a root one by one, and last all roots together.
    /// Istio's agent takes the last element for the roots, and refuses fewer than two.
    pub fn answer(&self, leaf: &CertificateDer<'_>) -> Vec<String> {
        let mut answer = Vec::with_capacity(self.chain_pem.len() + 2);
        answer.push(to_pem("CERTIFICATE", leaf));
        answer.extend(self.chain_pem.iter().cloned());
        answer.push(self.bundle_pem.clone());
        answer
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, Key> {
        &self.issuer
    }

    /// Signs a certificate for a key that nobody has, and verifies it as a workload would.
    fn try_out(&self, chain: &[CertificateDer<'static>], now: Time) -> Result<(), Refused> {
        let machine = |error: &dyn std::fmt::Display| Fault::Machine(error.to_string()).of(Piece::Key);
        let untrusted = |error: webpki::Error| Fault::Untrusted(error.to_string()).of(Piece::Certificate);
        let key = KeyPair::generate().map_err(|error| machine(&error))?;
        let id = SpiffeId::parse("spiffe://none/ns/none/sa/none").map_err(|error| machine(&error))?;
        let leaf =
            issue::sign(self, &key, &id, Duration::from_secs(60), now).map_err(|error| machine(&error))?;
        let anchors = self
            .bundle
            .roots()
            .iter()
            .map(webpki::anchor_from_trusted_cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Fault::Untrusted(error.to_string()).of(Piece::Roots))?;
        let leaf = EndEntityCert::try_from(&leaf.certificate).map_err(untrusted)?;
        leaf.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            chain,
            now.verifier(),
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(untrusted)?;
        Ok(())
    }
}

/// What leads from the certificate that signs to a root, itself first; empty where it is a root.
fn chain(
    certificate: &CertificateDer<'static>,
    pem: &[u8],
    bundle: &Bundle,
    now: Time,
) -> Result<Vec<CertificateDer<'static>>, Refused> {
    let of_chain = |fault: Fault| fault.of(Piece::Chain);
    let mut chain = match pem.trim_ascii() {
        [] => Vec::new(),
        pem => bundle::certificates(pem).map_err(of_chain)?,
    };
    for der in &chain {
        bundle::with(der, |read| bundle::check_ca(read, now)).map_err(of_chain)?;
    }
    if !chain.contains(certificate) && !bundle.roots().contains(certificate) {
        chain.insert(0, certificate.clone());
    }
    // Roots come last in an answer anyhow.
    chain.retain(|der| !bundle.roots().contains(der));
    Ok(chain)
}

/// The revocation lists, if there is one for each certificate of the chain: Envoy, given one, wants one for each CA.
fn revoking(chain: &[CertificateDer<'_>], pem: &[u8]) -> Result<Vec<Vec<u8>>, Refused> {
    let check = || {
        if pem.trim_ascii().is_empty() {
            return Ok(Vec::new());
        }
        let lists = bundle::sections(pem, SectionKind::Crl)?;
        let mut read = Vec::new();
        for (index, der) in lists.iter().enumerate() {
            match CertificateRevocationList::from_der(der) {
                Ok(([], list)) => read.push(list),
                _ => return Err(Fault::NotX509(index + 1)),
            }
        }
        for der in chain {
            bundle::with(der, |ca| {
                let signed = |list: &CertificateRevocationList<'_>| {
                    list.issuer().as_raw() == ca.subject().as_raw()
                        && list.verify_signature(ca.public_key()).is_ok()
                };
                if read.iter().any(signed) { Ok(()) } else { Err(Fault::NoCrlOf(ca.subject().to_string())) }
            })?;
        }
        Ok(lists)
    };
    check().map_err(|fault: Fault| fault.of(Piece::Crl))
}

fn one(found: Result<Vec<CertificateDer<'static>>, Fault>) -> Result<CertificateDer<'static>, Fault> {
    let mut found = found?;
    match (found.pop(), found.len()) {
        (Some(certificate), 0) => Ok(certificate),
        (_, others) => Err(Fault::NotOne(others + 1)),
    }
}

#[cfg(test)]
mod tests;
