//! Where an endpoint runs: its locality, its network, and the labels that say so.
//!
//! Knows: the labels of pods, nodes and of the root namespace that say it. Must not know: slices, what is balanced how.
//! Invariant: a change of a node's labels that leaves its locality equal ends at [`NodeLocality`].

use std::sync::Arc;

use meltemi_memo::Question;
use meltemi_names::{Kind, Labels, Locality, ObjectKey};

use crate::mesh::Mesh;
use crate::read::{self, Read};
use crate::settings::settings;

/// The Kubernetes cluster that endpoints are in; Istio's name for the only one there is.
pub const CLUSTER_ID: &str = "Kubernetes";

pub(crate) const REGION: &str = "topology.kubernetes.io/region";
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
pub(crate) const SUB_ZONE: &str = "topology.istio.io/subzone";
pub(crate) const CLUSTER: &str = "topology.istio.io/cluster";
/// The label of a network.
pub const NETWORK: &str = "topology.istio.io/network";
pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";

/// Whether a label is one that endpoints have by where they run, over the labels of their workload.
pub fn is_topology_label(key: &str) -> bool {
    matches!(key, REGION | ZONE | SUB_ZONE | CLUSTER | NETWORK | HOSTNAME)
}

/// The value of such a label; none if it is another one, or nothing is known.
pub(super) fn label<'a>(
    key: &str,
    locality: &'a Locality,
    node: Option<&'a str>,
    network: Option<&'a str>,
) -> Option<&'a str> {
    let value = match key {
        REGION => &*locality.region,
        ZONE => &*locality.zone,
        SUB_ZONE => &*locality.sub_zone,
        CLUSTER => CLUSTER_ID,
        NETWORK => network.unwrap_or_default(),
        HOSTNAME => node.unwrap_or_default(),
        _ => return None,
    };
    Some(value).filter(|value| !value.is_empty())
}

/// The value of such a label for a caller there; its network it says by a label of its own.
pub fn place_label<'a>(key: &str, locality: &'a Locality, node: Option<&'a str>) -> Option<&'a str> {
    label(key, locality, node, None)
}

/// The locality that a node's labels say (Istio: serviceregistry/kube/controller).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NodeLocality(Arc<str>);

impl Question for NodeLocality {
    type World = Mesh;
    type Answer = Locality;
    const NAME: &'static str = "locality of a node";

    fn answer(&self, read: &Read<'_>) -> Locality {
        let key = ObjectKey::new(Kind::Node, "", &*self.0);
        let Some(meta) = read::meta(read, &key) else { return Locality::default() };
        let label =
            |names: &[&str]| names.iter().find_map(|name| meta.labels.value(name)).unwrap_or_default().into();
        Locality {
            region: label(&[REGION, "failure-domain.beta.kubernetes.io/region"]),
            zone: label(&[ZONE, "failure-domain.beta.kubernetes.io/zone"]),
            sub_zone: label(&[SUB_ZONE]),
        }
    }
}

/// Where something with these labels on that node runs.
pub fn locality(read: &Read<'_>, labels: &Labels, node: Option<&Arc<str>>) -> Locality {
    match (Locality::of_labels(labels), node) {
        (Some(locality), _) => locality,
        (None, Some(node)) => (*read.ask(NodeLocality(Arc::clone(node)))).clone(),
        (None, None) => Locality::default(),
    }
}

/// The network of the cluster: what the label of the root namespace says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ClusterNetwork;

impl Question for ClusterNetwork {
    type World = Mesh;
    type Answer = Option<Arc<str>>;
    const NAME: &'static str = "network of the cluster";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let root = ObjectKey::new(Kind::Namespace, "", settings(read).root_namespace.as_str());
        let meta = read::meta(read, &root)?;
        meta.labels.value(NETWORK).filter(|network| !network.is_empty()).map(Arc::from)
    }
}

/// The network of something with these labels.
pub fn network(read: &Read<'_>, labels: &Labels) -> Option<Arc<str>> {
    match labels.value(NETWORK).filter(|network| !network.is_empty()) {
        Some(network) => Some(network.into()),
        None => (*read.ask(ClusterNetwork)).clone(),
    }
}
