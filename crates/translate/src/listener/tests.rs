//! From YAML to decoded listeners; expectations by hand from Istio's rules.

mod conflicts;
mod inbound;
mod metrics;
mod needs;
mod outbound;
mod ruled;
mod settings;
mod sharing;

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_catalog::Resource;
use meltemi_memo::Cost;
use meltemi_model::proxy::{Interception, IpFamily, Proxy, ProxyKind};
use meltemi_model::workload::Workload;
use meltemi_names::{Labels, Locality, TypeUrl};
use serde_json::Value;

use super::{InboundKey, InboundPartKey, ListenersKey, TelemetryKey};
use crate::fixture::Fixture;
use crate::key::{PartKey, ResourceKey};

/// What a mesh's proxies are made to listen for.
struct Bench(Fixture);

impl Bench {
    fn of(yaml: &str) -> Self {
        Self(Fixture::new(yaml))
    }

    /// Adds or changes objects; the work that this makes.
    fn apply(&mut self, yaml: &str) -> Cost {
        self.0.apply(yaml)
    }

    /// The listeners among a part's members, by name.
    fn listeners(&self, part: PartKey) -> BTreeMap<String, Arc<Resource>> {
        let (_, members) = part.observe(&self.0.memo, self.0.mesh());
        let listeners = members.iter().filter(|member| matches!(member, ResourceKey::Listener(_)));
        let made = listeners.map(|member| member.observe(&self.0.memo, self.0.mesh()).1.unwrap());
        let named: Vec<_> = made.map(|resource| (resource.name().to_string(), resource)).collect();
        let by_name: BTreeMap<_, _> = named.iter().cloned().collect();
        assert_eq!(by_name.len(), named.len(), "two listeners of one name: {named:?}");
        by_name
    }

    fn outbound(&self, key: ListenersKey) -> BTreeMap<String, Arc<Resource>> {
        self.listeners(PartKey::Listeners(key))
    }

    /// `virtualInbound` of a pod with that label `app`.
    fn inbound(&self, app: &str) -> Arc<Resource> {
        self.inbound_of(app, None)
    }

    /// The same where a workload that metrics know by these words counts.
    fn counted_inbound(&self, app: &str, workload: &str) -> Arc<Resource> {
        self.inbound_of(app, Some(workload))
    }

    fn inbound_of(&self, app: &str, counted: Option<&str>) -> Arc<Resource> {
        let proxy = Proxy {
            has_certificates: false,
            id: "pod.default".into(),
            kind: ProxyKind::Sidecar,
            namespace: "default".into(),
            name: "pod".into(),
            workload: "pod".into(),
            labels: [("app", app)].into_iter().collect::<Labels>(),
            addresses: vec!["10.0.0.9".parse().unwrap()],
            named_ports: Default::default(),
            interception: Interception::Redirect,
            dns_domain: "default.svc.cluster.local".into(),
            node_name: None,
            locality: Locality::default(),
            http10: false,
            dns_capture: false,
            access_log: false,
            metrics: false,
            cluster: "client.default".into(),
            unprivileged: false,
            secrets: meltemi_model::proxy::SecretAccess::None,
            topology: None,
            build: "envoy/1.40.0".into(),
            texts: Default::default(),
            takes_virtual_hosts: true,
        };
        let (_, workload) = self.0.memo.observe(Workload(Arc::new(proxy)), self.0.mesh());
        let key = InboundKey {
            scope: None,
            addresses: Arc::default(),
            namespace: "default".into(),
            ports: Arc::clone(&workload.ports),
            interception: Interception::Redirect,
            family: IpFamily::V4,
            access_log: false,
            metrics: counted.is_some(),
            telemetry: TelemetryKey { objects: Arc::clone(&workload.telemetry), ..TelemetryKey::default() },
            workload: counted.unwrap_or_default().into(),
            policy: workload.policy.clone(),
            has_certificates: false,
            patches: crate::patch::Patches::default(),
        };
        let mut listeners = self.listeners(PartKey::Inbound(InboundPartKey(key)));
        assert_eq!(listeners.len(), 1, "one inbound listener");
        listeners.remove("virtualInbound").unwrap()
    }
}

fn redirected() -> ListenersKey {
    ListenersKey {
        scope: None,
        namespace: "default".into(),
        interception: Interception::Redirect,
        family: IpFamily::V4,
        selectors: Arc::default(),
        http10: false,
        allocated: false,
        access_log: false,
        metrics: false,
        telemetry: TelemetryKey::default(),
        has_certificates: false,
    }
}

fn not_redirected() -> ListenersKey {
    ListenersKey { interception: Interception::None, ..redirected() }
}

fn json(resource: &Resource) -> Value {
    meltemi_proto::json::to_json(TypeUrl::Listener.as_str(), &resource.body().to_vec()).unwrap()
}

/// Where a chain's one filter sends what it takes: `-> cluster`, or `~> route configuration`.
fn goes(chain: &Value) -> String {
    let config = &chain["filters"][0]["typed_config"];
    match (config["cluster"].as_str(), config["rds"]["route_config_name"].as_str()) {
        (Some(cluster), None) => format!("-> {cluster}"),
        (None, Some(route)) => format!("~> {route}"),
        _ => panic!("neither cluster nor route: {chain}"),
    }
}

/// A listener in few words: each chain's match and aim, the default chain last.
fn shape(resource: &Resource) -> Vec<String> {
    let listener = json(resource);
    let chains = listener["filter_chains"].as_array().into_iter().flatten();
    let mut lines: Vec<String> = chains
        .map(|chain| {
            let matching = &chain["filter_chain_match"];
            let mut words = Vec::new();
            for names in ["server_names", "application_protocols"] {
                words.extend(
                    matching[names].as_array().into_iter().flatten().map(|name| name.as_str().unwrap()),
                );
            }
            words.extend(matching["transport_protocol"].as_str());
            let matching = if words.is_empty() { "any".to_owned() } else { words.join(",") };
            format!("{matching} {}", goes(chain))
        })
        .collect();
    if let Some(default) = listener.get("default_filter_chain") {
        lines.push(format!("else {}", goes(default)));
    }
    lines
}

/// The names of the listener filters.
fn listener_filters(resource: &Resource) -> Vec<String> {
    let listener = json(resource);
    let filters = listener["listener_filters"].as_array().cloned().unwrap_or_default();
    filters
        .iter()
        .map(|filter| {
            filter["name"].as_str().unwrap().trim_start_matches("envoy.filters.listener.").to_owned()
        })
        .collect()
}

fn needs(resource: &Resource) -> Vec<String> {
    resource.needs().iter().map(|need| format!("{} {}", need.type_url, need.name)).collect()
}

/// A Service of namespace `default`; `ports` as in a file, by line.
fn service(name: &str, cluster_ip: Option<&str>, ports: &str) -> String {
    let cluster_ip = cluster_ip.map(|ip| format!("  clusterIP: {ip}\n")).unwrap_or_default();
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: {name}}}\n{cluster_ip}  ports: [{ports}]\n"
    )
}

/// The mesh's settings.
fn mesh_settings(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n{lines}"
    )
}
