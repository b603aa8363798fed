//! Gateways and Secrets.

use super::told;

fn server(server: &str) -> String {
    told(&format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: a}}\nspec:\n  servers:\n  - {server}\n"
    ))
}

fn https(tls: &str) -> String {
    server(&format!("{{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: ['*'], tls: {tls}}}"))
}

fn codes(told: &str) -> Vec<&str> {
    told.lines().filter_map(|line| line.split(' ').nth(2)).collect()
}

#[test]
fn a_server_needs_a_port_with_number_name_and_protocol_and_hosts() {
    assert_eq!(server("{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]}"), "");
    assert_eq!(
        server("{port: {number: 80, name: http, protocol: gRPC-Web}, hosts: [./a.com, 'b/*.b.com']}"),
        ""
    );
    for (text, code) in [
        ("{hosts: ['*']}", "no-port"),
        ("{port: {number: 80, name: http, protocol: HTTP}}", "no-hosts"),
        ("{port: {name: http, protocol: HTTP}, hosts: ['*']}", "no-port"),
        ("{port: {number: 80, name: http}, hosts: ['*']}", "no-protocol"),
        ("{port: {number: 80, protocol: HTTP}, hosts: ['*']}", "no-name"),
        ("{port: {number: 80, name: http, protocol: HTTP, targetPort: 8080}, hosts: ['*']}", "bad-port"),
        ("{port: {number: 80, name: http, protocol: SMTP}, hosts: ['*']}", "bad-value"),
        ("{port: {number: 80, name: http, protocol: HTTP}, hosts: [short]}", "bad-value"),
        ("{port: {number: 80, name: http, protocol: HTTP}, bind: somewhere, hosts: ['*']}", "bad-value"),
        ("{port: {number: 80, name: http, protocol: HTTP}, bind: 'unix:///a', hosts: ['*']}", "bad-port"),
        ("{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*']}", "no-tls"),
        (
            "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*'], tls: {mode: SIMPLE, credentialName: a}}",
            "bad-tls",
        ),
        ("{port: {number: 80, name: tcp, protocol: TCP}, hosts: ['*'], tls: {}}", "bad-tls"),
    ] {
        assert_eq!(codes(&server(text)), [code], "{text}: {}", server(text));
    }
    let twice = "{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}";
    assert_eq!(codes(&server(&format!("{twice}\n  - {twice}"))), ["duplicate-port"]);
    assert_eq!(
        codes(&told("apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a.b}\nspec: {}\n")),
        ["bad-name", "no-servers"]
    );
}

#[test]
fn a_server_has_its_certificate_from_one_place() {
    for good in [
        "{mode: SIMPLE, credentialName: a}",
        "{mode: MUTUAL, credentialNames: [a, b]}",
        "{mode: SIMPLE, serverCertificate: /a, privateKey: /b}",
        "{mode: MUTUAL, serverCertificate: /a, privateKey: /b, caCertificates: /c, caCrl: /d}",
        "{mode: ISTIO_MUTUAL}",
        "{mode: MUTUAL, credentialName: a, caCertCredentialName: b}",
        "{mode: SIMPLE, credentialName: a, ecdhCurves: [P-256, X25519]}",
        "{}",
    ] {
        assert_eq!(https(good), "", "{good}");
    }
    for (text, expected) in [
        ("{mode: SIMPLE}", &["no-certificate", "no-certificate"][..]),
        ("{mode: MUTUAL, serverCertificate: /a, privateKey: /b}", &["no-certificate"]),
        ("{mode: SIMPLE, credentialName: a, serverCertificate: /a, privateKey: /b}", &["bad-tls"]),
        ("{mode: ISTIO_MUTUAL, credentialName: a}", &["bad-tls"]),
        ("{mode: SIMPLE, credentialName: a, caCrl: /a}", &["bad-tls", "bad-tls"]),
        ("{mode: PASSTHROUGH, credentialName: a}", &["certificate-without-effect"]),
        ("{mode: AUTO_PASSTHROUGH}", &["not-supported-yet"]),
        ("{mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_0}", &["old-tls"]),
        ("{mode: SIMPLE, credentialName: a, cipherSuites: [x]}", &["bad-cipher-suite"]),
        ("{mode: SIMPLE, credentialName: a, ecdhCurves: [P-255]}", &["bad-cipher-suite"]),
        ("{mode: SIMPLE, credentialName: a, caCertCredentialName: b}", &["certificate-without-effect"]),
        ("{mode: SIMPLE, credentialName: a, subjectAltNames: [x]}", &["names-without-effect"]),
        ("{mode: SIMPLE, credentialName: a, httpsRedirect: true}", &["redirect-without-effect"]),
    ] {
        assert_eq!(codes(&https(text)), expected, "{text}: {}", https(text));
    }
}

#[test]
fn a_secret_that_is_a_broken_certificate_is_told_without_its_value() {
    let secret = |data: &str| {
        told(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\ntype: kubernetes.io/tls\nstringData: {data}\n"
        ))
    };
    let told = secret("{tls.crt: c2VjcmV0, tls.key: c2VjcmV0}");
    assert_eq!(told, "3:18 error bad-value metadata.name: `tls.crt` holds no PEM block of a certificate\n");
    assert_eq!(secret("{password: c2VjcmV0}"), "", "not a certificate's");
}
