//! Settings of the mesh's own TLS: cipher suites.

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

/// Whether it is one of these.
pub(crate) fn is_cipher_suite(name: &str) -> bool {
    CIPHER_SUITES.contains(&name)
}

/// The curves that Envoy knows (Istio: pkg/config/security/security.go).
const ECDH_CURVES: [&str; 7] =
    ["P-224", "P-256", "P-384", "P-521", "X25519", "X25519Kyber768Draft00", "X25519MLKEM768"];

/// Envoy refuses a cluster, or a listener, with a curve that it does not know.
pub(super) fn curves(written: &[String], path: &FieldPath, report: &mut Report) {
    for (index, curve) in written.iter().enumerate() {
        if !ECDH_CURVES.contains(&curve.as_str()) {
            report.add(
                Finding::error("bad-cipher-suite", format!("`{curve}` is not a curve"))
                    .at(&path.index(index))
                    .hint("write one that Envoy knows, such as X25519 or P-256"),
            );
        }
    }
}

pub(super) fn check(mesh: &MeshConfig, path: &FieldPath, report: &mut Report) {
    cipher_suites(&mesh.mesh_mtls.cipher_suites, &path.key("meshMTLS").key("cipherSuites"), report);
}

pub(super) fn cipher_suites(suites: &[String], path: &FieldPath, report: &mut Report) {
    for (index, suite) in suites.iter().enumerate() {
        if !is_cipher_suite(suite) {
            // Envoy refuses a listener with a cipher suite that it does not know, and with it all that it takes.
            report.add(
                Finding::error("bad-cipher-suite", format!("`{suite}` is not a cipher suite"))
                    .at(&path.index(index))
                    .hint("write OpenSSL's name of one for TLS 1.2, such as ECDHE-ECDSA-AES256-GCM-SHA384"),
            );
        }
    }
}
