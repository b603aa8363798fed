//! Who may be served: each workload of the mesh, and in each namespace a caller that nothing describes.
//!
//! Knows: which objects stand for a proxy. Must not know: what proxies are served.
//! Gateways are not among them yet: what a `Gateway` selects is beside a workload that is one, and would be a router here.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::pod::Phase;
use meltemi_api::{Object, Spec};
use meltemi_model::Mesh;
use meltemi_model::index::workload_labels;
use meltemi_model::proxy::Proxy;
use meltemi_names::{Kind, Labels, ObjectKey};
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_views::{Engine, ProxyId};

use crate::cmd::explain::workload;

/// A proxy that may be there.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The object beside which it stands; none for the caller that nothing describes.
    pub(crate) workload: Option<ObjectKey>,
    pub(crate) namespace: String,
    pub(crate) id: ProxyId,
    /// As which it will connect, where its object says something else of it after the change: another address, a certificate.
    after: Option<Arc<Proxy>>,
}

/// Lets those connect anew of which the change made others.
pub(crate) fn follow(engine: &mut Engine, members: &mut [Member]) {
    for member in members {
        if let Some(proxy) = member.after.take() {
            engine.disconnect(member.id);
            member.id = engine.connect(proxy);
        }
    }
}

/// Connects all that are there before and after.
pub(crate) fn connect(engine: &mut Engine, after: &Mesh) -> anyhow::Result<Vec<Member>> {
    let before = engine.mesh().clone();
    let node = Node {
        id: "sidecar~127.0.0.1~client.default~default.svc.cluster.local".to_owned(),
        ..Node::default()
    };
    let template = Proxy { build: "envoy/1.40.0".into(), metrics: true, ..Proxy::parse(&node, true)? };
    let template = Proxy { takes_virtual_hosts: true, ..template };
    let mut namespaces = BTreeSet::new();
    for object in before.objects().chain(after.objects()) {
        let key = &object.meta.key;
        if !matches!(key.kind, Kind::Namespace | Kind::Node | Kind::ConfigMap) {
            namespaces.insert(key.namespace.to_string());
        }
    }
    if namespaces.is_empty() {
        namespaces.insert("default".to_owned());
    }
    let mut members = Vec::new();
    for namespace in namespaces {
        let proxy = named(&template, UNKNOWN, &namespace);
        let id = engine.connect(Arc::new(Proxy { has_certificates: true, ..proxy }));
        members.push(Member { workload: None, namespace, id, after: None });
    }
    // What comes or goes with the change is served nothing else than before: there is no before, or no after.
    for object in before.objects() {
        let key = &object.meta.key;
        let Some(then) = beside(object, &template) else { continue };
        let Some(now) = after.object(key).and_then(|object| beside(object, &template)) else { continue };
        let after = (then != now).then(|| Arc::new(now));
        let id = engine.connect(Arc::new(then));
        members.push(Member { namespace: key.namespace.to_string(), workload: Some(key.clone()), id, after });
    }
    Ok(members)
}

/// A name that no workload has.
const UNKNOWN: &str = "anybody-else";

fn named(template: &Proxy, name: &str, namespace: &str) -> Proxy {
    Proxy {
        id: format!("{name}.{namespace}").into(),
        name: name.into(),
        namespace: namespace.into(),
        dns_domain: format!("{namespace}.svc.cluster.local").into(),
        ..template.clone()
    }
}

/// The proxy beside that workload; none if it is none, or over.
fn beside(object: &Object, template: &Proxy) -> Option<Proxy> {
    let key = &object.meta.key;
    let (labels, addresses, names_account): (Labels, Vec<IpAddr>, bool) = match &object.spec {
        Spec::Pod(pod) if !matches!(pod.phase, Phase::Succeeded | Phase::Failed) => {
            (object.meta.labels.clone(), pod.ips.clone(), true)
        }
        Spec::WorkloadEntry(entry) => {
            let labels = workload_labels(&object.meta, &entry.labels);
            (labels, workload::ip(entry).into_iter().collect(), entry.service_account.is_some())
        }
        _ => return None,
    };
    let has_certificates = workload::has_certificate(key.kind, &labels, names_account);
    let plain = named(template, key.name.as_str(), key.namespace.as_str());
    let addresses = if addresses.is_empty() { plain.addresses.clone() } else { addresses };
    Some(Proxy { labels, addresses, has_certificates, ..plain })
}
