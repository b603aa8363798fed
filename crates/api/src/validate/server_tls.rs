//! The TLS of a server (Istio: pkg/config/validation, `validateTLSOptions`).

use std::collections::BTreeSet;

use super::Report;
use super::mesh_tls::{curves, is_cipher_suite};
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::gateway::{ServerTls, ServerTlsMode, TlsProtocol};

/// How many certificates a server can have: one for each kind of key.
const CERTIFICATES: usize = 2;

pub(super) fn check(tls: &ServerTls, path: &FieldPath, report: &mut Report) {
    versions(tls, path, report);
    let given = |name: &str, is_given: bool| is_given.then(|| name.to_owned());
    let certificates: Vec<String> = [
        given("serverCertificate", tls.server_certificate.is_some()),
        given("privateKey", tls.private_key.is_some()),
        given("caCertificates", tls.ca_certificates.is_some()),
        given("tlsCertificates", !tls.tls_certificates.is_empty()),
        given("credentialName", tls.credential_name.is_some()),
        given("credentialNames", !tls.credential_names.is_empty()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if tls.mode == ServerTlsMode::IstioMutual {
        for name in certificates {
            report.error(
                &path.key(&name),
                "bad-tls",
                "ISTIO_MUTUAL has the mesh's own certificates, and no others",
            );
        }
        return;
    }
    if tls.mode == ServerTlsMode::AutoPassthrough {
        report.add(
            Finding::warning("not-supported-yet", "this mode is not supported yet")
                .at(&path.key("mode"))
                .in_force("the server is left out"),
        );
    }
    if !tls.mode.verifies() && !tls.mode.passes_on() {
        for (name, given) in [
            ("subjectAltNames", !tls.subject_alt_names.is_empty()),
            ("verifyCertificateSpki", !tls.verify_certificate_spki.is_empty()),
            ("verifyCertificateHash", !tls.verify_certificate_hash.is_empty()),
        ] {
            if given {
                report.add(
                    Finding::warning("names-without-effect", "SIMPLE asks clients for no certificate")
                        .at(&path.key(name))
                        .hint("write mode: MUTUAL, or OPTIONAL_MUTUAL"),
                );
            }
        }
    }
    if tls.mode.passes_on() && (!certificates.is_empty() || tls.ca_crl.is_some()) {
        report.add(
            Finding::warning(
                "certificate-without-effect",
                "a server that passes TLS on shows no certificate",
            )
            .at(path)
            .in_force("the destination's own certificate"),
        );
    }
    sources(tls, path, report);
    if tls.ca_cert_credential_name.is_some() && tls.roots_credential().is_none() {
        report.add(
            Finding::warning(
                "certificate-without-effect",
                "it counts beside credentialName alone, and where clients are asked for certificates",
            )
            .at(&path.key("caCertCredentialName"))
            .hint("write mode: MUTUAL and a credentialName, or caCertificates beside files"),
        );
    }
    if !tls.mode.passes_on() && tls.credentials().is_empty() {
        files(tls, path, report);
    }
    if tls.ca_crl.is_some() {
        let here = path.key("caCrl");
        if tls.credential_name.is_some() {
            report.error(&here, "bad-tls", "what is revoked stands in the Secret that credentialName names");
        }
        if tls.mode == ServerTlsMode::Simple {
            report.error(&here, "bad-tls", "SIMPLE asks clients for no certificate");
        }
    }
}

/// From where the certificate comes: one way alone.
fn sources(tls: &ServerTls, path: &FieldPath, report: &mut Report) {
    let ways = [
        tls.server_certificate.is_some() && tls.private_key.is_some(),
        tls.credential_name.is_some(),
        !tls.credential_names.is_empty(),
        !tls.tls_certificates.is_empty(),
    ];
    if ways.iter().filter(|way| **way).count() > 1 {
        report.add(Finding::error("bad-tls", "the certificate comes from one place alone").at(path).hint(
            "keep one of credentialName, credentialNames, tlsCertificates, serverCertificate with privateKey",
        ));
    }
}

/// The files of a server without a Secret.
fn files(tls: &ServerTls, path: &FieldPath, report: &mut Report) {
    let needs = |field: &FieldPath, what: &str, report: &mut Report| {
        report.add(
            Finding::error("no-certificate", format!("{what} is missing"))
                .at(field)
                .hint("name a Secret by credentialName, or files of the proxy"),
        );
    };
    if tls.mode.verifies() && tls.ca_certificates.is_none() {
        needs(&path.key("caCertificates"), "what clients are verified by", report);
    }
    if tls.tls_certificates.len() > CERTIFICATES {
        report.warning(
            &path.key("tlsCertificates"),
            "too-many-certificates",
            "a server has two certificates at most: one for each kind of key",
        );
    }
    let listed = tls.tls_certificates.iter().enumerate().map(|(index, pair)| {
        (path.key("tlsCertificates").index(index), &pair.server_certificate, &pair.private_key)
    });
    let own =
        tls.tls_certificates.is_empty().then_some((path.clone(), &tls.server_certificate, &tls.private_key));
    for (here, certificate, key) in listed.chain(own) {
        if certificate.is_none() {
            needs(&here.key("serverCertificate"), "the server's certificate", report);
        }
        if key.is_none() {
            needs(&here.key("privateKey"), "the key of the server's certificate", report);
        }
    }
}

fn versions(tls: &ServerTls, path: &FieldPath, report: &mut Report) {
    let old = [TlsProtocol::V1_0, TlsProtocol::V1_1];
    if old.contains(&tls.min_protocol_version) && tls.cipher_suites.is_empty() {
        report.add(
            Finding::warning("old-tls", "no cipher suite of Envoy's own choice is for TLS below 1.2")
                .at(&path.key("minProtocolVersion"))
                .in_force("clients of those versions are refused")
                .hint("name such cipherSuites, or TLSV1_2"),
        );
    }
    curves(&tls.ecdh_curves, &path.key("ecdhCurves"), report);
    let mut known = BTreeSet::new();
    for (index, suite) in tls.cipher_suites.iter().enumerate() {
        let here = path.key("cipherSuites").index(index);
        if !is_cipher_suite(suite) {
            report.add(
                Finding::warning("bad-cipher-suite", format!("`{suite}` is not a cipher suite"))
                    .at(&here)
                    .in_force("the others of the list"),
            );
        } else if !known.insert(suite) {
            report.add(
                Finding::warning("bad-cipher-suite", format!("`{suite}` stands here a second time"))
                    .at(&here)
                    .in_force("the list with it once"),
            );
        }
    }
}
