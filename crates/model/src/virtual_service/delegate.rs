//! Delegates: a rule that stands for the rules of another VirtualService (Istio: pilot/pkg/model/virtualservice.go).
//!
//! Knows: who may be delegated to, how the two sides' conditions join, and what a delegate's rule inherits. Must not know: what rules
//! do with requests. Invariant: a VirtualService that delegates nothing has its own rules, by reference.

use std::borrow::Cow;
use std::collections::BTreeMap;

use meltemi_api::value::{ExportTo, GatewayName, HeaderName, StringMatch};
use meltemi_api::virtual_service::{Delegate, Destination, HttpMatch, HttpRoute};
use meltemi_api::{Meta, VirtualService};
use meltemi_memo::Question;
use meltemi_names::{Kind, Labels, Namespace, ObjectKey, Selector};

use crate::exposure::Exposure;
use crate::index::qualified;
use crate::mesh::Mesh;
use crate::read::{self, Read};
use crate::settings::settings;

/// The rules of a VirtualService that count, those of its delegates in their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRules<'a> {
    /// In order.
    pub rules: Cow<'a, [HttpRoute]>,
    /// Where each stands; none: all stand in the VirtualService itself, in its order.
    places: Option<Vec<RulePlace>>,
    /// The rules that delegate and have nothing stand in their place, or less than their delegate has.
    pub faults: Vec<DelegateFault>,
}

/// Where a rule stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RulePlace {
    /// The rule of the VirtualService with hosts, in its `spec.http`.
    pub rule: usize,
    /// The delegate that it comes from, and the place in that one's `spec.http`.
    pub delegate: Option<(ObjectKey, usize)>,
}

/// Why a rule that delegates comes to nothing, or to less than was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelegateFault {
    /// The rule that delegates.
    pub rule: usize,
    /// To whom.
    pub delegate: ObjectKey,
    /// What is wrong.
    pub why: WhyNoDelegate,
}

/// What is wrong with a delegate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyNoDelegate {
    /// There is no VirtualService of that name.
    Missing,
    /// It has hosts, and so rules of its own.
    HasHosts,
    /// It is not exported to the namespace of the one that delegates.
    NotExported,
    /// One of its matches contradicts every match of the rule that delegates, so that this rule of the delegate is left out.
    Conflict {
        /// The rule of the delegate.
        rule: usize,
        /// Its match.
        matching: usize,
        /// The field in which it contradicts the last match of the rule that delegates.
        field: &'static str,
    },
}

impl HttpRules<'_> {
    /// Where the rule at `index` stands.
    pub fn place(&self, index: usize) -> RulePlace {
        match &self.places {
            Some(places) => places.get(index).cloned().unwrap_or(RulePlace { rule: index, delegate: None }),
            None => RulePlace { rule: index, delegate: None },
        }
    }

    /// The delegates that rules come from, each once.
    pub fn delegates(&self) -> impl Iterator<Item = &ObjectKey> {
        let mut before: Option<&ObjectKey> = None;
        let places = self.places.iter().flatten();
        places.filter_map(|place| place.delegate.as_ref().map(|(key, _)| key)).filter(move |key| {
            let is_new = before != Some(*key);
            before = Some(*key);
            is_new
        })
    }
}

/// The VirtualService that `delegate`, written in an object of `namespace`, means.
pub fn delegate_key(delegate: &Delegate, namespace: &Namespace) -> ObjectKey {
    let namespace = delegate.namespace.as_ref().unwrap_or(namespace);
    ObjectKey::new(Kind::VirtualService, namespace.as_str(), delegate.name.as_str())
}

/// The rules of a VirtualService that count, for an answer that is remembered.
pub fn http_rules<'a>(read: &Read<'a>, meta: &Meta, service: &'a VirtualService) -> HttpRules<'a> {
    if service.http.iter().all(|rule| rule.delegate.is_none()) {
        return own(service);
    }
    let default = &settings(read).default_virtual_service_export_to;
    http_rules_by(meta, service, default, |key| read::virtual_service(read, key))
}

/// As [`http_rules`], for who shows them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpRulesOf(pub ObjectKey);

impl Question for HttpRulesOf {
    type World = Mesh;
    type Answer = Option<HttpRules<'static>>;
    const NAME: &'static str = "rules with those of delegates";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let (meta, service) = read::virtual_service(read, &self.0)?;
        let HttpRules { rules, places, faults } = http_rules(read, meta, service);
        Some(HttpRules { rules: Cow::Owned(rules.into_owned()), places, faults })
    }
}

/// The same from any source of VirtualServices; `default_export_to` is the mesh's `defaultVirtualServiceExportTo`.
pub fn http_rules_by<'a>(
    meta: &Meta,
    service: &'a VirtualService,
    default_export_to: &[ExportTo],
    find: impl Fn(&ObjectKey) -> Option<(&'a Meta, &'a VirtualService)>,
) -> HttpRules<'a> {
    if service.http.iter().all(|rule| rule.delegate.is_none()) {
        return own(service);
    }
    let namespace = &meta.key.namespace;
    let (mut rules, mut places, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for (index, root) in service.http.iter().enumerate() {
        let Some(delegate) = &root.delegate else {
            rules.push(root.clone());
            places.push(RulePlace { rule: index, delegate: None });
            continue;
        };
        let key = delegate_key(delegate, namespace);
        let mut fault = |why| faults.push(DelegateFault { rule: index, delegate: key.clone(), why });
        let Some((_, found)) = find(&key) else {
            fault(WhyNoDelegate::Missing);
            continue;
        };
        if !found.is_delegate() {
            fault(WhyNoDelegate::HasHosts);
            continue;
        }
        if !Exposure::resolve(&found.export_to, default_export_to, &key.namespace).reaches(namespace) {
            fault(WhyNoDelegate::NotExported);
            continue;
        }
        for (place, leaf) in found.http.iter().enumerate() {
            // Istio refuses a delegate that delegates again, so that none is ever in force.
            if leaf.delegate.is_some() {
                continue;
            }
            match joined_matches(&root.matches, &leaf.matches) {
                Ok(matches) => {
                    rules.push(merged(root, namespace, leaf, &key.namespace, matches));
                    places.push(RulePlace { rule: index, delegate: Some((key.clone(), place)) });
                }
                Err((matching, field)) => fault(WhyNoDelegate::Conflict { rule: place, matching, field }),
            }
        }
    }
    HttpRules { rules: Cow::Owned(rules), places: Some(places), faults }
}

fn own(service: &VirtualService) -> HttpRules<'_> {
    HttpRules { rules: Cow::Borrowed(&service.http), places: None, faults: Vec::new() }
}

/// The delegate's rule, with what it inherits from the one that delegates. Short names stand for services of the namespace that they
/// are written in.
fn merged(
    root: &HttpRoute,
    roots: &Namespace,
    leaf: &HttpRoute,
    leaves: &Namespace,
    matches: Vec<HttpMatch>,
) -> HttpRoute {
    let mut rule = leaf.clone();
    rule.matches = matches;
    rule.name = joined_names(root.name.as_ref(), leaf.name.as_ref());
    for weighted in &mut rule.route {
        qualify(&mut weighted.destination, leaves);
    }
    rule.mirror.iter_mut().for_each(|mirror| qualify(mirror, leaves));
    rule.mirror_list.iter_mut().for_each(|mirror| qualify(&mut mirror.destination, leaves));
    rule.rewrite = rule.rewrite.or_else(|| root.rewrite.clone());
    rule.direct_response = rule.direct_response.or_else(|| root.direct_response.clone());
    rule.timeout = rule.timeout.or(root.timeout);
    rule.retries = rule.retries.or_else(|| root.retries.clone());
    rule.fault = rule.fault.or_else(|| root.fault.clone());
    rule.cors_policy = rule.cors_policy.or_else(|| root.cors_policy.clone());
    rule.mirror_percent = rule.mirror_percent.or(root.mirror_percent);
    rule.mirror_percentage = rule.mirror_percentage.or(root.mirror_percentage);
    if rule.mirror.is_none() {
        rule.mirror = root.mirror.clone();
        rule.mirror.iter_mut().for_each(|mirror| qualify(mirror, roots));
    }
    if rule.mirror_list.is_empty() {
        rule.mirror_list.clone_from(&root.mirror_list);
        rule.mirror_list.iter_mut().for_each(|mirror| qualify(&mut mirror.destination, roots));
    }
    if rule.headers.is_empty() {
        rule.headers = root.headers.clone();
    }
    rule
}

fn qualify(destination: &mut Destination, namespace: &Namespace) {
    destination.host = qualified(&destination.host, namespace);
}

fn joined_names(root: Option<&String>, leaf: Option<&String>) -> Option<String> {
    match (root, leaf) {
        (Some(root), Some(leaf)) => Some(format!("{root}-{leaf}")),
        (one, other) => one.or(other).cloned(),
    }
}

/// The conditions of both sides: each match of the delegate with each of the root that it does not contradict.
///
/// # Errors
/// The delegate's match that contradicts all of the root's, and a field in which it does.
fn joined_matches(
    roots: &[HttpMatch],
    leaves: &[HttpMatch],
) -> Result<Vec<HttpMatch>, (usize, &'static str)> {
    if roots.is_empty() || leaves.is_empty() {
        let given = if roots.is_empty() { leaves } else { roots };
        return Ok(given.to_vec());
    }
    let mut all = Vec::new();
    for (index, leaf) in leaves.iter().enumerate() {
        let mut conflict = None;
        let before = all.len();
        for root in roots {
            match contradiction(root, leaf) {
                None => all.push(joined(root, leaf)),
                Some(field) => conflict = Some(field),
            }
        }
        if let Some(field) = conflict.filter(|_| all.len() == before) {
            return Err((index, field));
        }
    }
    Ok(all)
}

fn joined(root: &HttpMatch, leaf: &HttpMatch) -> HttpMatch {
    let texts =
        |root: &Option<StringMatch>, leaf: &Option<StringMatch>| leaf.clone().or_else(|| root.clone());
    HttpMatch {
        name: joined_names(root.name.as_ref(), leaf.name.as_ref()),
        uri: texts(&root.uri, &leaf.uri),
        scheme: texts(&root.scheme, &leaf.scheme),
        method: texts(&root.method, &leaf.method),
        authority: texts(&root.authority, &leaf.authority),
        headers: joined_maps(&root.headers, &leaf.headers),
        without_headers: joined_maps(&root.without_headers, &leaf.without_headers),
        query_params: joined_maps(&root.query_params, &leaf.query_params),
        ignore_uri_case: leaf.ignore_uri_case,
        port: leaf.port.or(root.port),
        source_labels: joined_labels(&root.source_labels, &leaf.source_labels),
        source_namespace: leaf.source_namespace.clone().or_else(|| root.source_namespace.clone()),
        gateways: if leaf.gateways.is_empty() { root.gateways.clone() } else { leaf.gateways.clone() },
        stat_prefix: leaf.stat_prefix.clone().or_else(|| root.stat_prefix.clone()),
    }
}

fn joined_maps<K: Ord + Clone>(
    root: &BTreeMap<K, StringMatch>,
    leaf: &BTreeMap<K, StringMatch>,
) -> BTreeMap<K, StringMatch> {
    root.iter().chain(leaf).map(|(name, text)| (name.clone(), text.clone())).collect()
}

fn joined_labels(root: &Selector, leaf: &Selector) -> Selector {
    let labels: Labels = root.labels().iter().chain(leaf.labels().iter()).collect();
    Selector::new(labels)
}

/// The field in which a match of a delegate contradicts one of the root (Istio: pilot/pkg/model/virtualservice.go, `hasConflict`).
fn contradiction(root: &HttpMatch, leaf: &HttpMatch) -> Option<&'static str> {
    let texts = [
        ("uri", &root.uri, &leaf.uri),
        ("scheme", &root.scheme, &leaf.scheme),
        ("method", &root.method, &leaf.method),
        ("authority", &root.authority, &leaf.authority),
    ];
    if let Some((field, ..)) =
        texts.into_iter().find(|(_, root, leaf)| contradict(root.as_ref(), leaf.as_ref()))
    {
        return Some(field);
    }
    let maps = [
        ("headers", &root.headers, &leaf.headers),
        ("withoutHeaders", &root.without_headers, &leaf.without_headers),
    ];
    if let Some((field, ..)) =
        maps.into_iter().find(|(_, root, leaf)| maps_contradict::<HeaderName>(root, leaf))
    {
        return Some(field);
    }
    let gateways_differ = !root.gateways.is_empty()
        && !leaf.gateways.is_empty()
        && (root.gateways.len() < leaf.gateways.len()
            || !leaf.gateways.iter().all(|gateway: &GatewayName| root.gateways.contains(gateway)));
    let labels_differ = leaf
        .source_labels
        .labels()
        .iter()
        .any(|(key, value)| root.source_labels.labels().value(key).is_some_and(|other| other != value));
    let others = [
        ("queryParams", maps_contradict(&root.query_params, &leaf.query_params)),
        ("ignoreUriCase", root.ignore_uri_case != leaf.ignore_uri_case),
        ("port", root.port.is_some() && leaf.port.is_some() && root.port != leaf.port),
        (
            "sourceNamespace",
            root.source_namespace.is_some() && root.source_namespace != leaf.source_namespace,
        ),
        ("sourceLabels", labels_differ),
        ("gateways", gateways_differ),
    ];
    others.into_iter().find(|(_, differ)| *differ).map(|(field, _)| field)
}

fn maps_contradict<K: Ord>(root: &BTreeMap<K, StringMatch>, leaf: &BTreeMap<K, StringMatch>) -> bool {
    leaf.iter().any(|(name, text)| contradict(root.get(name), Some(text)))
}

/// Whether a text that fits the delegate's condition may not fit the root's. Regular expressions are not compared: with one on
/// either side nothing else may stand on the other.
fn contradict(root: Option<&StringMatch>, leaf: Option<&StringMatch>) -> bool {
    let (Some(root), Some(leaf)) = (root, leaf) else { return false };
    match (root, leaf) {
        (StringMatch::Exact(root), StringMatch::Exact(leaf)) => root != leaf,
        (StringMatch::Prefix(root), StringMatch::Prefix(leaf) | StringMatch::Exact(leaf)) => {
            !leaf.starts_with(root.as_str())
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests;
