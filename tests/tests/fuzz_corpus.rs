//! The corpus of the fuzz targets whose input is bytes is made here, so that a case can be read and another one added.
//!
//! The cases are what real clients send (Envoy, Istio's agent, gRPC) and what no client should. `UPDATE=1` writes the files.

use std::collections::BTreeMap;
use std::path::Path;

use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::{Locality, Node};
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use meltemi_proto::google::protobuf::{Struct, Value, value};
use meltemi_proto::google::rpc;
use prost::Message;

#[test]
fn the_corpus_is_what_the_cases_say() -> anyhow::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let nodes = node_cases().into_iter().map(|(name, node)| (name, node.encode_to_vec())).collect();
    check(&corpus.join("node_metadata"), nodes)?;
    check(&corpus.join("discovery_request"), scripts())
}

/// Compares a target's folder with its cases, or with `UPDATE=1` writes it.
fn check(folder: &Path, cases: BTreeMap<&str, Vec<u8>>) -> anyhow::Result<()> {
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(folder)?;
        for (name, bytes) in &cases {
            std::fs::write(folder.join(name), bytes)?;
        }
    }
    let mut there = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        there.insert(entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?);
    }
    let wanted = cases.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    anyhow::ensure!(
        there == wanted,
        "{} is not what the cases of this file say; this writes it (delete what has no case):\n\n    \
         UPDATE=1 cargo test -p meltemi-tests --test fuzz_corpus\n",
        folder.display()
    );
    Ok(())
}

fn text(text: &str) -> Value {
    Value { kind: Some(value::Kind::StringValue(text.to_owned())) }
}

fn texts(pairs: &[(&str, &str)]) -> Struct {
    Struct { fields: pairs.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect() }
}

fn node(id: &str, metadata: &[(&str, &str)], labels: &[(&str, &str)]) -> Node {
    let mut metadata = texts(metadata);
    let labels = Value { kind: Some(value::Kind::StructValue(texts(labels))) };
    metadata.fields.insert("LABELS".to_owned(), labels);
    Node {
        id: id.to_owned(),
        user_agent_name: "envoy".to_owned(),
        metadata: Some(metadata),
        ..Node::default()
    }
}

fn node_cases() -> Vec<(&'static str, Node)> {
    let sidecar = "sidecar~10.0.0.1~reviews-a.shop~shop.svc.cluster.local";
    let reviews = [("app", "reviews"), ("version", "v1")];
    let mut odd = node(sidecar, &[("NAMESPACE", "")], &[]);
    for key in ["NAMESPACE", "INSTANCE_IPS", "LABELS", "INTERCEPTION_MODE"] {
        let value = Value { kind: Some(value::Kind::NumberValue(f64::NAN)) };
        odd.metadata.get_or_insert_default().fields.insert(key.to_owned(), value);
    }
    let mut placed = node(sidecar, &[("NODE_NAME", "n1")], &reviews);
    placed.locality =
        Some(Locality { region: "eu".to_owned(), zone: "a".to_owned(), sub_zone: "rack-1".to_owned() });
    vec![
        (
            "istio-agent",
            node(
                sidecar,
                &[
                    ("NAMESPACE", "shop"),
                    ("INSTANCE_IPS", "10.0.0.1,fe80::1"),
                    ("INTERCEPTION_MODE", "REDIRECT"),
                    ("NODE_NAME", "n1"),
                    ("CLUSTER_ID", "Kubernetes"),
                    ("ISTIO_VERSION", "1.27.0"),
                    ("HTTP10", "1"),
                ],
                &[("app", "reviews"), ("version", "v1"), ("istio-locality", "eu.a")],
            ),
        ),
        (
            "by-hand",
            node(sidecar, &[("INTERCEPTION_MODE", "NONE"), ("MELTEMI_ACCESS_LOG", "true")], &reviews),
        ),
        ("tproxy", node(sidecar, &[("INTERCEPTION_MODE", "TPROXY")], &reviews)),
        ("six-only", node("sidecar~2001:db8::1~a.shop~shop.svc.cluster.local", &[], &[])),
        (
            "gateway",
            node("router~10.0.0.7~gw-1.infra~infra.svc.cluster.local", &[("NAMESPACE", "infra")], &[]),
        ),
        ("with-locality", placed),
        ("no-domain", node("sidecar~10.0.0.1~a~", &[], &[])),
        ("no-address", node("sidecar~~a.shop~shop.svc.cluster.local", &[("INSTANCE_IPS", "x")], &[])),
        ("ztunnel", node("ztunnel~10.0.0.1~z.system~system.svc.cluster.local", &[], &[])),
        ("three-parts", node("sidecar~10.0.0.1~a.shop", &[], &[])),
        ("numbers-for-texts", odd),
        ("nothing", Node { user_agent_name: "envoy".to_owned(), ..Node::default() }),
    ]
}

/// Builds a script, as fuzz/fuzz_targets/script.rs reads it.
struct Script(Vec<u8>);

impl Script {
    fn delta() -> Self {
        Self(vec![0])
    }

    fn sotw() -> Self {
        Self(vec![1])
    }

    fn request(mut self, message: &impl Message) -> Self {
        let bytes = message.encode_to_vec();
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes();
        self.0.extend([0, length[0], length[1]]);
        self.0.extend(bytes);
        self
    }

    fn ack(mut self) -> Self {
        self.0.push(1);
        self
    }

    fn nack(mut self) -> Self {
        self.0.push(2);
        self
    }

    fn edit(mut self, what: u8, value: u8) -> Self {
        self.0.extend([3, what, value]);
        self
    }

    fn wait(mut self, steps: u8) -> Self {
        self.0.extend([4, steps]);
        self
    }
}

fn asker() -> Option<Node> {
    Some(Node { id: "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local".to_owned(), ..Node::default() })
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn subscribe(type_url: TypeUrl, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: asker(),
        type_url: type_url.as_str().to_owned(),
        resource_names_subscribe: owned(names),
        ..Default::default()
    }
}

fn want(type_url: TypeUrl, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        node: asker(),
        type_url: type_url.as_str().to_owned(),
        resource_names: owned(names),
        ..Default::default()
    }
}

fn scripts() -> BTreeMap<&'static str, Vec<u8>> {
    use TypeUrl::{Cluster, Endpoint, Listener, Route, VirtualHost};
    let started = || {
        Script::delta()
            .request(&subscribe(Cluster, &[]))
            .request(&subscribe(Endpoint, &["c0", "c1", "c2", "c3"]))
            .ack()
            .ack()
            .request(&subscribe(Listener, &[]))
            .ack()
            .request(&subscribe(Route, &["r0", "r1"]))
            .request(&subscribe(VirtualHost, &[]))
            .ack()
    };
    let unsubscribe = DeltaDiscoveryRequest {
        resource_names_unsubscribe: owned(&["c1", "*", "nobody"]),
        ..subscribe(Endpoint, &["c1", "*"])
    };
    let back = DeltaDiscoveryRequest {
        initial_resource_versions: [
            ("c0".to_owned(), "stale".to_owned()),
            ("gone".to_owned(), String::new()),
        ]
        .into(),
        ..subscribe(Cluster, &["*"])
    };
    let long_nack = DeltaDiscoveryRequest {
        error_detail: Some(rpc::Status { code: -1, message: "é".repeat(3000), ..Default::default() }),
        response_nonce: "1-1".to_owned(),
        ..subscribe(Cluster, &[])
    };
    let health = DeltaDiscoveryRequest {
        type_url: "type.googleapis.com/istio.v1.HealthInformation".to_owned(),
        ..Default::default()
    };
    let unknown = DeltaDiscoveryRequest {
        type_url: "type.googleapis.com/envoy.service.runtime.v3.Runtime".to_owned(),
        ..subscribe(Cluster, &["r"])
    };
    let nameless = DeltaDiscoveryRequest { node: None, ..subscribe(Cluster, &[]) };
    BTreeMap::from([
        ("start", started().0),
        ("canary-step", started().edit(3, 0x72).ack().edit(0x13, 0x31).ack().wait(200).0),
        ("service-comes-and-goes", started().edit(0x10, 0).ack().ack().edit(0x10, 8).ack().ack().ack().0),
        ("refused", started().edit(0, 2).nack().wait(100).edit(0, 4).nack().edit(0, 6).ack().0),
        ("never-answers", Script::delta().request(&subscribe(Cluster, &[])).wait(200).edit(0, 0).wait(255).0),
        (
            "never-answers-for-long",
            (2..=12)
                .fold(Script::sotw().request(&want(Cluster, &[])), |script, version| {
                    script.edit(0, version).wait(110)
                })
                .0,
        ),
        (
            "unsubscribe",
            started().request(&unsubscribe).edit(0x11, 9).request(&subscribe(Endpoint, &["c1"])).0,
        ),
        ("reconnect", Script::delta().request(&back).ack().request(&subscribe(Endpoint, &["c0"])).ack().0),
        (
            "endpoints-first",
            Script::delta().request(&subscribe(Endpoint, &["c0", "c2"])).request(&back).ack().ack().0,
        ),
        ("long-nack", Script::delta().request(&subscribe(Cluster, &[])).request(&long_nack).0),
        ("health-and-unknown", Script::delta().request(&health).request(&unknown).request(&unknown).ack().0),
        ("no-node", Script::delta().request(&nameless).0),
        (
            "sotw",
            Script::sotw()
                .request(&want(Cluster, &[]))
                .ack()
                .request(&want(Endpoint, &["c0", "c1"]))
                .request(&want(Listener, &[]))
                .request(&want(Route, &["r0"]))
                .edit(0x20, 0)
                .request(&want(Endpoint, &[]))
                .request(&want(Route, &["r0", "r1", "*"]))
                .nack()
                .0,
        ),
        (
            "sotw-virtual-hosts",
            Script::sotw().request(&want(VirtualHost, &["r0/h0"])).request(&want(Listener, &["l0"])).ack().0,
        ),
    ])
}
