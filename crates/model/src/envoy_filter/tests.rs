//! Whose patches come when, and for whom they are.

use std::sync::Arc;

use meltemi_api::envoy_filter::Context;
use meltemi_api::parse_all;
use meltemi_memo::{Memo, Question};
use meltemi_names::Labels;
use meltemi_proto::envoy::config::core::v3::Node;

use super::{Filters, matching};
use crate::proxy::Proxy;
use crate::read::Read;
use crate::{Event, Mesh, Store};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ask {
    proxy: Arc<Proxy>,
    labels: Labels,
    traffic: Context,
}

impl Question for Ask {
    type World = Mesh;
    type Answer = Filters;
    const NAME: &'static str = "test";

    fn answer(&self, read: &Read<'_>) -> Filters {
        matching(read, &self.proxy, &self.labels, self.traffic)
    }
}

/// The patches by name and place for a proxy of `shop` with `version: v2`.
fn found(yaml: &str, traffic: Context, version: &str) -> Vec<String> {
    let mut store = Store::new();
    store.apply(parse_all(yaml).unwrap().into_iter().map(|object| Event::Upsert(Arc::new(object))));
    let node = Node { id: "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local".into(), ..Node::default() };
    let mut proxy = Proxy::parse(&node, true).unwrap();
    if !version.is_empty() {
        proxy.texts.insert("ISTIO_VERSION".into(), version.into());
    }
    let labels = [("version", "v2")].into_iter().collect();
    let ask = Ask { proxy: Arc::new(proxy), labels, traffic };
    let (_, filters) = Memo::new().observe(ask, store.mesh());
    let shown = filters.iter().map(|filter| format!("{} {:?}", filter.object.name, filter.patches));
    shown.collect()
}

fn filter(namespace: &str, name: &str, head: &str, matches: &[&str]) -> String {
    let patches: String = matches
        .iter()
        .map(|matching| {
            format!(
                "  - {{applyTo: CLUSTER, match: {{{matching}}}, patch: {{operation: MERGE, value: {{}}}}}}\n"
            )
        })
        .collect();
    format!(
        "---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{head}  configPatches:\n{patches}"
    )
}

#[test]
fn priority_comes_before_the_root_namespace_and_that_before_names() {
    let yaml = [
        filter("shop", "b", "", &[""]),
        filter("shop", "a", "", &[""]),
        filter("shop", "first", "  priority: -1\n", &[""]),
        filter("istio-system", "z", "", &[""]),
        filter("istio-system", "last", "  priority: 7\n", &[""]),
        filter("other", "theirs", "", &[""]),
    ];
    let all = found(&yaml.concat(), Context::SidecarOutbound, "");
    assert_eq!(all, ["first [0]", "z [0]", "a [0]", "b [0]", "last [0]"]);
}

#[test]
fn a_selector_a_context_and_a_version_each_say_for_whom_a_patch_is() {
    let yaml = [
        filter(
            "shop",
            "v2",
            "  workloadSelector: {labels: {version: v2}}\n",
            &["context: SIDECAR_INBOUND", ""],
        ),
        filter("shop", "v1", "  workloadSelector: {labels: {version: v1}}\n", &[""]),
        filter("shop", "version", "", &[r"proxy: {proxyVersion: '^1\.30.*'}", "proxy: {metadata: {X: y}}"]),
    ];
    let yaml = yaml.concat();
    assert_eq!(found(&yaml, Context::SidecarInbound, ""), ["v2 [0, 1]"]);
    assert_eq!(found(&yaml, Context::SidecarOutbound, "1.30.1"), ["v2 [1]", "version [0]"]);
    assert_eq!(found(&yaml, Context::Gateway, "1.29.1"), ["v2 [1]"]);
}

#[test]
fn what_is_added_to_all_traffic_is_added_once() {
    let yaml = "{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: a, namespace: shop}, \
                spec: {configPatches: [{applyTo: CLUSTER, patch: {operation: ADD, value: {name: c}}}]}}";
    assert_eq!(found(yaml, Context::SidecarOutbound, ""), ["a [0]"]);
    assert_eq!(found(yaml, Context::SidecarInbound, ""), [""; 0]);
}
