//! VirtualServices: ports that are left open, subsets that gateways pass by. What no request reaches is found as each object is read.

use meltemi_api::virtual_service::{Destination, HttpRoute};
use meltemi_api::{FieldPath, Finding, Spec, VirtualService};
use meltemi_model::Mesh;
use meltemi_model::index::qualified;
use meltemi_names::{Kind, ObjectKey};

/// What is to be said of them.
pub(crate) fn findings(mesh: &Mesh) -> Vec<Finding> {
    let mut all = Vec::new();
    for (key, service) in virtual_services(mesh) {
        let found = ports(mesh, key, service).into_iter().chain(passed_by(mesh, service));
        all.extend(found.map(|finding| finding.about(key)));
    }
    all
}

fn virtual_services(mesh: &Mesh) -> impl Iterator<Item = (&ObjectKey, &VirtualService)> {
    mesh.objects().filter_map(|object| match &object.spec {
        Spec::VirtualService(service) => Some((&object.meta.key, service)),
        _ => None,
    })
}

fn at(rule: usize) -> FieldPath {
    FieldPath::of(&["spec", "http"]).index(rule)
}

/// Destinations with their places, mirrors apart.
fn destinations(rules: &[HttpRoute]) -> impl Iterator<Item = (&Destination, FieldPath)> {
    rules.iter().enumerate().flat_map(|(rule, route)| {
        let all = route.route.iter().enumerate();
        all.map(move |(place, weighted)| {
            (&weighted.destination, at(rule).key("route").index(place).key("destination"))
        })
    })
}

/// Destinations of services with several ports that do not say which (Istio: analyzers/virtualservice/destinationhosts.go).
fn ports(mesh: &Mesh, key: &ObjectKey, service: &VirtualService) -> Vec<Finding> {
    let open = destinations(&service.http).filter(|(destination, _)| destination.port.is_none());
    open.filter_map(|(destination, path)| {
        let host = qualified(&destination.host, &key.namespace);
        let mut parts = host.as_str().splitn(3, '.');
        let (name, namespace) = (parts.next()?, parts.next()?);
        let object = mesh.object(&ObjectKey::new(Kind::Service, namespace, name))?;
        let Spec::Service(target) = &object.spec else { return None };
        if target.ports.len() < 2 {
            return None;
        }
        let ports: Vec<String> = target.ports.iter().map(|port| port.port.to_string()).collect();
        let message =
            format!("{} has several ports ({}), and none is chosen", object.meta.key, ports.join(", "));
        let finding = Finding::error("IST0112", message).at(&path);
        let finding = finding.in_force("requests go to the port that they came to");
        Some(finding.hint("say which: port: {number: ...}"))
    })
    .collect()
}

/// Routes of gateways to a host whose subsets only the mesh's own rules choose (Istio: the same).
fn passed_by(mesh: &Mesh, service: &VirtualService) -> Vec<Finding> {
    if service.gateways.is_empty() {
        return Vec::new();
    }
    let whole = destinations(&service.http).filter(|(destination, _)| destination.subset.is_none());
    whole
        .filter_map(|(destination, path)| {
            let splits = |other: &VirtualService| {
                other.hosts.contains(&destination.host)
                    && destinations(&other.http)
                        .any(|(found, _)| found.subset.is_some() && found.host == destination.host)
            };
            let (other, _) = virtual_services(mesh).find(|(_, other)| splits(other))?;
            let message = format!(
                "subsets that {other} chooses for {} have no effect on requests from gateways",
                destination.host
            );
            let finding = Finding::warning("IST0140", message).at(&path);
            Some(finding.hint("send to the subsets here, too"))
        })
        .collect()
}
