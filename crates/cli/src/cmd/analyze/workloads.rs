//! Services, the workloads that they select together, and namespaces.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_api::service::TargetPort;
use meltemi_api::{FieldPath, Finding, Meta, Service, Spec};
use meltemi_model::Mesh;
use meltemi_names::{Kind, Labels, Namespace, ObjectKey, Protocol};

/// What is to be said of them. Of these namespaces more is known than the mesh's own objects: they have Deployments.
pub(super) fn findings(mesh: &Mesh, deployed: &BTreeSet<String>) -> Vec<Finding> {
    let mut all: Vec<Finding> = Vec::new();
    for object in mesh.objects() {
        let key = &object.meta.key;
        match &object.spec {
            Spec::Service(service) => {
                all.extend(external(service).into_iter().map(|finding| finding.about(key)));
            }
            Spec::Namespace => {
                let found = injection(mesh, &object.meta, deployed.contains(key.name.as_str()));
                all.extend(found.map(|finding| finding.about(key)));
            }
            _ => {}
        }
    }
    let mut told = BTreeSet::new();
    for object in mesh.objects() {
        let Spec::Pod(pod) = &object.spec else { continue };
        let key = &object.meta.key;
        // Pods of one Deployment are alike.
        if !told.insert((&key.namespace, &pod.workload_kind, &pod.workload, &object.meta.labels)) {
            continue;
        }
        let whom = format!("{} {}", pod.workload_kind, pod.workload);
        let found = of_pods(mesh, &whom, &key.namespace, &object.meta.labels);
        all.extend(found.into_iter().map(|finding| finding.about(key)));
    }
    all
}

/// What the Services in front of pods with these labels say together.
pub(super) fn of_pods(mesh: &Mesh, whom: &str, namespace: &Namespace, labels: &Labels) -> Vec<Finding> {
    let services = mesh.within(Kind::Service, namespace.as_str());
    let selecting: Vec<(&ObjectKey, &Service)> = services
        .filter_map(|object| match &object.spec {
            Spec::Service(service) if is_selected(service, labels) => Some((&object.meta.key, service)),
            _ => None,
        })
        .collect();
    together(whom, &selecting)
}

fn is_selected(service: &Service, labels: &Labels) -> bool {
    !service.selector.is_empty() && service.selector.selects(labels)
}

/// What several services say of one workload's ports (Istio: analyzers/deployment/services.go).
fn together(whom: &str, services: &[(&ObjectKey, &Service)]) -> Vec<Finding> {
    let mut protocols: BTreeMap<u16, BTreeMap<String, Vec<&ObjectKey>>> = BTreeMap::new();
    let mut targets: BTreeMap<String, BTreeMap<u16, Vec<&ObjectKey>>> = BTreeMap::new();
    for (key, service) in services {
        for port in &service.ports {
            let number = port.port.number();
            let transport = format!("{:?}", port.transport).to_ascii_uppercase();
            protocols.entry(number).or_default().entry(transport).or_default().push(key);
            let target = match &port.target_port {
                TargetPort::Number(target) => target.to_string(),
                TargetPort::Name(name) => name.to_string(),
            };
            targets.entry(target).or_default().entry(number).or_default().push(key);
        }
    }
    let names = |all: Vec<&ObjectKey>| {
        let all: BTreeSet<&str> = all.iter().map(|key| key.name.as_str()).collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    };
    let mut all = Vec::new();
    for (port, by) in protocols.into_iter().filter(|(_, by)| by.len() > 1) {
        let speak: Vec<&str> = by.keys().map(String::as_str).collect();
        let said = speak.join(" and ");
        let services = names(by.values().flatten().copied().collect());
        let message =
            format!("{whom} is behind several services ({services}) that speak {said} on port {port}");
        all.push(Finding::warning("IST0116", message).hint("let them agree on one protocol of the port"));
    }
    for (target, by) in targets.into_iter().filter(|(_, by)| by.len() > 1) {
        let ports: Vec<String> = by.keys().map(ToString::to_string).collect();
        let services = names(by.values().flatten().copied().collect());
        let message = format!(
            "{whom} is behind several services ({services}) that lead to its port {target} from different ports: {}",
            ports.join(", ")
        );
        all.push(
            Finding::warning("IST0137", message).hint("let them have one port for it, or a target each"),
        );
    }
    all
}

/// Ports of another name's service that do not say that they are TCP (Istio: analyzers/service/portname.go).
fn external(service: &Service) -> Vec<Finding> {
    if service.external_name.is_none() {
        return Vec::new();
    }
    let ports = service.ports.iter().enumerate();
    let silent = ports.filter(|(_, port)| port.protocol() == Protocol::Auto);
    silent
        .map(|(index, port)| {
            let path = FieldPath::of(&["spec", "ports"]).index(index);
            let message = format!("port {} of this ExternalName service declares no protocol", port.port);
            Finding::warning("IST0150", message).at(&path).hint("name it tcp, or tcp-...")
        })
        .collect()
}

/// Namespaces whose pods get no sidecar, or that say so twice (Istio: analyzers/injection).
fn injection(mesh: &Mesh, meta: &Meta, is_deployed: bool) -> Option<Finding> {
    const SYSTEM: &[&str] =
        &["istio-system", "kube-node-lease", "kube-public", "kube-system", "local-path-storage"];
    const INJECTION: &str = "istio-injection";
    let name = meta.key.name.as_str();
    if SYSTEM.contains(&name) {
        return None;
    }
    let label = |key: &str| meta.labels.value(key).map(|value| format!("{key}={value}"));
    let by_label = meta.labels.value(INJECTION);
    let by_others = [label("istio.io/rev"), label("istio.io/dataplane-mode")].into_iter().flatten();
    let by_others: Vec<String> = by_others.filter(|_| by_label.is_none_or(|own| own == "enabled")).collect();
    let all: Vec<String> = label(INJECTION).into_iter().chain(by_others).collect();
    let path = FieldPath::of(&["metadata", "labels"]);
    if all.len() > 1 {
        let message = format!("several labels decide about sidecars here: {}", all.join(", "));
        return Some(Finding::warning("IST0123", message).at(&path).hint("keep one of them"));
    }
    let has_pods = is_deployed || mesh.within(Kind::Pod, name).next().is_some();
    (all.is_empty() && has_pods).then(|| {
        let message = format!("pods of namespace {name} get no sidecar: it has no label {INJECTION}");
        let hint = format!("to have them: kubectl label namespace {name} {INJECTION}=enabled; to say that none is wanted: {INJECTION}=disabled");
        Finding::info("IST0102", message).at(&path).hint(hint)
    })
}
