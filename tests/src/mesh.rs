//! Meshes from YAML, and large ones by recipe.

use std::sync::Arc;

use meltemi_model::Event;
use meltemi_model::proxy::{Proxy, ProxyKind, SecretAccess};
use meltemi_proto::envoy::config::core::v3::{Extension, Node};
use meltemi_proto::google::protobuf::{Struct, Value, value};
use meltemi_views::{Engine, Options};

/// The upserts of all objects in a YAML text; panics with the findings if it is not clean of errors.
#[allow(clippy::panic, reason = "a test's own input must be right")]
pub fn upserts(yaml: &str) -> Vec<Event> {
    match meltemi_api::parse_all(yaml) {
        Ok(objects) => objects.into_iter().map(|object| Event::Upsert(Arc::new(object))).collect(),
        Err(findings) => {
            let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
            panic!("{}", text.join("\n"))
        }
    }
}

/// An engine that has applied `yaml` as one batch.
pub fn engine(options: Options, yaml: &str) -> Engine {
    let mut engine = Engine::new(options);
    engine.apply(upserts(yaml));
    engine
}

/// A sidecar `name.namespace` on a delta stream.
pub fn sidecar(id: &str, labels: &[(&str, &str)]) -> Arc<Proxy> {
    proxy(id, labels, "REDIRECT", true)
}

/// A proxy; `delta` says which spelling of the protocol it speaks.
pub fn proxy(id: &str, labels: &[(&str, &str)], interception: &str, delta: bool) -> Arc<Proxy> {
    proxy_at("10.9.9.9", id, labels, interception, delta)
}

/// A proxy with that address, or with several, by comma.
#[allow(clippy::expect_used, reason = "the node is well formed by construction")]
pub fn proxy_at(ip: &str, id: &str, labels: &[(&str, &str)], interception: &str, delta: bool) -> Arc<Proxy> {
    let namespace = id.rsplit('.').next().unwrap_or_default();
    let text = |text: &str| Value { kind: Some(value::Kind::StringValue(text.to_owned())) };
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
    let labels = Value { kind: Some(value::Kind::StructValue(Struct { fields: labels })) };
    let fields = [
        ("NAMESPACE".to_owned(), text(namespace)),
        ("INTERCEPTION_MODE".to_owned(), text(interception)),
        ("INSTANCE_IPS".to_owned(), text(ip)),
        ("LABELS".to_owned(), labels),
    ];
    let node = Node {
        id: format!(
            "sidecar~{}~{id}~{namespace}.svc.cluster.local",
            ip.split(',').next().unwrap_or_default()
        ),
        cluster: id.to_owned(),
        user_agent_name: "envoy".to_owned(),
        // As a stock Envoy, which counts traffic.
        extensions: vec![Extension { name: "envoy.access_loggers.stats".to_owned(), ..Extension::default() }],
        metadata: Some(Struct { fields: fields.into() }),
        ..Node::default()
    };
    Arc::new(Proxy::parse(&node, delta).expect("a well-formed node"))
}

/// A sidecar on a delta stream that has the mesh's certificates.
pub fn secured(id: &str, labels: &[(&str, &str)]) -> Arc<Proxy> {
    with_certificates(&sidecar(id, labels))
}

/// The same proxy, with an agent that answers DNS.
pub fn with_dns_capture(proxy: &Proxy) -> Arc<Proxy> {
    Arc::new(Proxy { dns_capture: true, ..proxy.clone() })
}

/// The same proxy, with the mesh's certificates.
pub fn with_certificates(proxy: &Proxy) -> Arc<Proxy> {
    Arc::new(Proxy { has_certificates: true, ..proxy.clone() })
}

/// The same proxy as a gateway. One with the mesh's certificates may have the Secrets of its namespace.
pub fn as_gateway(proxy: &Proxy) -> Arc<Proxy> {
    let secrets = if proxy.has_certificates { SecretAccess::All } else { SecretAccess::None };
    Arc::new(Proxy { kind: ProxyKind::Router, secrets, ..proxy.clone() })
}

/// `count` services in namespace `shop`, each with two workloads, a rule with two subsets and a route 90/10 between them.
pub fn large(count: usize) -> String {
    (0..count).map(|index| format!("{}{}", service(index), route(index, 10))).collect()
}

/// One service of [`large`], without its route.
pub fn service(index: usize) -> String {
    let (high, low) = (index / 200, index % 200);
    let workload = |version: &str, last: usize| {
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: s{index}-{version}, namespace: shop}}
spec: {{address: 10.{high}.{low}.{last}, labels: {{app: s{index}, version: {version}}}}}
"
        )
    };
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: s{index}, namespace: shop}}
spec:
  clusterIP: 10.{}.{low}.1
  selector: {{app: s{index}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: s{index}, namespace: shop}}
spec:
  host: s{index}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
{}{}",
        100 + high,
        workload("v1", 1),
        workload("v2", 2)
    )
}

/// The route of one service of [`large`], with `weight` percent on v2.
pub fn route(index: usize, weight: u32) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{index}, namespace: shop}}
spec:
  hosts: [s{index}]
  http:
  - route:
    - {{destination: {{host: s{index}, subset: v1}}, weight: {}}}
    - {{destination: {{host: s{index}, subset: v2}}, weight: {weight}}}
",
        100 - weight
    )
}
