//! Services that nobody serves, or that nobody reaches.

use meltemi_api::service::TargetPort;
use meltemi_api::{FieldPath, Finding, Service};
use meltemi_model::endpoints::{LocalitiesOf, SelectedLabels};
use meltemi_model::entry::IndexKey;
use meltemi_model::read::{Read, none_filed};
use meltemi_model::service::ServiceId;
use meltemi_names::{ObjectKey, Protocol};

use crate::listener::ShadowedBy;

pub(super) fn findings(read: &Read<'_>, key: &ObjectKey, service: &Service) -> Vec<Finding> {
    unserved(read, key, service).into_iter().chain(shadowed(read, key, service)).collect()
}

/// Ports whose connections nothing tells from an older service's.
fn shadowed(read: &Read<'_>, key: &ObjectKey, service: &Service) -> Vec<Finding> {
    let ports = FieldPath::of(&["spec", "ports"]);
    let tcp = service.ports.iter().enumerate().filter(|(_, port)| port.protocol() != Protocol::Udp);
    let shadowed = tcp.filter_map(|(at, port)| {
        let older = (*read.ask(ShadowedBy { service: ServiceId::of(key), port: port.port })).clone()?;
        let message =
            format!("nothing tells connections to port {} from those to {older}, which is older", port.port);
        let hint = if service.cluster_ips.is_empty() {
            "give each of them a clusterIP, or another port"
        } else {
            "give one of them another port"
        };
        let finding = Finding::warning("port-shadowed", message).at(&ports.index(at)).hint(hint);
        Some(finding.in_force(format!("connections to it reach {older}")))
    });
    shadowed.collect()
}

fn unserved(read: &Read<'_>, key: &ObjectKey, service: &Service) -> Vec<Finding> {
    let is_served = || {
        !read.ask(LocalitiesOf(ServiceId::of(key))).is_empty()
            || !read.ask(SelectedLabels(ServiceId::of(key))).is_empty()
    };
    if service.external_name.is_some() || service.ports.is_empty() || is_served() {
        return Vec::new();
    }
    let sliced = || !none_filed(read, IndexKey::SlicesOf(key.namespace.clone(), key.name.clone()));
    let (field, message, hint) = if sliced() {
        (
            FieldPath::of(&["spec"]),
            format!("{key} has EndpointSlices, and none of their endpoints can be used"),
            "an endpoint is used when its pod (targetRef) is there, and it is ready or `terminating: false` is written"
                .to_owned(),
        )
    } else if service.selector.is_empty() {
        (
            FieldPath::of(&["spec"]),
            format!("{key} has no selector, and no EndpointSlice names it"),
            "add a selector, or an EndpointSlice with the label kubernetes.io/service-name".to_owned(),
        )
    } else {
        (
            FieldPath::of(&["spec", "selector"]),
            format!("{key} selects nothing: no EndpointSlice, pod or WorkloadEntry"),
            format!("to name an endpoint, add\n{}", entry(key, service)),
        )
    };
    let finding = Finding::warning("service-without-endpoints", message).at(&field).hint(hint);
    vec![finding.in_force("requests to it get 503")]
}

/// The WorkloadEntry that would serve it on this machine.
fn entry(key: &ObjectKey, service: &Service) -> String {
    let labels: Vec<String> =
        service.selector.labels().iter().map(|(label, value)| format!("{label}: {value:?}")).collect();
    let ports: Vec<String> = service
        .ports
        .iter()
        .filter_map(|port| {
            let target = match &port.target_port {
                TargetPort::Number(target) => *target,
                TargetPort::Name(_) => port.port,
            };
            Some(format!("{}: {target}", port.name.as_ref()?))
        })
        .collect();
    let ports = if ports.is_empty() { String::new() } else { format!("\n  ports: {{{}}}", ports.join(", ")) };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {}-1, namespace: {}}}\nspec:\n  address: 127.0.0.1\n  labels: {{{}}}{ports}",
        key.name,
        key.namespace,
        labels.join(", "),
    )
}
