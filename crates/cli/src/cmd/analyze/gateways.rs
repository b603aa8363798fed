//! Gateways: at ports that no Service leads to, with a certificate that another one has, too.

use meltemi_api::gateway::ServerTls;
use meltemi_api::service::{TargetPort, Transport};
use meltemi_api::{FieldPath, Finding, Gateway, Object, Spec};
use meltemi_model::Mesh;
use meltemi_names::{Kind, Labels, ObjectKey, Port};

use super::policies::spelled;

/// What is to be said of them.
pub(super) fn findings(mesh: &Mesh) -> Vec<Finding> {
    let all: Vec<(&ObjectKey, &Gateway)> = mesh
        .objects()
        .filter_map(|object| match &object.spec {
            Spec::Gateway(gateway) => Some((&object.meta.key, gateway)),
            _ => None,
        })
        .collect();
    let pods: Vec<&Object> = mesh
        .objects()
        .map(AsRef::as_ref)
        .filter(|object: &&Object| object.meta.key.kind == Kind::Pod)
        .collect();
    let mut found = Vec::new();
    for (key, gateway) in &all {
        let own = workloads(mesh, gateway, &pods).into_iter().chain(twice(key, gateway, &all));
        found.extend(own.map(|finding| finding.about(key)));
    }
    found
}

/// The ports of a Gateway beside those of the Services in front of its workloads (Istio: analyzers/gateway/gateway.go). Where no pod is
/// known at all, nobody can tell.
fn workloads(mesh: &Mesh, gateway: &Gateway, pods: &[&Object]) -> Vec<Finding> {
    if pods.is_empty() {
        return Vec::new();
    }
    let selected: Vec<&&Object> =
        pods.iter().filter(|pod| gateway.selector.selects(&pod.meta.labels)).collect();
    let labels = spelled(&gateway.selector);
    if selected.is_empty() {
        // That is told already, of every mesh.
        return Vec::new();
    }
    let led: Vec<Port> = selected
        .iter()
        .flat_map(|pod| of_services(mesh, pod.meta.key.namespace.as_str(), &pod.meta.labels))
        .collect();
    let servers = gateway.servers.iter().enumerate();
    let open = servers.filter_map(|(index, server)| Some((index, server.number()?)));
    open.filter(|(_, port)| !led.contains(port))
        .map(|(index, port)| {
            let message = format!("no Service of the pods that carry {labels} leads to port {port}");
            Finding::warning("IST0162", message)
                .at(&FieldPath::of(&["spec", "servers"]).index(index).key("port").key("number"))
                .in_force("it is reached at the pods' own addresses alone")
                .hint("add the port to the gateway's Service")
        })
        .collect()
}

/// The ports that lead to a pod: those of Services, and their targets.
fn of_services(mesh: &Mesh, namespace: &str, labels: &Labels) -> Vec<Port> {
    let mut ports = Vec::new();
    for object in mesh.within(Kind::Service, namespace) {
        let Spec::Service(service) = &object.spec else { continue };
        if service.selector.is_empty() || !service.selector.selects(labels) {
            continue;
        }
        for port in service.ports.iter().filter(|port| port.transport == Transport::Tcp) {
            ports.push(port.port);
            if let TargetPort::Number(target) = &port.target_port {
                ports.push(*target);
            }
        }
    }
    ports
}

/// Certificates that another Gateway for the same proxies has, too: a client may send requests for both over one connection (Istio:
/// analyzers/gateway/certificate.go).
fn twice(key: &ObjectKey, gateway: &Gateway, all: &[(&ObjectKey, &Gateway)]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, server) in gateway.servers.iter().enumerate() {
        let Some(tls) = &server.tls else { continue };
        let others = all.iter().filter(|(other, _)| *other != key);
        let others = others.filter(|(_, other)| gateway.selector.selects(other.selector.labels()));
        let mut same = others.filter(|(_, other)| {
            other.servers.iter().filter_map(|server| server.tls.as_ref()).any(|other| is_same(tls, other))
        });
        let Some((other, _)) = same.next() else { continue };
        let message = format!(
            "{other} has this certificate, too: a browser that keeps its HTTP/2 connection to the one gets 404 for hosts of the other"
        );
        let finding = Finding::warning("IST0138", message)
            .at(&FieldPath::of(&["spec", "servers"]).index(index).key("tls"));
        found.push(finding.hint("put all hosts of a certificate into one Gateway"));
    }
    found
}

fn is_same(one: &ServerTls, other: &ServerTls) -> bool {
    match (&one.credential_name, &other.credential_name) {
        (Some(one), Some(other)) => one == other,
        (None, None) => {
            one.server_certificate.is_some()
                && one.server_certificate == other.server_certificate
                && one.private_key.is_some()
                && one.private_key == other.private_key
        }
        _ => false,
    }
}
