//! Which statistics Envoy keeps, and how their names become labels (Istio: tools/packaging/common/envoy_bootstrap.json).
//!
//! Istio names clusters in statistics with a `;` at the end (`alt_stat_name`), by which the expressions here find where a name that has
//! dots in it ends.

use serde_json::{Value, json};

/// Kept in any case. Readiness needs the first three, and the agent's end the last.
const PREFIXES: &[&str] = &[
    "cluster_manager",
    "listener_manager",
    "server",
    "cluster.xds-grpc",
    "reporter=",
    "wasm",
    "component",
    "istio",
];
const SUFFIXES: &[&str] =
    &["rbac.allowed", "rbac.denied", "shadow_allowed", "shadow_denied", "downstream_cx_active"];
const REGEXES: &[&str] = &[r"vhost\..*\.route\..*"];

/// What a pod asks to be kept besides (annotations `sidecar.istio.io/statsInclusion...`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inclusion {
    /// Beginnings of names.
    pub prefixes: Vec<String>,
    /// Ends of names.
    pub suffixes: Vec<String>,
    /// Regular expressions for whole names.
    pub regexes: Vec<String>,
}

pub(super) fn config(include: &Inclusion) -> Value {
    let mut patterns = Vec::new();
    patterns.extend(both(PREFIXES, &include.prefixes).map(|text| json!({"prefix": text})));
    patterns.extend(both(SUFFIXES, &include.suffixes).map(|text| json!({"suffix": text})));
    patterns.extend(both(REGEXES, &include.regexes).map(|text| json!({"safe_regex": {"regex": text}})));
    let tag = |name: &str, regex: &str| json!({"tag_name": name, "regex": regex});
    json!({
        "use_all_default_tags": false,
        "stats_tags": [
            tag("cluster_name", r"^cluster\.((.+?);\.)"),
            tag("http_conn_manager_prefix", r"^http\.((.+?);\.)"),
            tag("tcp_prefix", r"^tcp\.((.+?)\.)\w+?$"),
            tag("response_code", r"_rq(_(\d{3}))$"),
            tag("response_code_class", r"_rq(_(\dxx))$"),
            tag("listener_address", r"^listener\.((.+?)\.)(?:downstream|http|ssl|server_ssl|no_filter|connection|worker)"),
        ],
        "stats_matcher": {"inclusion_list": {"patterns": patterns}},
    })
}

fn both<'a>(ours: &'a [&'a str], theirs: &'a [String]) -> impl Iterator<Item = &'a str> {
    ours.iter().copied().chain(theirs.iter().map(String::as_str))
}
