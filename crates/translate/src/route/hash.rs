//! Which part of a request is hashed, by the DestinationRules of where it goes.

use std::sync::Arc;

use meltemi_model::read::Read;
use meltemi_names::{Host, Port};
use meltemi_proto::envoy::config::route::v3::route_action::HashPolicy;

use super::RoutesKey;
use crate::key::RuleRef;

/// For each host the DestinationRules in force, for those hosts alone to which requests go by their hash.
pub type HashRules = Arc<[(Host, RuleRef)]>;

pub(super) fn rules_that_hash<'h>(
    _read: &Read<'_>,
    _key: &RoutesKey,
    _hosts: impl IntoIterator<Item = &'h Host>,
) -> HashRules {
    Arc::default()
}

pub(super) fn policy(
    _read: &Read<'_>,
    _rules: &HashRules,
    _host: &Host,
    _port: Port,
    _subset: Option<&str>,
) -> Option<HashPolicy> {
    None
}
