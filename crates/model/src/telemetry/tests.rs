//! How levels and rules override each other, by hand after Istio's reference and its code.

use std::sync::Arc;

use meltemi_api::parse_all;
use meltemi_memo::{Memo, Question};
use meltemi_names::{Labels, ObjectKey};

use super::{InForce, Said, Side, of_workload};
use crate::read::Read;
use crate::{Event, Mesh, Store};

/// The objects for the workload `app: web` in namespace `shop`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct OfWeb;

impl Question for OfWeb {
    type World = Mesh;
    type Answer = Arc<[ObjectKey]>;
    const NAME: &'static str = "telemetry of web";

    fn answer(&self, read: &Read<'_>) -> Arc<[ObjectKey]> {
        let labels: Labels = [("app", "web"), ("version", "v1")].into_iter().collect();
        of_workload(read, &"shop".into(), &labels)
    }
}

/// A Telemetry `namespace/name`, created in that minute.
fn telemetry(name: &str, minute: u32, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "---\n{{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {{name: {name}, namespace: {namespace}, \
         creationTimestamp: '2026-01-01T00:{minute:02}:00Z'}}, spec: {spec}}}\n"
    )
}

fn settings(mesh: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: istio, namespace: istio-system}}, data: {{mesh: '{mesh}'}}}}\n"
    )
}

fn said(yaml: &str, side: Side) -> (Vec<String>, Said) {
    let (mut store, memo) = (Store::new(), Memo::<Mesh>::new());
    store.apply(parse_all(yaml).unwrap().into_iter().map(|object| Event::Upsert(Arc::new(object))));
    let (_, objects) = memo.observe(OfWeb, store.mesh());
    let names = objects.iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect();
    let (_, said) = memo.observe(InForce { objects: (*objects).clone(), side }, store.mesh());
    (names, (*said).clone())
}

/// `provider`, `provider-` where it is off, `provider?expression` where something is filtered.
fn logging(yaml: &str, side: Side) -> Option<Vec<String>> {
    let logging = said(yaml, side).1.logging?;
    Some(
        logging
            .iter()
            .map(|(name, log)| match (&log.filter, log.disabled) {
                (_, true) => format!("{name}-"),
                (Some(filter), false) => format!("{name}?{}", filter.as_str()),
                (None, false) => name.clone(),
            })
            .collect(),
    )
}

#[test]
fn the_mesh_comes_first_then_the_namespace_then_every_one_that_selects() {
    let yaml = telemetry("istio-system/young", 9, "{}")
        + &telemetry("istio-system/mesh", 1, "{}")
        + &telemetry("istio-system/elsewhere", 1, "{selector: {matchLabels: {app: web}}}")
        + &telemetry("shop/all", 2, "{}")
        + &telemetry("shop/late", 5, "{selector: {matchLabels: {version: v1}}}")
        + &telemetry("shop/early", 3, "{selector: {matchLabels: {app: web}}}")
        + &telemetry("shop/other", 3, "{selector: {matchLabels: {app: web, version: v2}}}")
        + &telemetry("shop/waypoint", 3, "{targetRefs: [{kind: Service, name: a}]}");
    let (objects, said) = said(&yaml, Side::Client);
    assert_eq!(objects, ["istio-system/mesh", "shop/all", "shop/early", "shop/late"]);
    assert_eq!(said, Said::default(), "none of them says anything");
}

#[test]
fn the_last_level_that_names_providers_says_who_takes_the_log() {
    let mesh = telemetry("istio-system/mesh", 1, "{accessLogging: [{providers: [{name: a}, {name: b}]}]}");
    assert_eq!(logging(&mesh, Side::Server).unwrap(), ["a", "b"]);
    let off = mesh.clone() + &telemetry("shop/silent", 2, "{accessLogging: [{disabled: true}]}");
    assert_eq!(logging(&off, Side::Server).unwrap(), ["a-", "b-"]);
    let other = off.clone()
        + &telemetry(
            "shop/web",
            3,
            "{selector: {matchLabels: {app: web}}, accessLogging: [{providers: [{name: c}], filter: {expression: 'response.code >= 400'}}]}",
        );
    assert_eq!(logging(&other, Side::Server).unwrap(), ["c?response.code >= 400"]);
    assert_eq!(logging("", Side::Server), None);
    assert_eq!(
        logging(&settings("defaultProviders: {accessLogging: [envoy]}"), Side::Server).unwrap(),
        ["envoy"]
    );
}

#[test]
fn a_rule_for_one_side_says_nothing_to_the_other() {
    let yaml = telemetry("shop/all", 1, "{accessLogging: [{providers: [{name: a}], match: {mode: CLIENT}}]}");
    assert_eq!(logging(&yaml, Side::Client).unwrap(), ["a"]);
    assert_eq!(logging(&yaml, Side::Server).unwrap(), Vec::<String>::new());
}

#[test]
fn tracing_is_what_each_rule_changes_of_those_before_it() {
    let yaml = settings("defaultProviders: {tracing: [otel]}")
        + &telemetry(
            "istio-system/mesh",
            1,
            "{tracing: [{randomSamplingPercentage: 10, customTags: {a: {literal: {value: x}}}}]}",
        )
        + &telemetry("shop/all", 2, "{tracing: [{match: {mode: SERVER}, disableSpanReporting: true}]}")
        + &telemetry(
            "shop/web",
            3,
            "{selector: {matchLabels: {app: web}}, tracing: [{providers: [{name: zip}], customTags: {b: {header: {name: x-b}}}, useRequestIdForTraceSampling: false}]}",
        );
    let client = said(&yaml, Side::Client).1.tracing.unwrap();
    assert_eq!(client.provider.as_deref(), Some("zip"));
    assert_eq!(client.sampling.unwrap().as_f64(), 10.0);
    assert_eq!(client.tags.unwrap().keys().collect::<Vec<_>>(), ["b"], "tags are replaced, not merged");
    assert!(!client.by_request_id && client.istio_tags && !client.disabled);
    assert!(said(&yaml, Side::Server).1.tracing.unwrap().disabled);
    assert_eq!(said("", Side::Client).1.tracing, None);
}

#[test]
fn metrics_are_dropped_and_taken_back_by_side_and_name() {
    let drop = "{metrics: [{providers: [{name: prometheus}], overrides: [{match: {metric: REQUEST_COUNT, mode: CLIENT}, disabled: true}]}]}";
    let yaml = telemetry("istio-system/mesh", 1, drop);
    let dropped = |yaml: &str, side| {
        let metrics = said(yaml, side).1.metrics;
        metrics.dropped.iter().map(|metric| format!("{metric:?}")).collect::<Vec<_>>()
    };
    assert_eq!(dropped(&yaml, Side::Client), ["RequestCount"]);
    assert!(dropped(&yaml, Side::Server).is_empty());
    let back = yaml.clone() + &telemetry("shop/all", 2, "{metrics: [{overrides: [{disabled: false}]}]}");
    assert!(dropped(&back, Side::Client).is_empty());
    let all_off = yaml.clone()
        + &telemetry("shop/all", 2, "{metrics: [{overrides: [{match: {mode: SERVER}, disabled: true}]}]}");
    assert!(
        said(&all_off, Side::Server).1.metrics.disabled && !said(&all_off, Side::Client).1.metrics.disabled
    );
    let elsewhere = telemetry("shop/all", 1, "{metrics: [{providers: [{name: stackdriver}]}]}");
    assert!(said(&elsewhere, Side::Client).1.metrics.disabled, "nobody asks for what is counted here");
}

#[test]
fn labels_are_set_and_removed_metric_by_metric() {
    let yaml = telemetry(
        "shop/all",
        1,
        "{metrics: [{overrides: [\
        {tagOverrides: {source_app: {operation: REMOVE}, host: {value: request.host}, 'a-b': {value: '1'}, broken: {value: 'nope(1)'}}}, \
        {match: {metric: REQUEST_COUNT}, tagOverrides: {host: {operation: REMOVE}}}]}]}",
    );
    let tags = said(&yaml, Side::Client).1.metrics.tags;
    let of = |metric| format!("{:?}", tags[&metric]);
    use meltemi_api::telemetry::IstioMetric::{RequestCount, TcpSentBytes};
    assert_eq!(of(RequestCount), "{\"host\": None, \"source_app\": None}");
    assert_eq!(of(TcpSentBytes), "{\"host\": Some(\"%CEL(request.host)%\"), \"source_app\": None}");
}
