//! Which part of a request is hashed, by the DestinationRules of where it goes.
//!
//! Knows: which rules hash at all (mostly none, and then nobody asks further). Must not know: how a hash becomes an endpoint, which is
//! the cluster's. Invariant: callers for whom no rule hashes have equal keys, whatever else their rules say.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::destination_rule::HashKey;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::entry::IndexKey;
use meltemi_model::index::qualified;
use meltemi_model::read::{self, Read, filed};
use meltemi_model::rule::{PolicyOf, Rule, RuleFor, RuleRef};
use meltemi_model::service::ServiceByHost;
use meltemi_names::{Host, Namespace, Port, Selector};
use meltemi_proto::envoy::config::route::v3::route_action::{HashPolicy, hash_policy};

use crate::external_name::meant;
use crate::wrap::duration;

/// For each host the DestinationRules in force, for those hosts alone to which requests go by their hash.
pub type HashRules = Arc<[(Host, RuleRef)]>;

/// The rules by which a caller's requests to these hosts are hashed.
pub(super) fn rules_that_hash<'h>(
    read: &Read<'_>,
    viewer: &Namespace,
    selectors: &Arc<[Selector]>,
    hosts: impl IntoIterator<Item = &'h Host>,
) -> HashRules {
    let hashing = read.ask(HashingHosts);
    if hashing.is_empty() {
        return Arc::default();
    }
    let rules: BTreeSet<(Host, RuleRef)> = hosts
        .into_iter()
        .filter_map(|host| {
            let host = meant(read, host);
            if !hashing.iter().any(|pattern| pattern.covers(&host)) {
                return None;
            }
            let service = read.ask(ServiceByHost { viewer: viewer.clone(), host: host.clone() });
            let service = service.as_ref().as_ref()?.id.clone();
            let rule =
                read.ask(RuleFor { viewer: viewer.clone(), service, selectors: Arc::clone(selectors) });
            let rule = rule.as_ref().as_ref()?;
            read.ask(AnyHash(Arc::clone(rule))).then(|| (host, Arc::clone(rule)))
        })
        .collect();
    rules.into_iter().collect()
}

/// What of a request to a port of `host`, or of a subset of it, is hashed.
pub(super) fn policy(
    read: &Read<'_>,
    rules: &HashRules,
    host: &Host,
    port: Port,
    subset: Option<&str>,
) -> Option<HashPolicy> {
    let (_, rule) = rules.iter().find(|(found, _)| found == host)?;
    let key = read.ask(HashedPart { rule: Arc::clone(rule), port, subset: subset.map(Arc::from) });
    let specifier = match key.as_ref().as_ref()? {
        HashKey::HttpHeader(name) => {
            let header =
                hash_policy::Header { header_name: name.to_string(), ..hash_policy::Header::default() };
            hash_policy::PolicySpecifier::Header(header)
        }
        HashKey::HttpCookie(cookie) => hash_policy::PolicySpecifier::Cookie(hash_policy::Cookie {
            name: cookie.name.clone(),
            // Without a time to live Envoy makes no cookie, it only reads one.
            ttl: cookie.ttl.map(duration),
            path: cookie.path.clone().unwrap_or_default(),
            attributes: cookie
                .attributes
                .iter()
                .map(|attribute| hash_policy::CookieAttribute {
                    name: attribute.name.clone(),
                    value: attribute.value.clone(),
                })
                .collect(),
        }),
        HashKey::SourceIp => {
            hash_policy::PolicySpecifier::ConnectionProperties(hash_policy::ConnectionProperties {
                source_ip: true,
            })
        }
        HashKey::HttpQueryParameter(name) => {
            hash_policy::PolicySpecifier::QueryParameter(hash_policy::QueryParameter { name: name.clone() })
        }
    };
    Some(HashPolicy { policy_specifier: Some(specifier), terminal: false })
}

/// The hosts, exact and wildcard, of DestinationRules that hash anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HashingHosts;

impl Question for HashingHosts {
    type World = Mesh;
    type Answer = BTreeSet<Host>;
    const NAME: &'static str = "hosts with consistent hashing";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        filed(read, IndexKey::RulesThatHash)
            .filter_map(|key| {
                let (meta, rule) = read::destination_rule(read, key)?;
                Some(qualified(&rule.host, &meta.key.namespace))
            })
            .collect()
    }
}

/// Whether any of these rules hashes anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AnyHash(RuleRef);

impl Question for AnyHash {
    type World = Mesh;
    type Answer = bool;
    const NAME: &'static str = "any consistent hashing";

    fn answer(&self, read: &Read<'_>) -> bool {
        read.ask(Rule(Arc::clone(&self.0))).policies().any(|policy| policy.hashes())
    }
}

/// What of a request is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HashedPart {
    rule: RuleRef,
    port: Port,
    subset: Option<Arc<str>>,
}

impl Question for HashedPart {
    type World = Mesh;
    type Answer = Option<HashKey>;
    const NAME: &'static str = "hashed part";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let (rule, subset) = (Arc::clone(&self.rule), self.subset.clone());
        let policy = read.ask(PolicyOf { rule, port: self.port, subset });
        policy.as_ref().as_ref()?.load_balancer.as_ref()?.consistent_hash.as_ref()?.key.clone()
    }
}
