//! Settings of the mesh's own TLS: trust domains, cipher suites.

use super::Report;
use crate::MeshConfig;
use crate::field::FieldPath;
use crate::finding::Finding;

/// The cipher suites of TLS 1.2 that Istio lets a mesh choose from (Istio: pkg/config/security/security.go).
const CIPHER_SUITES: [&str; 14] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
];

pub(super) fn check(mesh: &MeshConfig, path: &FieldPath, report: &mut Report) {
    let aliases = path.key("trustDomainAliases");
    let aliases = mesh.trust_domain_aliases.iter().enumerate().map(|(at, alias)| (aliases.index(at), alias));
    for (here, domain) in [(path.key("trustDomain"), &mesh.trust_domain)].into_iter().chain(aliases) {
        if !is_trust_domain(domain) {
            report.add(
                Finding::error("bad-trust-domain", format!("`{domain}` is not a trust domain"))
                    .at(&here)
                    .hint("write a name such as example.com, in lower case, without spiffe:// and without a path"),
            );
        }
    }
    let suites = path.key("meshMTLS").key("cipherSuites");
    for (index, suite) in mesh.mesh_mtls.cipher_suites.iter().enumerate() {
        if !CIPHER_SUITES.contains(&suite.as_str()) {
            // Envoy refuses a listener with a cipher suite that it does not know, and with it all that it takes.
            report.add(
                Finding::error("bad-cipher-suite", format!("`{suite}` is not a cipher suite"))
                    .at(&suites.index(index))
                    .hint("write OpenSSL's name of one for TLS 1.2, such as ECDHE-ECDSA-AES256-GCM-SHA384"),
            );
        }
    }
}

/// The specification's rule (SPIFFE-ID, 2.1): lower case letters, digits, dots, dashes, underscores.
fn is_trust_domain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
        })
}
