//! Which VirtualServices a namespace's sidecars follow, and for which of them.
//!
//! Knows: hosts, `exportTo`, who comes first, and whom a match's source conditions let in. Must not know: what a route does with a
//! request, which only its own translation reads. Invariant: a change of weights, or of anything else inside a route's action, leaves
//! every answer here equal.

pub mod connection;
pub mod delegate;

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::value::GatewayName;
use meltemi_api::virtual_service::{Action, HttpMatch, HttpRoute};
use meltemi_memo::Question;
use meltemi_names::{Host, Namespace, ObjectKey, Port, Selector};

use self::connection::ConnectionRules;
use self::delegate::http_rules;
use crate::entry::IndexKey;
use crate::exposure::Exposure;
use crate::index::{gateway_key, qualified};
use crate::mesh::Mesh;
use crate::read::{self, Read, filed};
use crate::service::Age;
use crate::settings::settings;

/// Whom a match lets in, by what the control plane knows of the caller (Istio: networking/core/route, `sourceMatchHTTP`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Callers {
    /// The port that the request came to.
    pub port: Option<Port>,
    /// Labels of the caller's workload; empty: any.
    pub labels: Selector,
    /// The caller's namespace.
    pub namespace: Option<Namespace>,
}

impl Callers {
    /// Whom `matching` lets in among sidecars; none if it is for gateways alone. A match that names its gateways does not look at the
    /// source.
    pub fn of(matching: &HttpMatch) -> Option<Self> {
        if matching.gateways.is_empty() {
            return Some(Self {
                port: matching.port,
                labels: matching.source_labels.clone(),
                namespace: matching.source_namespace.clone(),
            });
        }
        let sidecars = matching.gateways.contains(&GatewayName::Mesh);
        sidecars.then(|| Self { port: matching.port, ..Self::default() })
    }

    /// Whom `matching`, of a VirtualService of namespace `own`, lets in among the proxies of a Gateway; none if it is for others.
    pub fn at(matching: &HttpMatch, gateway: &ObjectKey, own: &Namespace) -> Option<Self> {
        if matching.gateways.is_empty() {
            return Some(Self {
                port: matching.port,
                labels: matching.source_labels.clone(),
                namespace: matching.source_namespace.clone(),
            });
        }
        let named = matching.gateways.iter().any(|name| gateway_key(name, own).as_ref() == Some(gateway));
        named.then(|| Self { port: matching.port, ..Self::default() })
    }

    /// Whether a request to `port` is let in that comes from a workload of `namespace` which matches these of the selectors that
    /// anything asks for.
    pub fn admit(&self, port: Port, namespace: Option<&Namespace>, selectors: &[Selector]) -> bool {
        self.port.is_none_or(|wanted| wanted == port)
            && (self.labels.is_empty() || selectors.contains(&self.labels))
            && (self.namespace.is_none() || self.namespace.as_ref() == namespace)
    }
}

/// What decides whether a VirtualService applies: to which hosts, for whom, and before which others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The object.
    pub key: ObjectKey,
    /// As written, short names resolved.
    pub hosts: Vec<Host>,
    /// Whose sidecars follow it.
    pub exposure: Exposure,
    /// What orders it among others.
    pub age: Age,
    /// Whom its routes let in; empty if none of them is for sidecars.
    pub callers: BTreeSet<Callers>,
    /// Where its routes send requests, mirrors apart; short names resolved.
    pub destinations: BTreeSet<Host>,
    /// Its rules for connections.
    pub connections: ConnectionRules,
}

impl Outline {
    /// Whether any route remains for such a request; see [`Callers::admit`].
    pub fn admits(&self, port: Port, namespace: &Namespace, selectors: &[Selector]) -> bool {
        self.callers.iter().any(|callers| callers.admit(port, Some(namespace), selectors))
    }

    /// Where it stands among those that `viewer` follows: its own private ones, then those exported to it, then public ones (Istio:
    /// pilot/pkg/model/push_context.go); none if it follows it not.
    fn rank(&self, viewer: &Namespace) -> Option<u8> {
        match &self.exposure {
            Exposure::Public => Some(2),
            restricted if !restricted.reaches(viewer) => None,
            Exposure::To(_) if self.key.namespace == *viewer => Some(0),
            Exposure::To(_) => Some(1),
        }
    }
}

/// The outline of the VirtualService under that key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutlineOf(pub ObjectKey);

impl Question for OutlineOf {
    type World = Mesh;
    type Answer = Option<Arc<Outline>>;
    const NAME: &'static str = "virtual service outline";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        outline(read, &self.0, Callers::of)
    }
}

/// The outline of a VirtualService, of whose matches `of` says whom they let in.
pub(crate) fn outline(
    read: &Read<'_>,
    key: &ObjectKey,
    of: impl Fn(&HttpMatch) -> Option<Callers>,
) -> Option<Arc<Outline>> {
    let (meta, service) = read::virtual_service(read, key)?;
    let namespace = &meta.key.namespace;
    let default = &settings(read).default_virtual_service_export_to;
    let http = http_rules(read, meta, service);
    let routes = http.rules.iter().filter_map(|route| match route.action() {
        Action::Route(destinations) => Some(destinations),
        _ => None,
    });
    Some(Arc::new(Outline {
        key: meta.key.clone(),
        hosts: service.hosts.iter().map(|host| qualified(host, namespace)).collect(),
        exposure: Exposure::resolve(&service.export_to, default, namespace),
        age: Age::of(meta),
        callers: callers(&http.rules, of),
        destinations: routes
            .flatten()
            .map(|weighted| qualified(&weighted.destination.host, namespace))
            .collect(),
        connections: ConnectionRules::of(service, namespace),
    }))
}

fn callers(rules: &[HttpRoute], of: impl Fn(&HttpMatch) -> Option<Callers>) -> BTreeSet<Callers> {
    let mut callers = BTreeSet::new();
    for route in rules.iter().filter(|route| route.action() != Action::None) {
        if route.matches.is_empty() {
            callers.insert(Callers::default());
        }
        callers.extend(route.matches.iter().filter_map(&of));
    }
    callers
}

/// Every VirtualService that applies to sidecars, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MeshVirtualServices;

impl Question for MeshVirtualServices {
    type World = Mesh;
    type Answer = Arc<[Arc<Outline>]>;
    const NAME: &'static str = "mesh virtual services";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mut outlines: Vec<Arc<Outline>> = filed(read, IndexKey::MeshVirtualServices)
            .filter_map(|key| (*read.ask(OutlineOf(key.clone()))).clone())
            .collect();
        outlines.sort_by(|one, other| one.age.cmp(&other.age));
        outlines.into()
    }
}

/// Those of `all` that `viewer`'s sidecars follow, in the order in which the first wins; `all` is oldest first.
pub fn followed<'a>(all: &'a [Arc<Outline>], viewer: &Namespace) -> Vec<&'a Arc<Outline>> {
    let mut ranked: Vec<(u8, &Arc<Outline>)> =
        all.iter().filter_map(|outline| Some((outline.rank(viewer)?, outline))).collect();
    // Stable: within a rank the older stays first.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, outline)| outline).collect()
}

/// The selectors over a caller's labels that anything outbound asks for, as a namespace sees it: `sourceLabels` of VirtualServices and
/// `workloadSelector` of its own DestinationRules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutboundSelectors(pub Namespace);

impl Question for OutboundSelectors {
    type World = Mesh;
    type Answer = BTreeSet<Selector>;
    const NAME: &'static str = "outbound selectors";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mut selectors = BTreeSet::new();
        for key in filed(read, IndexKey::VirtualServicesWithSourceLabels) {
            let outline = read.ask(OutlineOf(key.clone()));
            let Some(outline) = outline.as_ref().as_ref() else { continue };
            if outline.exposure.reaches(&self.0) {
                let callers = outline.callers.iter().chain(outline.connections.callers());
                selectors.extend(callers.map(|callers| callers.labels.clone()));
            }
        }
        for key in filed(read, IndexKey::RulesWithSelector(self.0.clone())) {
            let Some((_, rule)) = read::destination_rule(read, key) else { continue };
            selectors.extend(rule.workload_selector.iter().map(|selector| selector.match_labels.clone()));
        }
        selectors.remove(&Selector::default());
        selectors
    }
}
