//! PeerAuthentication, the TLS of DestinationRules, the mesh's own TLS.

use super::{destination_rule, told};
use crate::peer_authentication::MtlsMode;
use crate::{Spec, parse, parse_mesh_config};

fn peer_authentication(spec: &str) -> String {
    told(&format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: a}}\nspec: {spec}\n"
    ))
}

#[test]
fn a_policy_is_read_at_both_versions_and_without_a_spec() {
    for version in ["v1", "v1beta1"] {
        let text = format!(
            "{{apiVersion: security.istio.io/{version}, kind: PeerAuthentication, metadata: {{name: a}}, spec: {{selector: \
             {{matchLabels: {{app: a}}}}, mtls: {{mode: STRICT}}, portLevelMtls: {{8080: {{mode: DISABLE}}, '8081': {{}}}}}}}}"
        );
        let file = parse(&text, "f", "default");
        let object = file.documents[0].object.as_ref().unwrap();
        let Spec::PeerAuthentication(policy) = &object.spec else { panic!("{object:?}") };
        assert_eq!(policy.mtls.mode, MtlsMode::Strict);
        let ports: Vec<String> = policy
            .port_level_mtls
            .iter()
            .flatten()
            .map(|(port, mtls)| format!("{port} {:?}", mtls.mode))
            .collect();
        assert_eq!(ports, ["8080 Disable", "8081 Unset"]);
    }
    assert_eq!(told("{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: a}}"), "");
    assert_eq!(peer_authentication("{}"), "");
    assert_eq!(
        told("{apiVersion: security.istio.io/v2, kind: PeerAuthentication, metadata: {name: a}, spec: {}}"),
        "1:14 error bad-api-version apiVersion: PeerAuthentication is not read at version security.istio.io/v2\n"
    );
}

#[test]
fn what_istio_refuses_of_a_policy_is_refused() {
    assert_eq!(
        peer_authentication("{mtls: {mode: MUTUAL}}"),
        "4:21 error bad-value mtls.mode: `MUTUAL` is none of the values that the field takes: UNSET, DISABLE, PERMISSIVE, STRICT\n"
    );
    assert_eq!(
        peer_authentication("{portLevelMtls: {8080: {mode: STRICT}}}"),
        "4:8 error no-selector portLevelMtls: the ports are those of a workload, and no workload is selected\n"
    );
    assert_eq!(
        peer_authentication("{selector: {matchLabels: {app: a}}, portLevelMtls: {}}"),
        "4:43 error empty-policy portLevelMtls: portLevelMtls must name a port\n"
    );
    for port in ["0", "65536", "http"] {
        let told = peer_authentication(&format!(
            "{{selector: {{matchLabels: {{app: a}}}}, portLevelMtls: {{{port}: {{mode: STRICT}}}}}}"
        ));
        assert!(told.contains(&format!("a number from 1 to 65535, found `{port}`")), "{told}");
    }
    assert_eq!(
        peer_authentication("{selector: {matchLabels: {app: 'a*'}}}"),
        "4:38 error bad-label selector.matchLabels.app: labels are matched as they are: `*` stands for nothing else\n"
    );
    assert_eq!(
        peer_authentication("{selector: {matchLabels: {}}}"),
        "4:8 warning empty-selector selector: without labels this is for every workload of the namespace\n"
    );
    assert_eq!(
        peer_authentication("{mtls: {mod: STRICT}}"),
        "4:15 warning unknown-field mtls.mod: there is no field `mod` here\n"
    );
}

#[test]
fn tls_of_a_rule_has_what_its_mode_needs_and_nothing_else() {
    let tls = |tls: &str| destination_rule(&format!("trafficPolicy: {{tls: {tls}}}\n"));
    for sound in [
        "{mode: DISABLE}",
        "{mode: SIMPLE}",
        "{mode: SIMPLE, insecureSkipVerify: true}",
        "{mode: SIMPLE, sni: a.example, subjectAltNames: [a.example], caCertificates: /ca.pem, caCrl: /crl.pem}",
        "{mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem}",
        "{mode: ISTIO_MUTUAL, sni: a, subjectAltNames: [spiffe://a/ns/b/sa/c]}",
    ] {
        assert_eq!(tls(sound), "", "{sound}");
    }
    assert_eq!(
        tls("{mode: MUTUAL, clientCertificate: /c.pem}"),
        "6:19 error no-certificate trafficPolicy.tls: mode MUTUAL needs `privateKey`\n"
    );
    assert_eq!(
        tls("{mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}"),
        "6:59 error conflicting-policies trafficPolicy.tls.insecureSkipVerify: `insecureSkipVerify` excludes caCertificates and \
         subjectAltNames\n"
    );
    assert_eq!(
        tls("{mode: ISTIO_MUTUAL, caCertificates: /ca.pem}"),
        "6:61 warning field-without-effect trafficPolicy.tls.caCertificates: this field has no effect in mode ISTIO_MUTUAL\n"
    );
    assert_eq!(
        tls("{sni: a}"),
        "6:30 warning field-without-effect trafficPolicy.tls.sni: this field has no effect in mode DISABLE\n"
    );
    assert_eq!(
        tls("{mode: SIMPLE, privateKey: /k.pem}"),
        "6:51 warning field-without-effect trafficPolicy.tls.privateKey: this field has no effect in mode SIMPLE\n"
    );
}

#[test]
fn settings_of_the_meshs_own_tls() {
    let read = |text: &str| {
        let (mesh, findings) = parse_mesh_config(text, "m.yaml");
        let findings: Vec<String> =
            findings.iter().map(|finding| format!("{} {}", finding.code, finding.field)).collect();
        (mesh, findings)
    };
    let (mesh, findings) = read("{}");
    let mesh = mesh.unwrap();
    assert_eq!((&*mesh.trust_domain, mesh.enable_auto_mtls, findings.len()), ("cluster.local", true, 0));
    assert_eq!(&*read("trustDomain: ''").0.unwrap().trust_domain, "cluster.local");
    let (mesh, findings) = read(
        "{trustDomain: new.example, trustDomainAliases: [old.example, older.example], enableAutoMtls: false, \
         meshMTLS: {minProtocolVersion: TLSV1_3, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]}}",
    );
    let mesh = mesh.unwrap();
    assert_eq!((&*mesh.trust_domain, mesh.trust_domain_aliases.len()), ("new.example", 2));
    assert_eq!((mesh.enable_auto_mtls, findings), (false, vec![]));
    for (text, finding) in [
        ("trustDomain: spiffe://a", "bad-trust-domain trustDomain"),
        ("trustDomainAliases: [a, b/c]", "bad-trust-domain trustDomainAliases[1]"),
        ("meshMTLS: {cipherSuites: [ECDHE-X]}", "bad-cipher-suite meshMTLS.cipherSuites[0]"),
        ("meshMTLS: {minProtocolVersion: TLSV1_1}", "bad-value meshMTLS.minProtocolVersion"),
    ] {
        let (mesh, findings) = read(text);
        assert_eq!(findings, [finding]);
        assert!(mesh.is_none(), "{text}");
    }
}
