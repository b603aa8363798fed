//! The rules within one object: what Istio's admission or Kubernetes' API server refuses, with the field and what to do.
//!
//! Knows: the typed object. Must not know: other objects, files.   One file per subject.
//! Invariant: an error here means that a cluster with Istio would not take the object either (Istio: pkg/config/validation); what
//! it takes is a warning at most.

mod annotations;
mod balance;
mod connection;
mod cors;
mod destination;
mod destination_rule;
mod envoy_filter;
mod fault;
mod gateway;
mod headers;
mod hosts;
mod http_match;
mod http_route;
mod labels;
mod locality;
mod mesh_settings;
pub(crate) mod mesh_tls;
mod peer_authentication;
mod provider;
mod proxy_config;
mod reach;
mod retry;
mod server_tls;
mod service;
mod service_entry;
mod sidecar;
mod target_ref;
mod telemetry;
mod traffic_policy;
mod virtual_service;
mod workload_entry;
mod workload_group;
mod wrapping;

#[cfg(test)]
mod tests;

use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::Duration;
use crate::{MeshConfig, Object, Spec};

/// Findings on one object, without places.
pub(crate) fn object(object: &Object) -> Vec<Finding> {
    let spec = FieldPath::of(&["spec"]);
    let mut report = Report::default();
    match &object.spec {
        Spec::VirtualService(service) => virtual_service::check(service, &object.meta, &spec, &mut report),
        Spec::DestinationRule(rule) => destination_rule::check(rule, &object.meta, &spec, &mut report),
        Spec::WorkloadEntry(entry) => workload_entry::check(entry, &spec, &mut report),
        Spec::Gateway(gateway) => gateway::check(gateway, &object.meta, &spec, &mut report),
        Spec::ServiceEntry(entry) => service_entry::check(entry, &object.meta, &spec, &mut report),
        Spec::WorkloadGroup(group) => workload_group::check(group, &spec, &mut report),
        Spec::Sidecar(sidecar) => sidecar::check(sidecar, &spec, &mut report),
        Spec::ProxyConfig(config) => proxy_config::check(config, &spec, &mut report),
        Spec::EnvoyFilter(filter) => envoy_filter::check(filter, &spec, &mut report),
        Spec::PeerAuthentication(policy) => peer_authentication::check(policy, &spec, &mut report),
        Spec::Telemetry(telemetry) => telemetry::check(telemetry, &spec, &mut report),
        Spec::Service(service) => service::check(service, &object.meta, &spec, &mut report),
        Spec::Namespace => annotations::of_distribution(&object.meta, &mut report),
        Spec::EndpointSlice(_) | Spec::Pod(_) | Spec::Node | Spec::ConfigMap(_) | Spec::Secret(_) => {}
    }
    report.0
}

/// Findings on the settings of the mesh, which stand at `path`.
pub(crate) fn mesh_config(mesh: &MeshConfig, path: &FieldPath) -> Vec<Finding> {
    let mut report = Report::default();
    if let Some(retries) = &mesh.default_http_retry_policy {
        retry::check(retries, &path.key("defaultHttpRetryPolicy"), &mut report);
    }
    report.duration(&path.key("connectTimeout"), Some(mesh.connect_timeout));
    mesh_settings::outbound(&mesh.outbound_traffic_policy, &path.key("outboundTrafficPolicy"), &mut report);
    provider::check(mesh, path, &mut report);
    report.duration(&path.key("dnsRefreshRate"), Some(mesh.dns_refresh_rate));
    report.trust_domain(&path.key("trustDomain"), &mesh.trust_domain);
    for (index, alias) in mesh.trust_domain_aliases.iter().enumerate() {
        report.trust_domain(&path.key("trustDomainAliases").index(index), alias);
    }
    if mesh.proxy_listen_port == mesh.proxy_inbound_listen_port {
        report.error(
            &path.key("proxyInboundListenPort"),
            "duplicate-port",
            "inbound and outbound connections need ports of their own",
        );
    }
    mesh_tls::check(mesh, path, &mut report);
    mesh_settings::check(mesh, path, &mut report);
    report.0
}

/// Collects findings.
#[derive(Default)]
struct Report(Vec<Finding>);

impl Report {
    fn add(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// A mistake that has no more to say.
    fn error(&mut self, path: &FieldPath, code: &'static str, message: impl Into<String>) {
        self.add(Finding::error(code, message).at(path));
    }

    fn warning(&mut self, path: &FieldPath, code: &'static str, message: impl Into<String>) {
        self.add(Finding::warning(code, message).at(path));
    }

    /// SPIFFE's rule for trust domains (SPIFFE-ID, 2.1), and `@`, which Istio writes as a dot (pkg/spiffe/spiffe.go).
    fn trust_domain(&mut self, path: &FieldPath, domain: &str) {
        let letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'@');
        if domain.is_empty() || domain.len() > 255 || !domain.bytes().all(letter) {
            self.error(
                path,
                "bad-trust-domain",
                format!("`{domain}` is no trust domain: lower case letters, digits, dots, hyphens and underscores, at most 255"),
            );
        }
    }

    /// Istio's rule for durations: a millisecond or more, and whole milliseconds.
    fn duration(&mut self, path: &FieldPath, duration: Option<Duration>) {
        let Some(duration) = duration else { return };
        let nanos = duration.0.as_nanos();
        if nanos < 1_000_000 {
            self.add(
                Finding::error("bad-duration", format!("must be at least 1ms, found {duration}"))
                    .at(path)
                    .hint("leave the field out to have no limit of its own"),
            );
        } else if !nanos.is_multiple_of(1_000_000) {
            self.error(path, "bad-duration", format!("must be whole milliseconds, found {duration}"));
        }
    }
}

/// What Istio calls it when an older spelling is read.
fn older_spelling(path: &FieldPath, instead: &str) -> Finding {
    Finding::info("older-spelling", "this is an older spelling").at(path).hint(format!("write {instead}"))
}
