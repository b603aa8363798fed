//! Which rules of a VirtualService become routes for a caller, and which match of which rule each route comes from.
//!
//! Routes are made from this list, so that whoever explains a route by it cannot be wrong about the order.

use meltemi_api::virtual_service::{Action, HttpMatch, HttpRoute};
use meltemi_model::virtual_service::Callers;
use meltemi_model::virtual_service::delegate::{HttpRules, RulePlace};
use meltemi_names::{Labels, Namespace, Port, Selector};
use meltemi_proto::envoy::config::route::v3::RouteMatch;

use super::matching;

/// Where a route stands in its VirtualService, or in a delegate of that; in the order of the routes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Written {
    /// The place among the rules that count, those of delegates in their places.
    pub index: usize,
    /// The place in the rule's `match`; none if it has none. Of a delegate's rule it is that of the joined matches.
    pub matching: Option<usize>,
    /// Where the rule stands.
    pub place: RulePlace,
}

/// Where each route of a VirtualService's virtual hosts stands, for requests to `port` from a workload of that namespace with these
/// labels, in the order of the routes. `of` says whom a match lets in: [`Callers::of`] among sidecars, [`Callers::at`] at a gateway.
pub fn written(
    rules: &HttpRules<'_>,
    of: impl Fn(&HttpMatch) -> Option<Callers>,
    port: Port,
    namespace: &Namespace,
    labels: &Labels,
) -> Vec<Written> {
    let matches = rules.rules.iter().flat_map(|rule| &rule.matches);
    let selectors: Vec<Selector> =
        matches.map(|found| &found.source_labels).filter(|wanted| wanted.selects(labels)).cloned().collect();
    let admits = |callers: Callers| callers.admit(port, Some(namespace), &selectors);
    let routes = reachable(&rules.rules, of, admits);
    routes
        .map(|Reachable { index, matching, .. }| Written { index, matching, place: rules.place(index) })
        .collect()
}

/// Why a match of a rule is no route for some callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PassedOver {
    /// It is for gateways, or at a gateway for sidecars and other gateways.
    Gateways,
    /// It is for requests to another port.
    Port,
    /// It is for workloads of another namespace.
    Namespace,
    /// It is for workloads with other labels.
    Labels,
    /// It asks for a claim of a token, which sidecars do not read.
    Claim,
}

/// The matches of a VirtualService that are no routes for such a caller, in order, each with the first reason.
pub fn passed_over(
    rules: &HttpRules<'_>,
    of: impl Fn(&HttpMatch) -> Option<Callers>,
    port: Port,
    namespace: &Namespace,
    labels: &Labels,
) -> Vec<(Written, PassedOver)> {
    let why = |found: &HttpMatch| {
        let Some(callers) = of(found) else { return Some(PassedOver::Gateways) };
        if callers.port.is_some_and(|wanted| wanted != port) {
            return Some(PassedOver::Port);
        }
        if callers.namespace.is_some_and(|wanted| wanted != *namespace) {
            return Some(PassedOver::Namespace);
        }
        if !callers.labels.selects(labels) {
            return Some(PassedOver::Labels);
        }
        matching::route_match(found).is_none().then_some(PassedOver::Claim)
    };
    let all = rules.rules.iter().enumerate();
    all.flat_map(|(index, route)| {
        let matches = route.matches.iter().enumerate();
        matches.filter_map(move |(matching, found)| {
            Some((Written { index, matching: Some(matching), place: rules.place(index) }, why(found)?))
        })
    })
    .collect()
}

/// A route to be made.
pub(super) struct Reachable<'a> {
    /// The place of the rule in the list.
    pub(super) index: usize,
    /// The place of the match in the rule.
    pub(super) matching: Option<usize>,
    pub(super) rule: &'a HttpRoute,
    /// None for a rule that takes all.
    pub(super) found: Option<&'a HttpMatch>,
    pub(super) conditions: RouteMatch,
}

/// The routes to be made, one for each way to match a rule, in order, up to the first that takes all. `of` says whom a match lets in,
/// `admits` whether those are whom the routes are for.
pub(super) fn reachable(
    rules: &[HttpRoute],
    of: impl Fn(&HttpMatch) -> Option<Callers>,
    admits: impl Fn(Callers) -> bool,
) -> impl Iterator<Item = Reachable<'_>> {
    let mut taken = false;
    rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| rule.action() != Action::None)
        .flat_map(|(place, rule)| {
            let matches = rule.matches.iter().enumerate().map(|(index, found)| (Some(index), Some(found)));
            let unconditional = rule.matches.is_empty().then_some((None, None));
            unconditional
                .into_iter()
                .chain(matches)
                .map(move |(matching, found)| (place, matching, rule, found))
        })
        .filter_map(move |(index, matching, rule, found)| {
            let every = HttpMatch::default();
            let conditions = found.unwrap_or(&every);
            if !of(conditions).is_some_and(&admits) {
                return None;
            }
            let conditions = matching::route_match(conditions)?;
            Some(Reachable { index, matching, rule, found, conditions })
        })
        .take_while(move |route| {
            let is_reached = !taken;
            taken |= matching::takes_all(&route.conditions);
            is_reached
        })
}
