//! Telemetry: what Istio's admission refuses of it, and what a stock Envoy cannot do (Istio: pkg/config/validation,
//! `ValidateTelemetry`).

use super::{Report, labels, target_ref};
use crate::Telemetry;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::telemetry::{
    AccessLogging, CustomTag, IstioMetric, Metrics, ProviderRef, TagOperation, TagOverride, Tracing,
};
use crate::value::{CelFault, check_log_format, is_metric_label};

pub(super) fn check(telemetry: &Telemetry, path: &FieldPath, report: &mut Report) {
    if let Some(selector) = &telemetry.selector {
        labels::selector(&selector.match_labels, &path.key("selector"), report);
    }
    let given = [
        ("selector", telemetry.selector.is_some()),
        ("targetRef", telemetry.target_ref.is_some()),
        ("targetRefs", !telemetry.target_refs.is_empty()),
    ];
    let given: Vec<&str> = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
    if let [first, _, ..] = given[..] {
        let message = "only one of selector, targetRef and targetRefs may be given";
        report.error(&path.key(first), "bad-value", message);
    }
    if let Some(target) = &telemetry.target_ref {
        target_ref::check(target, &path.key("targetRef"), report);
    }
    for (index, target) in telemetry.target_refs.iter().enumerate() {
        target_ref::check(target, &path.key("targetRefs").index(index), report);
    }
    let here = path.key("tracing");
    if telemetry.tracing.len() > 1 {
        report.add(
            Finding::warning("several-tracings", "of several rules each overrides those before it")
                .at(&here)
                .hint("keep one rule for each side"),
        );
    }
    for (index, rule) in telemetry.tracing.iter().enumerate() {
        tracing(rule, &here.index(index), report);
    }
    for (index, rule) in telemetry.metrics.iter().enumerate() {
        metrics(rule, &path.key("metrics").index(index), report);
    }
    for (index, rule) in telemetry.access_logging.iter().enumerate() {
        access_logging(rule, &path.key("accessLogging").index(index), report);
    }
}

fn providers(providers: &[ProviderRef], path: &FieldPath, report: &mut Report) {
    for (index, provider) in providers.iter().enumerate() {
        if provider.name.is_empty() {
            report.error(&path.key("providers").index(index), "bad-value", "a provider needs a name");
        }
    }
}

fn tracing(rule: &Tracing, path: &FieldPath, report: &mut Report) {
    providers(&rule.providers, path, report);
    if rule.providers.len() > 1 {
        report.add(
            Finding::warning("several-providers", "spans go to one provider, the first")
                .at(&path.key("providers"))
                .in_force("the first provider"),
        );
    }
    if rule.random_sampling_percentage.is_some_and(|share| !(0.0..=100.0).contains(&share.as_f64())) {
        report.error(&path.key("randomSamplingPercentage"), "bad-value", "must be from 0 to 100");
    }
    for (name, tag) in rule.custom_tags.iter().flatten() {
        custom_tag(name, tag, &path.key("customTags").key(name), report);
    }
}

pub(super) fn custom_tag(name: &str, tag: &CustomTag, here: &FieldPath, report: &mut Report) {
    if name.is_empty() {
        report.error(here, "bad-value", "a tag needs a name");
    }
    match tag {
        CustomTag::Literal(value) if value.is_empty() => {
            report.error(&here.key("literal"), "bad-value", "a literal needs a value");
        }
        CustomTag::Environment { name, .. } if name.is_empty() => {
            report.error(&here.key("environment"), "bad-value", "an environment variable needs a name");
        }
        CustomTag::Header { name, .. } if name.is_empty() => {
            report.error(&here.key("header"), "bad-value", "a header needs a name");
        }
        CustomTag::Formatter(format) => {
            if let Err(error) = check_log_format(format) {
                report.add(
                    Finding::warning("bad-format", error.to_string())
                        .at(&here.key("formatter"))
                        .in_force("spans without this tag"),
                );
            } else if format.is_empty() {
                report.warning(
                    &here.key("formatter"),
                    "bad-format",
                    "without operators the tag has no value",
                );
            }
        }
        CustomTag::Unset => {
            report.warning(here, "empty-tag", "the tag has no value, and spans do not have it")
        }
        CustomTag::Literal(_) | CustomTag::Environment { .. } | CustomTag::Header { .. } => {}
    }
}

fn metrics(rule: &Metrics, path: &FieldPath, report: &mut Report) {
    providers(&rule.providers, path, report);
    for (index, change) in rule.overrides.iter().enumerate() {
        let here = path.key("overrides").index(index);
        let named = &here.key("match").key("metric");
        if change.matches.custom_metric.is_given() && change.matches.metric.is_some() {
            report.error(named, "bad-value", "only one of metric and customMetric may be given");
        }
        if let Some(metric @ (IstioMetric::GrpcRequestMessages | IstioMetric::GrpcResponseMessages)) =
            change.matches.metric
        {
            report.add(
                Finding::warning("not-supported-yet", format!("{metric:?} is not counted yet"))
                    .at(named)
                    .in_force("nothing is counted, and nothing is overridden"),
            );
        }
        for (name, change) in &change.tag_overrides {
            tag(name, change, &here.key("tagOverrides").key(name), report);
        }
    }
}

fn tag(name: &str, change: &TagOverride, here: &FieldPath, report: &mut Report) {
    if !is_metric_label(name) {
        report.add(
            Finding::warning("bad-label", format!("`{name}` is no name of a label in Prometheus"))
                .at(here)
                .in_force("the metric without this label")
                .hint("letters, digits and `_`, no digit first"),
        );
    }
    match (change.operation, &change.value) {
        (TagOperation::Upsert, None) => report.error(&here.key("value"), "bad-value", "UPSERT needs a value"),
        (TagOperation::Remove, Some(_)) => {
            report.error(&here.key("value"), "bad-value", "REMOVE takes no value")
        }
        (TagOperation::Upsert, Some(value)) if value.operator().is_none() => {
            let why = value.fault().map_or_else(
                || "in a metric, no `)` may come before a `%` or a `:`, and no line may end".to_owned(),
                ToString::to_string,
            );
            report.add(
                Finding::warning("bad-expression", why)
                    .at(&here.key("value"))
                    .in_force("the label as it is without this"),
            );
        }
        (TagOperation::Upsert, Some(_)) | (TagOperation::Remove, None) => {}
    }
}

fn access_logging(rule: &AccessLogging, path: &FieldPath, report: &mut Report) {
    providers(&rule.providers, path, report);
    let here = path.key("filter").key("expression");
    let fault = rule.filter.as_ref().and_then(|filter| filter.expression.as_ref()?.fault());
    match fault {
        Some(fault @ CelFault::Syntax(_)) => report.error(&here, "bad-expression", fault.to_string()),
        Some(fault @ CelFault::Envoy(_)) => {
            report.add(
                Finding::warning("bad-expression", fault.to_string())
                    .at(&here)
                    .in_force("nothing is logged by this rule"),
            );
        }
        None => {}
    }
}
