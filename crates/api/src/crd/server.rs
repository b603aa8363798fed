//! A port that a Gateway or Sidecar listens on, and the TLS of its server.

use super::schema::{Schema, array, boolean, object, one_of, string, strings, uint32};

/// A port to listen on.
pub(super) fn server_port() -> Schema {
    object([("number", uint32()), ("protocol", string()), ("name", string()), ("targetPort", uint32())])
}

/// How its connections are encrypted.
pub(super) fn server_tls() -> Schema {
    let version = one_of(&["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]);
    let certificate =
        object([("serverCertificate", string()), ("privateKey", string()), ("caCertificates", string())]);
    object([
        ("httpsRedirect", boolean()),
        (
            "mode",
            one_of(&[
                "PASSTHROUGH",
                "SIMPLE",
                "MUTUAL",
                "AUTO_PASSTHROUGH",
                "ISTIO_MUTUAL",
                "OPTIONAL_MUTUAL",
            ]),
        ),
        ("serverCertificate", string()),
        ("privateKey", string()),
        ("caCertificates", string()),
        ("caCrl", string()),
        ("caCertCredentialName", string()),
        ("credentialName", string().about("The Secret with the certificate.")),
        ("credentialNames", strings().min_items(1).max_items(2)),
        ("tlsCertificates", array(certificate).min_items(1).max_items(2)),
        ("subjectAltNames", strings()),
        ("verifyCertificateSpki", strings()),
        ("verifyCertificateHash", strings()),
        ("minProtocolVersion", version.clone()),
        ("maxProtocolVersion", version),
        ("cipherSuites", strings()),
        ("ecdhCurves", strings()),
        ("insecureSkipVerify", boolean().nullable()),
    ])
    // Istio's schema takes credentialName beside tlsCertificates, whatever its messages say.
    .only_one(&["credentialNames", "tlsCertificates"])
    .only_one(&["credentialName", "credentialNames"])
}
