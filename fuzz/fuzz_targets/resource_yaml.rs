//! A file of the folder that `--config` names: whatever stands in it is read, translated for three proxies, and taken back.
//!
//! Must hold: no panic; what is served decodes as what it claims to be; object by object gives what all at once gives; and once the
//! file is gone, so is what it made.
#![no_main]

mod served;

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::{Corpus, fuzz_target};
use meltemi_api::parse;
use meltemi_model::Event;
use meltemi_model::proxy::{Proxy, ProxyKind, SecretAccess};
use meltemi_names::ObjectKey;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::google::protobuf::{Struct, Value, value};
use meltemi_views::{Engine, Options, ProxyId};

/// Objects beyond these are read and not translated: a long list finds nothing that a short one does not.
const OBJECTS: usize = 24;

/// Nothing is held back, so that what is served depends on the mesh alone.
const OPTIONS: Options = Options { holds: false, virtual_hosts: true, tombstones: 16, findings: true };

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else { return Corpus::Reject };
    let file = parse(text, "file.yaml", "default");
    for finding in file.findings() {
        assert!(!finding.to_string().contains('\n'), "a finding is a line: {finding:?}");
    }
    let mut keys: Vec<ObjectKey> = Vec::new();
    let mut events = Vec::new();
    for document in file.documents.into_iter().take(OBJECTS) {
        match (document.key, document.object) {
            // The first of a name is in force, as in a folder.
            (Some(key), _) if keys.contains(&key) => {}
            (Some(key), Some(object)) => {
                keys.push(key);
                events.push(Event::Upsert(Arc::new(object)));
            }
            (Some(key), None) => {
                keys.push(key.clone());
                events.push(Event::Reject { key, reason: "broken".into() });
            }
            (None, _) => {}
        }
    }
    if events.is_empty() {
        return Corpus::Keep;
    }

    let mut grown = Engine::new(OPTIONS);
    let proxies = connect(&mut grown);
    let empty = proxies.map(|proxy| served::served(&grown.view(proxy)));
    for event in &events {
        grown.apply([event.clone()]);
    }
    let mut whole = Engine::new(OPTIONS);
    whole.apply(events);
    let others = connect(&mut whole);
    for (one, other) in proxies.into_iter().zip(others) {
        served::same(&served::served(&grown.view(one)), &served::served(&whole.view(other)));
    }
    for finding in whole.findings() {
        assert!(!finding.to_string().contains('\n'), "a finding is a line: {finding:?}");
    }
    whole.apply(keys.into_iter().map(Event::Delete));
    for (before, proxy) in empty.iter().zip(others) {
        served::same(&served::served(&whole.view(proxy)), before);
    }
    Corpus::Keep
});

/// The workload that most of the corpus selects, by delta and redirected; one of no labels, by state of the world and asked by port;
/// and a gateway that may have its namespace's certificates.
fn connect(engine: &mut Engine) -> [ProxyId; 3] {
    static PROXIES: OnceLock<[Arc<Proxy>; 3]> = OnceLock::new();
    let proxies = PROXIES.get_or_init(|| {
        let edge = proxy("", "10.0.0.2", "REDIRECT", true);
        let labels = [("istio", "edge")].into_iter().collect();
        let (kind, has_certificates) = (ProxyKind::Router, true);
        let edge = Proxy { kind, labels, has_certificates, secrets: SecretAccess::All, ..(*edge).clone() };
        [proxy("v1", "10.0.0.1", "REDIRECT", true), proxy("", "10.0.0.9", "NONE", false), Arc::new(edge)]
    });
    proxies.each_ref().map(|proxy| engine.connect(Arc::clone(proxy)))
}

fn proxy(version: &str, ip: &str, interception: &str, delta: bool) -> Arc<Proxy> {
    let text = |text: &str| Value { kind: Some(value::Kind::StringValue(text.to_owned())) };
    let labels = [("app".to_owned(), text("myapp")), ("version".to_owned(), text(version))];
    let fields = [
        ("NAMESPACE".to_owned(), text("default")),
        ("INTERCEPTION_MODE".to_owned(), text(interception)),
        (
            "LABELS".to_owned(),
            Value { kind: Some(value::Kind::StructValue(Struct { fields: labels.into() })) },
        ),
    ];
    let node = Node {
        id: format!("sidecar~{ip}~myapp.default~default.svc.cluster.local"),
        user_agent_name: "envoy".to_owned(),
        metadata: Some(Struct { fields: fields.into() }),
        ..Node::default()
    };
    match Proxy::parse(&node, delta) {
        Ok(proxy) => Arc::new(proxy),
        Err(error) => panic!("the target's own node: {error}"),
    }
}
