//! What rustls' verifier (webpki) says of a certificate.

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What a certificate is to be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To be shown by a server.
    Server,
    /// To be shown by a client.
    Client,
}

/// Certificates from PEM.
///
/// # Errors
/// When it is none.
pub fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().context("certificates in PEM")
}

/// Fails unless the first certificate of `chain` verifies to one of `roots` (PEM) now, for that use.
///
/// # Errors
/// What webpki says.
pub fn verified(chain: &[CertificateDer<'_>], roots: &str, usage: Use) -> Result<()> {
    let roots = self::chain(roots)?;
    let anchors: Vec<_> =
        roots.iter().map(anchor_from_trusted_cert).collect::<Result<_, _>>().context("roots")?;
    let (leaf, between) = chain.split_first().context("an empty chain")?;
    let usage = match usage {
        Use::Server => KeyUsage::server_auth(),
        Use::Client => KeyUsage::client_auth(),
    };
    let leaf = EndEntityCert::try_from(leaf).context("no certificate")?;
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, between, UnixTime::now(), usage, None, None)
        .context("it does not verify")?;
    Ok(())
}

/// The URI names of a certificate; and a word on every other name, since there is to be none.
///
/// # Errors
/// When it is no certificate.
pub fn uri_names(certificate: &CertificateDer<'_>) -> Result<Vec<String>> {
    let (_, read) = X509Certificate::from_der(certificate).context("no certificate")?;
    let names = read.subject_alternative_name().context("its names")?;
    let names = names.into_iter().flat_map(|names| &names.value.general_names);
    Ok(names
        .map(|name| match name {
            GeneralName::URI(uri) => (*uri).to_owned(),
            other => format!("not a URI: {other}"),
        })
        .collect())
}
