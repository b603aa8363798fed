//! The conditions of a rule.

use std::collections::BTreeMap;

use meltemi_names::{Namespace, Port, Selector};

use crate::value::{GatewayName, HeaderName, StringMatch, non_empty, port_or_zero};

/// Conditions that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMatch {
    /// For people and metrics.
    #[serde(deserialize_with = "non_empty")]
    pub name: Option<String>,
    /// The path without its query; a prefix is one of characters, not of segments.
    pub uri: Option<StringMatch>,
    /// `http` or `https`.
    pub scheme: Option<StringMatch>,
    /// The method.
    pub method: Option<StringMatch>,
    /// The `Host` header.
    pub authority: Option<StringMatch>,
    /// Headers that must match.
    pub headers: BTreeMap<HeaderName, StringMatch>,
    /// Headers that must not match.
    pub without_headers: BTreeMap<HeaderName, StringMatch>,
    /// Parameters of the query.
    pub query_params: BTreeMap<String, StringMatch>,
    /// Exact and prefix matches of the path ignore case.
    pub ignore_uri_case: bool,
    /// The port that the request came to.
    #[serde(deserialize_with = "port_or_zero")]
    pub port: Option<Port>,
    /// Labels of the client's workload.
    pub source_labels: Selector,
    /// The client's namespace.
    #[serde(deserialize_with = "optional_namespace")]
    pub source_namespace: Option<Namespace>,
    /// Replaces the gateways of the whole resource for this match; when given, the source is not looked at.
    pub gateways: Vec<GatewayName>,
    /// The prefix of Envoy's own statistics of this route.
    #[serde(deserialize_with = "non_empty")]
    pub stat_prefix: Option<String>,
}

/// The name of a namespace; the empty one is not set.
pub(super) fn optional_namespace<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Namespace>, D::Error> {
    Ok(non_empty(deserializer)?.map(|text| Namespace::from(text.as_str())))
}
