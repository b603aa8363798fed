//! Sidecar (Istio: pkg/config/validation, `ValidateSidecar`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Report, labels, traffic_policy};
use crate::Sidecar;
use crate::destination_rule::ConnectionPool;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::gateway::{ServerTls, ServerTlsMode};
use crate::mesh_config::OutboundMode;
use crate::sidecar::{
    CaptureMode, DefaultEndpoint, Egress, EgressBind, EgressHost, EgressNamespace, EndpointHost, Ingress,
    ListenPort, SidecarOutboundPolicy,
};
use crate::value::is_dns_label;

pub(super) fn check(sidecar: &Sidecar, path: &FieldPath, report: &mut Report) {
    if let Some(selector) = &sidecar.workload_selector {
        labels::selector_at(&selector.labels, &path.key("workloadSelector"), "labels", report);
    }
    if sidecar.ingress.is_empty()
        && sidecar.egress.is_empty()
        && sidecar.outbound_traffic_policy.is_none()
        && sidecar.inbound_connection_pool.is_none()
    {
        report.add(
            Finding::error("empty-policy", "a Sidecar must say something")
                .at(path)
                .hint("add egress: [{hosts: [\"./*\"]}], ingress or outboundTrafficPolicy"),
        );
    }
    let mut ports = BTreeSet::new();
    for (index, ingress) in sidecar.ingress.iter().enumerate() {
        let here = path.key("ingress").index(index);
        let number = ingress.port.as_ref().and_then(|port| port.number);
        if number.is_some_and(|number| !ports.insert(number)) {
            report.error(&here.key("port"), "duplicate-port", "the port stands here a second time");
        }
        of_ingress(ingress, &here, report);
    }
    if let Some(pool) = &sidecar.inbound_connection_pool {
        traffic_policy::connection_pool(pool, &path.key("inboundConnectionPool"), report);
    }
    let (mut ports, mut sockets) = (BTreeSet::new(), BTreeSet::new());
    for (index, egress) in sidecar.egress.iter().enumerate() {
        let here = path.key("egress").index(index);
        match &egress.port {
            None if index + 1 < sidecar.egress.len() => report.add(
                Finding::error(
                    "catch-all-not-last",
                    "an entry without a port is for all ports that no other has",
                )
                .at(&here)
                .hint("there is one such entry, and it comes last"),
            ),
            Some(ListenPort { number: Some(number), .. }) if !ports.insert(*number) => {
                report.error(&here.key("port"), "duplicate-port", "the port stands here a second time");
            }
            Some(ListenPort { number: None, .. }) if !sockets.insert(&egress.bind) => {
                report.error(&here.key("bind"), "duplicate-port", "the socket stands here a second time");
            }
            _ => {}
        }
        of_egress(egress, &here, report);
    }
    if let Some(policy) = &sidecar.outbound_traffic_policy {
        outbound(policy, &path.key("outboundTrafficPolicy"), report);
    }
}

fn of_port(port: &ListenPort, path: &FieldPath, report: &mut Report) {
    if port.target_port > 0 {
        report.error(&path.key("targetPort"), "field-without-effect", "a Sidecar's port has no targetPort");
    }
    if let Some(name) = port.name.as_deref().filter(|name| !is_dns_label(name)) {
        report.error(&path.key("name"), "bad-name", format!("`{name}` is not the name of a port"));
    }
    if port.known_protocol().is_none() {
        report.add(
            Finding::error("bad-protocol", format!("`{}` is not a protocol", port.protocol))
                .at(&path.key("protocol"))
                .hint("write HTTP, HTTPS, GRPC, HTTP2, MONGO, REDIS, MYSQL, TCP or TLS"),
        );
    }
}

fn of_ingress(ingress: &Ingress, path: &FieldPath, report: &mut Report) {
    let Some(port) = &ingress.port else {
        report.add(
            Finding::error("no-port", "an ingress listener says on which port")
                .at(path)
                .hint("add port: {number: ..., protocol: ..., name: ...}"),
        );
        return;
    };
    of_port(port, &path.key("port"), report);
    if port.number.is_none() {
        report.error(&path.key("port").key("number"), "no-port", "a port is 1 to 65535");
    }
    if let Some(DefaultEndpoint::Port { at: EndpointHost::Unsaid, .. }) = ingress.default_endpoint {
        report.add(
            Finding::warning("field-without-effect", "an endpoint without an address has no effect")
                .at(&path.key("defaultEndpoint"))
                .in_force("connections go to the port that they were made to")
                .hint("write 127.0.0.1:port"),
        );
    }
    if ingress.capture_mode == CaptureMode::None && ingress.default_endpoint.is_none() {
        report.add(
            Finding::warning("no-endpoint", "a socket at the port itself leads to nobody but itself")
                .at(path)
                .in_force("connections to it fail")
                .hint("add defaultEndpoint: 127.0.0.1:port, the port that the application listens on"),
        );
    }
    if let Some(tls) = &ingress.tls {
        of_tls(tls, port, &path.key("tls"), report);
    }
    if let Some(pool) = &ingress.connection_pool {
        pool_of_port(pool, port, &path.key("connectionPool"), report);
    }
}

fn pool_of_port(pool: &ConnectionPool, port: &ListenPort, path: &FieldPath, report: &mut Report) {
    traffic_policy::connection_pool(pool, path, report);
    if pool.http.is_some() && !port.protocol().is_http() {
        report.add(
            Finding::warning("field-without-effect", "the port is not declared as HTTP")
                .at(&path.key("http"))
                .in_force("only the limits of tcp hold")
                .hint("write protocol: HTTP if that is what it speaks"),
        );
    }
}

fn of_tls(tls: &ServerTls, port: &ListenPort, path: &FieldPath, report: &mut Report) {
    let refused = [
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("httpsRedirect", tls.https_redirect),
        ("credentialName", tls.credential_name.is_some()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ];
    for (name, _) in refused.into_iter().filter(|(_, given)| *given) {
        report.error(&path.key(name), "field-without-effect", "this field is for gateways");
    }
    if matches!(tls.mode, ServerTlsMode::IstioMutual | ServerTlsMode::AutoPassthrough) {
        report.error(&path.key("mode"), "bad-value", "this mode is for gateways");
    }
    if !port.protocol().is_tls() {
        report.error(path, "bad-protocol", "TLS is ended at ports of protocol HTTPS or TLS alone");
    }
    let ends = !tls.mode.passes_on();
    let asks = tls.mode.verifies();
    let files = [
        ("serverCertificate", ends && tls.server_certificate.is_none()),
        ("privateKey", ends && tls.private_key.is_none()),
        ("caCertificates", asks && tls.ca_certificates.is_none()),
    ];
    for (name, _) in files.into_iter().filter(|(_, missing)| *missing) {
        report.error(path, "no-certificate", format!("this mode needs `{name}`"));
    }
    report.add(
        Finding::warning("not-supported-yet", "TLS of an ingress listener is not supported yet")
            .at(path)
            .in_force(
                "the port is served as without it, as in an Istio without ENABLE_TLS_ON_SIDECAR_INGRESS",
            )
            .hint("let the application end TLS itself, or write a PeerAuthentication for the mesh's own"),
    );
}

fn of_egress(egress: &Egress, path: &FieldPath, report: &mut Report) {
    if let Some(port) = &egress.port {
        of_port(port, &path.key("port"), report);
        let unix = matches!(egress.bind, Some(EgressBind::Unix(_)));
        match port.number {
            None if !unix => report.add(
                Finding::error("bad-address", "port 0 is for a Unix socket")
                    .at(&path.key("port").key("number"))
                    .hint("write the port's number, or bind: unix:///path"),
            ),
            None if egress.capture_mode == CaptureMode::Iptables => report.error(
                &path.key("captureMode"),
                "bad-address",
                "nothing is redirected to a Unix socket; write DEFAULT or NONE",
            ),
            Some(_) if unix => {
                report.error(&path.key("bind"), "bad-address", "a Unix socket has port 0");
            }
            _ => {}
        }
    }
    let hosts = path.key("hosts");
    if egress.hosts.is_empty() {
        report.add(
            Finding::error("no-hosts", "an egress listener names the services that are called")
                .at(path)
                .hint("add hosts: [\"./*\"] for those of the own namespace, or [\"~/*\"] for none"),
        );
    }
    // In the root namespace `.` is each namespace itself, so that it is told from a name everywhere.
    let mut before: BTreeMap<EgressNamespace, BTreeSet<&str>> = BTreeMap::new();
    for (index, host) in egress.hosts.iter().enumerate().filter(|(_, host)| !host.excluded) {
        let EgressHost { namespace, host: name, .. } = host;
        let others = before.entry(namespace.clone()).or_default();
        let all = name.as_str() == "*";
        let twice =
            if all { !others.is_empty() } else { others.contains("*") || others.contains(name.as_str()) };
        if twice {
            report.warning(
                &hosts.index(index),
                "duplicate-host",
                format!("`{host}` adds nothing to the hosts before it, or they nothing to it"),
            );
        }
        others.insert(name.as_str());
    }
    let everything = before.get(&EgressNamespace::Any).is_some_and(|names| names.contains("*"));
    if everything && before.len() > 1 {
        report.warning(
            &hosts,
            "duplicate-host",
            "`*/*` stands for all services: the other hosts add nothing",
        );
    }
}

fn outbound(policy: &SidecarOutboundPolicy, path: &FieldPath, report: &mut Report) {
    if policy.mode == OutboundMode::AllowAnyDynamicDns {
        report.error(
            &path.key("mode"),
            "bad-value",
            "ALLOW_ANY_DYNAMIC_DNS is for the settings of the mesh; write ALLOW_ANY or REGISTRY_ONLY",
        );
    }
    let Some(proxy) = &policy.egress_proxy else { return };
    let here = path.key("egressProxy");
    if policy.mode != OutboundMode::AllowAny {
        report.add(
            Finding::error(
                "conflicting-policies",
                "without mode ALLOW_ANY nothing is sent to unknown destinations",
            )
            .at(&here)
            .hint("add mode: ALLOW_ANY"),
        );
    }
    if proxy.host.is_wildcard() || proxy.host.as_str().parse::<std::net::IpAddr>().is_ok() {
        report.error(&here.key("host"), "bad-host", format!("`{}` is not the name of a service", proxy.host));
    }
    if let Some(subset) = proxy.subset.as_deref().filter(|subset| !is_dns_label(subset)) {
        report.error(&here.key("subset"), "bad-name", format!("`{subset}` is not the name of a subset"));
    }
    if proxy.port.is_none() {
        report.add(
            Finding::error("no-port", "a proxy is called at a port")
                .at(&here)
                .hint("add port: {number: ...}, the service's port"),
        );
    }
}
