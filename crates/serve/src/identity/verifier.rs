//! What a client certificate must be: by one of the mesh's roots, not over, not revoked, and with one name, of this mesh.
//!
//! The chain is verified by rustls (webpki); the name here, in the handshake, so that the client is told by an alert.

use std::sync::Arc;

use meltemi_ca::Time;
use meltemi_ca::entitlement::{Caller, NoPods, Proof, Rules};
use meltemi_names::SpiffeId;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use tokio::sync::watch;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::connection::Certified;

/// Why a certificate that verifies names nobody here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoName {
    /// It cannot be read.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// Istio's rule: one, so that nobody chooses among several.
    #[error("the certificate has {0} URI names, and one is wanted")]
    NotOne(usize),
    /// Not a workload's.
    #[error("{0}")]
    NoWorkload(String),
    /// Of another mesh.
    #[error("`{0}` is of another trust domain")]
    Foreign(SpiffeId),
}

/// Reads whom a certificate names. It must have been verified.
pub(crate) fn certified(certificate: &CertificateDer<'_>, rules: &Rules) -> Result<Certified, NoName> {
    let (_, read) = X509Certificate::from_der(certificate).map_err(|_| NoName::Unreadable)?;
    let names = read.subject_alternative_name().map_err(|_| NoName::Unreadable)?;
    let uris: Vec<&str> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    let [uri] = uris[..] else { return Err(NoName::NotOne(uris.len())) };
    let identity = SpiffeId::parse(uri).map_err(|error| NoName::NoWorkload(error.to_string()))?;
    let caller = Caller { identity, proof: Proof::Certificate, pod: None };
    if rules.entitled(&caller, "", &NoPods).is_err() {
        return Err(NoName::Foreign(caller.identity));
    }
    let not_after = u64::try_from(read.validity().not_after.timestamp()).unwrap_or_default();
    Ok(Certified { identity: caller.identity, not_after: Time::from_unix(not_after) })
}

/// Verifies the chain by `chains`, then the name by the latest rules.
#[derive(Debug)]
pub(crate) struct Verifier {
    pub(crate) chains: Arc<dyn ClientCertVerifier>,
    pub(crate) domains: watch::Receiver<Arc<Rules>>,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chains.verify_client_cert(end_entity, intermediates, now)?;
        let rules = Arc::clone(&self.domains.borrow());
        match certified(end_entity, &rules) {
            Ok(_) => Ok(verified),
            Err(error) => {
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error)))))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
