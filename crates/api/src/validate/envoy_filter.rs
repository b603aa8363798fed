//! EnvoyFilter: patches that are complete, and whose values are messages of Envoy's (Istio: pkg/config/validation/envoyfilter).

mod value;

use super::{Report, labels, target_ref};
use crate::EnvoyFilter;
use crate::envoy_filter::{ApplyTo, ChainFilter, ConfigPatch, Context, Operation, Patch, PatchMatch};
use crate::field::FieldPath;
use crate::finding::Finding;

/// The filter that has filters of its own.
const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// The filter that sends requests on.
const ROUTER: &str = "envoy.filters.http.router";

/// How long an expression for versions may be; a longer one is of no version (Istio: pilot/pkg/model/envoyfilter.go).
const VERSION: usize = 1024;

pub(super) fn check(filter: &EnvoyFilter, path: &FieldPath, report: &mut Report) {
    if let Some(selector) = &filter.workload_selector {
        labels::selector_at(&selector.labels, &path.key("workloadSelector"), "labels", report);
    }
    if filter.workload_selector.is_some() && !filter.target_refs.is_empty() {
        let message = "only one of workloadSelector and targetRefs may be given";
        report.error(&path.key("workloadSelector"), "bad-value", message);
    }
    for (index, target) in filter.target_refs.iter().enumerate() {
        target_ref::check(target, &path.key("targetRefs").index(index), report);
    }
    for (index, patch) in filter.config_patches.iter().enumerate() {
        // A waypoint's are not looked at, as in Istio; that there is none says another finding.
        let path = path.key("configPatches").index(index);
        if patch.matching.context == Context::Waypoint {
            report.add(
                Finding::warning("not-supported-yet", "there are no waypoints yet")
                    .at(&path.key("match").key("context"))
                    .in_force("the patch is left out"),
            );
        } else {
            one(patch, &path, report);
        }
    }
}

fn one(written: &ConfigPatch, path: &FieldPath, report: &mut Report) {
    let incomplete = |report: &mut Report, field: &FieldPath, message: &str| {
        report.error(field, "incomplete-patch", message);
    };
    if written.apply_to == ApplyTo::Invalid {
        return incomplete(report, &path.key("applyTo"), "applyTo must say what is patched");
    }
    let here = path.key("patch");
    let Some(patch) = &written.patch else {
        return incomplete(report, &here, "a patch must say what is done");
    };
    if patch.operation == Operation::Invalid {
        return incomplete(report, &here.key("operation"), "operation must say what is done");
    }
    if patch.operation != Operation::Remove && patch.value.is_none() {
        return incomplete(report, &here.key("value"), "only REMOVE goes without a value");
    }
    if written.apply_to == ApplyTo::Bootstrap {
        report.add(
            Finding::warning("patch-without-effect", "no proxy asks for a patched bootstrap any more")
                .at(&path.key("applyTo"))
                .in_force("the patch is left out, as in Istio")
                .hint("give the proxy's agent a bootstrap of its own"),
        );
    }
    if matching(written, &path.key("match"), report) {
        operation(written, patch, &here.key("operation"), report);
        if let Some(free) = &patch.value {
            value::check(written.apply_to, &free.0, &here.key("value"), report);
        }
    }
}

/// What the patch is for. False if it makes no sense to say more.
fn matching(written: &ConfigPatch, path: &FieldPath, report: &mut Report) -> bool {
    let PatchMatch { proxy, listener, route_configuration, cluster, waypoint, .. } = &written.matching;
    let version = proxy.as_ref().map(|proxy| proxy.proxy_version.as_str()).unwrap_or_default();
    let here = path.key("proxy").key("proxyVersion");
    if version.chars().count() > VERSION {
        report.add(
            Finding::warning("bad-value", format!("an expression has at most {VERSION} characters"))
                .at(&here)
                .in_force("the patch is for no proxy"),
        );
    } else if !version.is_empty()
        && let Err(error) = crate::value::Regex::parse(version)
    {
        report.error(&here, "bad-value", error.to_string());
        return false;
    }
    let given = [
        ("listener", listener.is_some()),
        ("routeConfiguration", route_configuration.is_some()),
        ("cluster", cluster.is_some()),
        ("waypoint", waypoint.is_some()),
    ];
    let given: Vec<&str> = given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect();
    if let [_, second, ..] = given.as_slice() {
        report.error(&path.key(second), "bad-match", "a patch matches things of one kind");
        return false;
    }
    let wanted = match written.apply_to {
        // Istio does not look at what these are matched by.
        ApplyTo::ListenerFilter | ApplyTo::ExtensionConfig | ApplyTo::Bootstrap | ApplyTo::Invalid => None,
        ApplyTo::Cluster => Some("cluster"),
        apply_to if apply_to.is_of_routes() => Some("routeConfiguration"),
        _ => Some("listener"),
    };
    if let (Some(wanted), Some(given)) = (wanted, given.first())
        && wanted != *given
    {
        report.add(
            Finding::error("bad-match", format!("what is patched is matched by `{wanted}`"))
                .at(&path.key(given))
                .hint(format!("write match.{wanted}, or another applyTo")),
        );
        return false;
    }
    let chain = listener.as_ref().and_then(|listener| listener.filter_chain.as_ref());
    match chain.and_then(|chain| chain.filter.as_ref()) {
        Some(filter) if written.apply_to.is_of_listener() && written.apply_to != ApplyTo::ListenerFilter => {
            of_filter(
                written.apply_to,
                filter,
                &path.key("listener").key("filterChain").key("filter"),
                report,
            )
        }
        _ => true,
    }
}

fn of_filter(apply_to: ApplyTo, filter: &ChainFilter, path: &FieldPath, report: &mut Report) -> bool {
    if matches!(apply_to, ApplyTo::Listener | ApplyTo::FilterChain) {
        report.warning(
            path,
            "patch-without-effect",
            "which filter a chain has does not count for listeners and chains",
        );
    }
    if filter.name.is_empty() {
        report.error(&path.key("name"), "bad-match", "a filter is matched by its name");
        return false;
    }
    old_name(&filter.name, &path.key("name"), report);
    let Some(sub) = &filter.sub_filter else { return true };
    let here = path.key("subFilter");
    if apply_to != ApplyTo::HttpFilter {
        report.error(&here, "bad-match", "only applyTo HTTP_FILTER has a filter within a filter");
        return false;
    }
    if filter.name != CONNECTION_MANAGER && filter.name != "envoy.http_connection_manager" {
        report.error(
            &here,
            "bad-match",
            format!("only {CONNECTION_MANAGER} has filters of its own, found {}", filter.name),
        );
        return false;
    }
    if sub.name.is_empty() {
        report.error(&here.key("name"), "bad-match", "a filter is matched by its name");
        return false;
    }
    old_name(&sub.name, &here.key("name"), report);
    true
}

/// Filters are matched by what they are called here, which is what Istio calls them (pkg/config/xds/deprecated.go).
fn old_name(name: &str, path: &FieldPath, report: &mut Report) {
    if let Some(now) = value::canonical_name(name) {
        report.add(
            Finding::warning("older-spelling", format!("no filter is called `{name}` any more"))
                .at(path)
                .hint(format!("write {now}"))
                .in_force("the patch matches nothing"),
        );
    } else if value::is_istios_own(name) {
        report.add(
            Finding::warning(
                "patch-without-effect",
                format!("`{name}` is a filter of Istio's own proxy, and not made here"),
            )
            .at(path)
            .hint("match a filter that Envoy has, such as envoy.filters.http.router")
            .in_force("the patch matches nothing"),
        );
    }
}

/// Operations that do nothing to what they are for (Istio: pilot/pkg/networking/core/envoyfilter).
fn operation(written: &ConfigPatch, patch: &Patch, path: &FieldPath, report: &mut Report) {
    use Operation::{
        Add, InsertAfter, InsertBefore, InsertFirst, Merge, MergeAndReplaceList, Remove, Replace,
    };
    let chain = written.matching.listener.as_ref().and_then(|listener| listener.filter_chain.as_ref());
    let filter = chain.and_then(|chain| chain.filter.as_ref());
    let named = match written.apply_to {
        ApplyTo::NetworkFilter => filter.is_some(),
        ApplyTo::HttpFilter => filter.is_some_and(|filter| filter.sub_filter.is_some()),
        ApplyTo::ListenerFilter => {
            written.matching.listener.as_ref().is_some_and(|listener| !listener.listener_filter.is_empty())
        }
        _ => true,
    };
    let operation = patch.operation;
    let without_effect = match written.apply_to {
        ApplyTo::Invalid | ApplyTo::Bootstrap => false,
        ApplyTo::Listener | ApplyTo::FilterChain | ApplyTo::Cluster => operation == Replace,
        ApplyTo::NetworkFilter | ApplyTo::HttpFilter | ApplyTo::ListenerFilter => {
            operation == MergeAndReplaceList
                || !named && matches!(operation, Remove | Replace)
                || !named && operation == Merge && written.apply_to == ApplyTo::ListenerFilter
        }
        ApplyTo::RouteConfiguration => !matches!(operation, Merge | MergeAndReplaceList),
        ApplyTo::VirtualHost => false,
        ApplyTo::HttpRoute => operation == Replace,
        ApplyTo::ExtensionConfig => !matches!(operation, Add | InsertAfter | InsertBefore | InsertFirst),
    };
    if without_effect {
        let message = if named {
            "this operation does nothing to what is patched"
        } else {
            "this operation does nothing unless a filter is matched by its name"
        };
        report.add(
            Finding::warning("patch-without-effect", message)
                .at(path)
                .in_force("the patch is left out, as in Istio"),
        );
    }
    if written.apply_to == ApplyTo::HttpFilter {
        let sub = filter.and_then(|filter| filter.sub_filter.as_ref()).map(|sub| sub.name.as_str());
        let ends = match operation {
            Add => true,
            InsertAfter => sub.is_none_or(|name| name == ROUTER),
            Remove | Replace => sub == Some(ROUTER),
            _ => false,
        };
        if ends && !patch.value.as_ref().is_some_and(|value| value::is_router(&value.0)) {
            let message = format!("{ROUTER} must be there, and be the last: Envoy refuses other listeners");
            report.add(
                Finding::warning("router-not-last", message)
                    .at(path)
                    .hint(format!("use INSERT_BEFORE with subFilter {ROUTER}"))
                    .in_force(
                        "once Envoy has refused it, the listener as it was, or as it is without the patches",
                    ),
            );
        }
    }
}
