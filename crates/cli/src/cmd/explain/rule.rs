//! Where what the walk met is written: routes in their VirtualServices, clusters' policies in their DestinationRules.

use meltemi_api::FieldPath;
use meltemi_api::virtual_service::HttpMatch;
use meltemi_memo::Memo;
use meltemi_model::Mesh;
use meltemi_model::gateway::GatewaySet;
use meltemi_model::virtual_service::Callers;
use meltemi_model::virtual_service::delegate::HttpRulesOf;
use meltemi_names::{Kind, Namespace, ObjectKey, Port};
use meltemi_sources::PlaceIndex;
use meltemi_translate::route::{PassedOver, Written as Place, passed_over, written};
use meltemi_walk::{Handling, RouteTried, Way};
use serde::Serialize;

use super::explanation::clusters;
use super::workload::Workload;

/// What a route is made from.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RuleOfRoute {
    /// Its place in the virtual host.
    pub(crate) route: usize,
    /// Where it is written; none: it is made by itself, for a service without rules or for hosts that nobody knows.
    pub(crate) written: Option<Written>,
}

/// A match that is no route for this sender, and stands before the rule that takes the request.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NotForSender {
    pub(crate) written: Written,
    /// The route that it would stand before, by its place in the virtual host.
    pub(crate) before: usize,
    pub(crate) reason: PassedOver,
}

/// A part of an object.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Written {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The field, from the object's root; empty: the object as a whole.
    pub(crate) field: String,
    /// None for an object that comes from no file.
    pub(crate) place: Option<meltemi_api::Place>,
    /// The rule of another VirtualService that this one stands in the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delegated_by: Option<Box<Written>>,
    #[serde(skip)]
    pub(crate) key: ObjectKey,
}

impl Written {
    pub(super) fn new(key: ObjectKey, field: &FieldPath, places: &PlaceIndex) -> Self {
        let place = if field.segments().is_empty() {
            places.of(&key).and_then(meltemi_api::Places::start)
        } else {
            places.place(&key, field)
        };
        Self {
            kind: key.kind.as_str(),
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            field: field.to_string(),
            place,
            delegated_by: None,
            key,
        }
    }
}

/// For each route that was looked at; and what was passed over before the last of them.
pub(super) fn of_routes(
    way: &Way,
    (memo, mesh): (&Memo<Mesh>, &Mesh),
    from: &Workload,
    set: Option<&GatewaySet>,
    port: u16,
    places: &PlaceIndex,
) -> (Vec<RuleOfRoute>, Vec<NotForSender>) {
    let Some(Handling::Http(http)) = &way.handling else { return Default::default() };
    let namespace = Namespace::from(from.namespace.as_str());
    let found = |tried: &RouteTried| {
        let key = object(tried.object.as_deref()?)?;
        let rules = (*memo.observe(HttpRulesOf(key.clone()), mesh).1).clone()?;
        Some((key, rules, Port::new(port.into())?))
    };
    let callers = |key: &ObjectKey| {
        let own = key.namespace.clone();
        move |found: &HttpMatch| match set {
            // Of which of its Gateways a route is does not stand in it.
            Some(set) => set.gateways.iter().find_map(|gateway| Callers::at(found, gateway, &own)),
            None => Callers::of(found),
        }
    };
    let place = |index: usize, tried: &RouteTried| {
        let (key, rules, port) = found(tried)?;
        // At a gateway routes of several objects stand after each other.
        let before = http.tried.iter().take(index).filter(|other| other.object == tried.object).count();
        let all = written(&rules, callers(&key), port, &namespace, &from.labels);
        let own = all.into_iter().nth(before)?;
        let written = of_place(&key, &own, places);
        Some((own, written))
    };
    let tried = http.tried.iter().enumerate();
    let rules: Vec<(usize, Option<(Place, Written)>)> =
        tried.map(|(index, tried)| (tried.index, place(index, tried))).collect();
    let mut passed = Vec::new();
    if let Some(tried) = http.tried.last()
        && let Some((key, all, port)) = found(tried)
    {
        let last = rules.last().and_then(|(_, rule)| rule.as_ref()).filter(|_| tried.matched);
        let last = last.map(|(own, _)| own);
        let routes = written(&all, callers(&key), port, &namespace, &from.labels);
        let over = passed_over(&all, callers(&key), port, &namespace, &from.labels).into_iter();
        passed.extend(over.filter(|(own, _)| last.is_none_or(|last| own < last)).map(|(own, reason)| {
            let before = routes.iter().filter(|route| **route < own).count();
            NotForSender { written: of_place(&key, &own, places), before, reason }
        }));
    }
    let rules = rules
        .into_iter()
        .map(|(route, rule)| RuleOfRoute { route, written: rule.map(|(_, written)| written) })
        .collect();
    (rules, passed)
}

/// Where a route of the VirtualService under `key` is written: in it, or in a delegate.
fn of_place(key: &ObjectKey, own: &Place, places: &PlaceIndex) -> Written {
    let rule = |index: usize| FieldPath::of(&["spec", "http"]).index(index);
    match (&own.place.delegate, own.matching) {
        // A delegate's matches are joined with those of the rule that delegates: the rule as a whole is shown.
        (Some((delegate, index)), _) => Written {
            delegated_by: Some(Box::new(Written::new(key.clone(), &rule(own.place.rule), places))),
            ..Written::new(delegate.clone(), &rule(*index), places)
        },
        (None, Some(matching)) => {
            Written::new(key.clone(), &rule(own.place.rule).key("match").index(matching), places)
        }
        (None, None) => Written::new(key.clone(), &rule(own.place.rule), places),
    }
}

/// The DestinationRules of the clusters that the request may go to, each once.
pub(super) fn of_clusters(way: &Way, places: &PlaceIndex) -> Vec<Written> {
    let mut found: Vec<Written> = Vec::new();
    for cluster in clusters(way) {
        let Some(key) = cluster.object.as_deref().and_then(object) else { continue };
        if !found.iter().any(|written| written.key == key) {
            found.push(Written::new(key, &FieldPath::root(), places));
        }
    }
    found
}

/// The object of a path at the API server, `/apis/<group>/<version>/namespaces/<ns>/<kind>/<name>` as Istio writes them.
pub(super) fn object(path: &str) -> Option<ObjectKey> {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let ["apis", _, _, "namespaces", namespace, kind, name] = parts[..] else { return None };
    Some(ObjectKey::new(Kind::parse(&kind.replace('-', ""))?, namespace, name))
}
