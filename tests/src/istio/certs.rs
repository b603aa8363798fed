//! Which certificate and which roots an Envoy has, by its own word (`/certs` of its admin interface).

use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

/// A certificate with the roots that it is used with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The URI names of the certificate.
    pub names: Vec<String>,
    /// The serial number of the certificate, in hexadecimal.
    pub serial: String,
    /// The serial numbers of the roots.
    pub roots: Vec<String>,
}

/// The first pair of certificate and roots that Envoy has in use; none while it has none.
pub(super) fn shown(certs: &Value) -> Option<Shown> {
    certs["certificates"].as_array()?.iter().find_map(|entry| {
        let serial = |certificate: &Value| Some(number(certificate["serial_number"].as_str()?));
        let leaf = entry["cert_chain"].as_array()?.first()?;
        let names = leaf["subject_alt_names"].as_array()?.iter();
        Some(Shown {
            names: names.filter_map(|name| name["uri"].as_str().map(str::to_owned)).collect(),
            serial: serial(leaf)?,
            roots: entry["ca_cert"].as_array()?.iter().filter_map(serial).collect(),
        })
    })
}

/// The serial number of the first certificate in a PEM text, as [`Shown`] has it.
///
/// # Errors
/// When there is none.
pub fn serial_of(pem: &str) -> Result<String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).context("no certificate")?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der)?;
    Ok(number(&format!("{:x}", certificate.serial)))
}

/// Without the zeros that some write in front.
fn number(hexadecimal: &str) -> String {
    hexadecimal.trim_start_matches('0').to_ascii_lowercase()
}
