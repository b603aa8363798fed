//! Pods, and Deployments that a folder holds beside the mesh's kinds: without a proxy where one is wanted, as the proxy's own user, and
//! with annotations that nobody reads.

use std::collections::BTreeSet;

use meltemi_api::{FieldPath, Finding, Meta, Object, Places, Spec};
use meltemi_model::Mesh;
use meltemi_names::{Kind, Labels, ObjectKey};
use serde_json::Value;

use super::{annotations, workloads};

/// The user that proxies run as: what it sends is not redirected.
const PROXYS_USER: u64 = 1337;

/// What proxies and their installers are called, who may run so.
const PROXIES: [&str; 2] = ["istio-proxy", "istio-operator"];

/// What is to be said of pods, and of annotations of Services and namespaces.
pub(super) fn findings(mesh: &Mesh) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut told = BTreeSet::new();
    for object in mesh.objects() {
        let Meta { key, labels, annotations, .. } = &object.meta;
        let is_looked_at = match &object.spec {
            // Pods of one Deployment are alike.
            Spec::Pod(pod) => {
                let template = (&key.namespace, &pod.workload_kind, &pod.workload, labels, annotations);
                told.insert(template)
            }
            Spec::Service(_) | Spec::Namespace => true,
            _ => false,
        };
        if !is_looked_at {
            continue;
        }
        let path = FieldPath::of(&["metadata", "annotations"]);
        let has = |name: &str| labels.value(name).is_some();
        let mut found = annotations::findings(key.kind.as_str(), annotations.iter(), has, &path);
        if matches!(&object.spec, Spec::Pod(_)) {
            let written: Value =
                object.text.json().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
            found.extend(without_proxy(mesh, object, &written));
            found.extend(as_proxy(&written, &FieldPath::of(&["spec"])));
        }
        all.extend(found.into_iter().map(|finding| finding.about(key)));
    }
    all
}

/// A pod without a proxy in a namespace whose pods have one (Istio: analyzers/injection).
fn without_proxy(mesh: &Mesh, object: &Object, written: &Value) -> Option<Finding> {
    let Meta { key, labels, annotations, .. } = &object.meta;
    let namespace = mesh.object(&ObjectKey::new(Kind::Namespace, "", key.namespace.as_str()))?;
    let injects = namespace.meta.labels.value("istio-injection") == Some("enabled");
    let inject =
        labels.value("sidecar.istio.io/inject").or_else(|| annotations.value("sidecar.istio.io/inject"));
    let declines = inject.is_some_and(|inject| inject.eq_ignore_ascii_case("false"));
    let is_of_host = written.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
    // Who writes pods down for a folder says so by the label that injection sets.
    let is_said = labels.value("security.istio.io/tlsMode").is_some();
    let has_proxy = ["/spec/containers", "/spec/initContainers"].into_iter().any(|list| {
        let all = written.pointer(list).and_then(Value::as_array).into_iter().flatten();
        all.into_iter().any(|container| container.get("name").is_some_and(|name| name == "istio-proxy"))
    });
    let is_without = injects && !declines && !is_of_host && !is_said && !has_proxy;
    is_without.then(|| {
        Finding::warning("IST0103", "this pod has no proxy, and its namespace asks for one")
            .at(&FieldPath::of(&["metadata", "name"]))
            .in_force("what it sends and gets is not the mesh's")
            .hint("make it anew (kubectl rollout restart); or say that none is wanted: label sidecar.istio.io/inject=false")
    })
}

/// An application that runs as the proxy's user (Istio: analyzers/deployment/pod.go). `spec` is the pod's, which stands at the path.
fn as_proxy(written: &Value, path: &FieldPath) -> Vec<Finding> {
    let labels = written.pointer("/metadata/labels");
    let label = |name: &str| labels.and_then(|labels| labels.get(name));
    if label("istio").is_some() || label("release").is_some_and(|release| release == "istio") {
        return Vec::new();
    }
    let pointer: String = path.to_string().split('.').map(|part| format!("/{part}")).collect();
    let Some(spec) = written.pointer(&pointer) else { return Vec::new() };
    let user = |of: &Value| of.pointer("/securityContext/runAsUser").and_then(Value::as_u64);
    let is_so = |of: &Value| user(of) == Some(PROXYS_USER);
    let whole = is_so(spec).then(|| path.clone());
    let containers = spec.get("containers").and_then(Value::as_array).into_iter().flatten().enumerate();
    let own = containers.filter(|(_, container)| {
        let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
        !PROXIES.contains(&name) && is_so(container)
    });
    let own = own.map(|(index, _)| path.key("containers").index(index));
    whole
        .into_iter()
        .chain(own)
        .map(|path| {
            Finding::warning("IST0144", format!("user {PROXYS_USER} is the proxy's own"))
                .at(&path.key("securityContext").key("runAsUser"))
                .in_force("what it sends goes past the proxy")
                .hint("run it as another user")
        })
        .collect()
}

/// A Deployment, and what is to be said of it.
#[derive(Debug)]
pub(super) struct OfDeployment {
    pub(super) namespace: String,
    pub(super) name: String,
    /// The codes that it does not want to be told, with commas.
    pub(super) suppressed: String,
    pub(super) findings: Vec<Finding>,
}

/// What is to be said of a value, if it is a Deployment: of the annotations of its own, and of its pods.
pub(super) fn of_deployment(
    mesh: &Mesh,
    written: &Value,
    places: &Places,
    namespace: &str,
) -> Option<OfDeployment> {
    let text = |pointer: &str| written.pointer(pointer).and_then(Value::as_str);
    if text("/kind") != Some("Deployment") || !text("/apiVersion")?.starts_with("apps/") {
        return None;
    }
    let annotations = |pointer: &str| {
        let all = written.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
        all.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    };
    let own = FieldPath::of(&["metadata", "annotations"]);
    let template = FieldPath::of(&["spec", "template", "metadata", "annotations"]);
    let has = |labels: &'static str| {
        move |name: &str| written.pointer(labels).is_some_and(|labels| labels.get(name).is_some())
    };
    let of = annotations("/metadata/annotations");
    let mut findings = annotations::findings("Deployment", of, has("/metadata/labels"), &own);
    let of = annotations("/spec/template/metadata/annotations");
    findings.extend(annotations::findings("Pod", of, has("/spec/template/metadata/labels"), &template));
    findings.extend(as_proxy(written, &FieldPath::of(&["spec", "template", "spec"])));
    let namespace = text("/metadata/namespace").unwrap_or(namespace);
    let name = text("/metadata/name").unwrap_or_default();
    let labels = written.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
    let labels: Labels = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect();
    let path = FieldPath::of(&["metadata", "name"]);
    let of_services = workloads::of_pods(mesh, &format!("Deployment {name}"), &namespace.into(), &labels);
    findings.extend(of_services.into_iter().map(|finding| finding.at(&path)));
    Some(OfDeployment {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        suppressed: text("/metadata/annotations/galley.istio.io~1analyze-suppress")
            .unwrap_or_default()
            .to_owned(),
        findings: findings.into_iter().map(|finding| places.locate(finding)).collect(),
    })
}
