//! Who may be served: each workload of the mesh, and in each namespace a caller that nothing describes; as gateways those workloads that
//! Gateways select, and for a Gateway that selects none whoever it is for.
//!
//! Knows: which objects stand for a proxy, and which of them are served the same. Must not know: what proxies are served.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::pod::Phase;
use meltemi_api::{Object, Spec};
use meltemi_memo::Memo;
use meltemi_model::Mesh;
use meltemi_model::endpoints::NETWORK;
use meltemi_model::place::AnyCallerReads;
use meltemi_model::proxy::{Proxy, ProxyKind, SecretAccess};
use meltemi_model::workload::AnyNodeLocal;
use meltemi_names::{Kind, Labels, Locality, Namespace, ObjectKey, Selector};
use meltemi_proto::envoy::config::core::v3::Node;

use super::reach::{addresses_of, labels_of};
use crate::cmd::explain::workload;

/// A proxy that may be there.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The object beside which it stands; none for one that nothing describes.
    pub(crate) workload: Option<ObjectKey>,
    pub(crate) namespace: Namespace,
    /// It is a gateway: the first Gateway that selects it.
    pub(crate) gateway: Option<ObjectKey>,
}

impl Member {
    /// As it connects while the mesh is so; none if it is not there then.
    pub(crate) fn proxy(&self, mesh: &Mesh, template: &Proxy) -> Option<Proxy> {
        let namespace = self.namespace.as_str();
        let sidecar = match &self.workload {
            Some(key) => beside(mesh.object(key)?, template)?,
            // Beside every agent there is a certificate.
            None => Proxy { has_certificates: true, ..named(template, UNKNOWN, namespace) },
        };
        let Some(gateway) = &self.gateway else { return Some(sidecar) };
        let selector = || match mesh.object(gateway).map(|object| &object.spec) {
            Some(Spec::Gateway(gateway)) => gateway.selector.labels().clone(),
            _ => Labels::default(),
        };
        let labels = if self.workload.is_some() { sidecar.labels.clone() } else { selector() };
        let (kind, secrets) = (ProxyKind::Router, SecretAccess::All);
        Some(Proxy { kind, labels, has_certificates: true, secrets, ..sidecar })
    }
}

/// What all of them have in common.
///
/// # Errors
/// Never, in truth: the node is a right one.
pub(crate) fn template() -> anyhow::Result<Proxy> {
    let node = Node {
        id: "sidecar~127.0.0.1~client.default~default.svc.cluster.local".to_owned(),
        ..Node::default()
    };
    let plain = Proxy::parse(&node, true)?;
    Ok(Proxy { build: "envoy/1.40.0".into(), metrics: true, takes_virtual_hosts: true, ..plain })
}

/// All that are there before and after. What comes or goes with the change is served nothing else than before: there is no before, or
/// no after.
pub(crate) fn all(before: &Mesh, after: &Mesh) -> Vec<Member> {
    let mut namespaces = BTreeSet::new();
    let mut gateways: BTreeMap<&ObjectKey, Vec<&Selector>> = BTreeMap::new();
    for object in before.objects().chain(after.objects()) {
        let key = &object.meta.key;
        if !matches!(key.kind, Kind::Namespace | Kind::Node | Kind::ConfigMap) {
            namespaces.insert(&key.namespace);
        }
        if let Spec::Gateway(gateway) = &object.spec {
            gateways.entry(key).or_default().push(&gateway.selector);
        }
    }
    let nowhere = Namespace::from("default");
    if namespaces.is_empty() {
        namespaces.insert(&nowhere);
    }
    let unknown =
        |namespace: &&Namespace| Member { workload: None, namespace: (*namespace).clone(), gateway: None };
    let mut members: Vec<Member> = namespaces.iter().map(unknown).collect();
    let mut served: BTreeSet<&ObjectKey> = BTreeSet::new();
    for object in before.objects() {
        let key = &object.meta.key;
        let Some(now) = after.object(key) else { continue };
        if !is_alive(object) || !is_alive(now) {
            continue;
        }
        let mut gateway = None;
        if !gateways.is_empty() {
            let labels = [labels_of(object), labels_of(now)];
            // A selector without labels means whoever is a gateway, and says of nobody that he is.
            let selects = |selector: &&Selector| {
                !selector.is_empty() && labels.iter().any(|labels| selector.selects(labels))
            };
            for (key, selectors) in &gateways {
                if selectors.iter().any(selects) {
                    served.insert(key);
                    gateway.get_or_insert((*key).clone());
                }
            }
        }
        members.push(Member { namespace: key.namespace.clone(), workload: Some(key.clone()), gateway });
    }
    let mut without: BTreeSet<(&Namespace, &[&Selector])> = BTreeSet::new();
    for (key, selectors) in &gateways {
        let by_all = selectors.iter().all(|selector| selector.is_empty()) && !served.is_empty();
        if !served.contains(key) && !by_all && without.insert((&key.namespace, selectors)) {
            let gateway = Some((*key).clone());
            members.push(Member { namespace: key.namespace.clone(), workload: None, gateway });
        }
    }
    members
}

/// Members that are served the same, for all that is compared, and one of them.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    pub(crate) first: usize,
    pub(crate) members: Vec<usize>,
}

/// Each for itself.
pub(crate) fn single(members: &[Member]) -> Vec<Class> {
    (0..members.len()).map(|first| Class { first, members: vec![first] }).collect()
}

/// Those together that nothing in the two meshes, which are parts of the whole one, tells apart; gateways, and those that are `alone`,
/// each for itself.
pub(crate) fn classes(
    members: &[Member],
    whole: &Mesh,
    parts: [&Mesh; 2],
    alone: impl Fn(&ObjectKey) -> bool,
) -> Vec<Class> {
    let asked = Asked::of(parts);
    let mut shared: BTreeMap<Signature, Class> = BTreeMap::new();
    let mut all = Vec::new();
    for (place, member) in members.iter().enumerate() {
        let is_alone = member.gateway.is_some() || member.workload.as_ref().is_some_and(&alone);
        let class = || Class { first: place, members: Vec::new() };
        if is_alone {
            all.push(Class { members: vec![place], ..class() });
        } else {
            let object = member.workload.as_ref().and_then(|key| whole.object(key));
            let signature = asked.signature(member, object.map(|object| &**object));
            shared.entry(signature).or_insert_with(class).members.push(place);
        }
    }
    all.extend(shared.into_values());
    all
}

/// What of a sidecar makes a difference to what it may call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Signature {
    namespace: Namespace,
    has_certificates: bool,
    /// It has addresses of version 4, of version 6.
    families: (bool, bool),
    labels: Vec<String>,
    locality: Option<Locality>,
    node: Option<Arc<str>>,
}

/// What is asked of callers.
struct Asked {
    labels: BTreeSet<String>,
    /// Where they run.
    place: bool,
}

impl Asked {
    fn of(parts: [&Mesh; 2]) -> Self {
        let mut labels = BTreeSet::new();
        let mut place = false;
        for mesh in parts {
            for object in mesh.objects() {
                let mut ask =
                    |wanted: &Selector| labels.extend(wanted.labels().iter().map(|(key, _)| key.to_owned()));
                match &object.spec {
                    Spec::Sidecar(sidecar) => {
                        sidecar.workload_selector.iter().for_each(|wanted| ask(&wanted.labels));
                    }
                    Spec::EnvoyFilter(filter) => filter.labels().into_iter().for_each(ask),
                    Spec::Telemetry(telemetry) => telemetry.labels().into_iter().for_each(ask),
                    Spec::DestinationRule(rule) => {
                        rule.workload_selector.iter().for_each(|wanted| ask(&wanted.match_labels));
                    }
                    Spec::VirtualService(service) => {
                        let http = service.http.iter().flat_map(|rule| &rule.matches);
                        http.for_each(|found| ask(&found.source_labels));
                        let tls = service.tls.iter().flat_map(|rule| &rule.matches);
                        let tls = tls.map(|found| &found.connection);
                        let tcp = service.tcp.iter().flat_map(|rule| &rule.matches);
                        tls.chain(tcp).for_each(|found| ask(&found.source_labels));
                    }
                    _ => {}
                }
            }
            let memo = Memo::new();
            let (_, reads) = memo.observe(AnyCallerReads, mesh);
            let (_, node) = memo.observe(AnyNodeLocal, mesh);
            labels.extend(reads.labels.iter().map(ToString::to_string));
            place |= reads.any || *node;
        }
        labels.insert(NETWORK.to_owned());
        Self { labels, place }
    }

    fn signature(&self, member: &Member, object: Option<&Object>) -> Signature {
        let labels = object.map(labels_of).unwrap_or_default();
        let written = self.labels.iter().filter_map(|key| Some(format!("{key}={}", labels.value(key)?)));
        let has_certificates = object.is_none_or(|object| has_certificate(object, &labels));
        let (locality, node) = match object.map(|object| &object.spec) {
            Some(Spec::WorkloadEntry(entry)) => (entry.locality.clone(), None),
            Some(Spec::Pod(pod)) => (None, pod.node_name.clone()),
            _ => (None, None),
        };
        let locality = locality.or_else(|| Locality::of_labels(&labels)).filter(|_| self.place);
        let addresses = || object.into_iter().flat_map(addresses_of);
        let family = |wanted: fn(&IpAddr) -> bool| addresses().any(|address| wanted(&address));
        let namespace = member.namespace.clone();
        Signature {
            namespace,
            has_certificates,
            families: (family(IpAddr::is_ipv4) || addresses().next().is_none(), family(IpAddr::is_ipv6)),
            labels: written.collect(),
            locality,
            node: node.filter(|_| self.place),
        }
    }
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

/// Whether the object is a workload that has not ended.
fn is_alive(object: &Object) -> bool {
    match &object.spec {
        Spec::Pod(pod) => !matches!(pod.phase, Phase::Succeeded | Phase::Failed),
        Spec::WorkloadEntry(_) => true,
        _ => false,
    }
}

fn has_certificate(object: &Object, labels: &Labels) -> bool {
    let names_account = match &object.spec {
        Spec::WorkloadEntry(entry) => entry.service_account.is_some(),
        _ => true,
    };
    workload::has_certificate(object.meta.key.kind, labels, names_account)
}

/// The proxy beside that workload; none if it is none, or over.
fn beside(object: &Object, template: &Proxy) -> Option<Proxy> {
    if !is_alive(object) {
        return None;
    }
    let key = &object.meta.key;
    let labels = labels_of(object);
    let addresses: Vec<IpAddr> = addresses_of(object).collect();
    let has_certificates = has_certificate(object, &labels);
    let plain = named(template, key.name.as_str(), key.namespace.as_str());
    let addresses = if addresses.is_empty() { plain.addresses.clone() } else { addresses };
    Some(Proxy { labels, addresses, has_certificates, ..plain })
}
