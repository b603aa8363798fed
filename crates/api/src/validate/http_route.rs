//! One rule for HTTP requests.

use super::destination::{destination, weights};
use super::{Report, cors, fault, headers, http_match, older_spelling, retry};
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::{StringMatch, is_dns_label};
use crate::virtual_service::{
    Delegate, DirectResponse, HttpDestination, HttpMatch, HttpRoute, Redirect, Rewrite,
};

/// `in_delegate`: the rule stands in a VirtualService without hosts.
pub(super) fn check(rule: &HttpRoute, in_delegate: bool, path: &FieldPath, report: &mut Report) {
    match &rule.delegate {
        Some(delegate) if in_delegate => {
            self::delegate(delegate, &path.key("delegate"), report);
            report.add(
                Finding::error("nested-delegate", "a VirtualService without hosts does not delegate again")
                    .at(&path.key("delegate"))
                    .hint("let the one with hosts delegate to the last"),
            );
        }
        Some(delegate) => {
            self::delegate(delegate, &path.key("delegate"), report);
            delegating(rule, path, report);
        }
        None => action(rule, path, report),
    }
    for (index, matching) in rule.matches.iter().enumerate() {
        http_match::check(matching, &path.key("match").index(index), report);
    }
    destinations(&rule.route, &path.key("route"), report);
    if let Some(redirect) = &rule.redirect {
        self::redirect(redirect, &rule.matches, &path.key("redirect"), report);
    }
    if let Some(response) = &rule.direct_response {
        direct_response(response, &path.key("directResponse"), report);
    }
    if let Some(rewrite) = &rule.rewrite {
        self::rewrite(rewrite, &path.key("rewrite"), report);
    }
    authority(rule, path, report);
    timeout(rule, &path.key("timeout"), report);
    if let Some(retries) = &rule.retries {
        retry::check(retries, &path.key("retries"), report);
    }
    if let Some(fault) = &rule.fault {
        fault::check(fault, &path.key("fault"), report);
    }
    if let Some(policy) = &rule.cors_policy {
        cors::check(policy, &path.key("corsPolicy"), report);
    }
    mirrors(rule, path, report);
    headers::operations(&rule.headers, &path.key("headers"), report);
}

/// A rule that delegates (Istio: pkg/config/validation, `validateHTTPRouteConflict`): it does nothing else with a request, and what it
/// says besides is what its delegate's rules inherit.
fn delegating(rule: &HttpRoute, path: &FieldPath, report: &mut Report) {
    for (name, given) in [("route", !rule.route.is_empty()), ("redirect", rule.redirect.is_some())] {
        if given {
            report.error(&path.key(name), "conflicting-actions", "a rule that delegates does nothing else");
        }
    }
}

fn delegate(delegate: &Delegate, path: &FieldPath, report: &mut Report) {
    if delegate.name.is_empty() {
        report.add(
            Finding::warning("no-delegate", "the rule delegates to nobody: `name` is missing")
                .at(path)
                .in_force("the rule is left out")
                .hint("name a VirtualService that has no hosts"),
        );
    }
    if let Some(namespace) = delegate.namespace.as_ref().filter(|name| !is_dns_label(name.as_str())) {
        report.warning(
            &path.key("namespace"),
            "no-delegate",
            format!("`{namespace}` is not the name of a namespace"),
        );
    }
}

/// A rule does one thing.
fn action(rule: &HttpRoute, path: &FieldPath, report: &mut Report) {
    let answers = [("redirect", rule.redirect.is_some()), ("directResponse", rule.direct_response.is_some())];
    let others = [
        ("route", !rule.route.is_empty()),
        ("fault", rule.fault.is_some()),
        ("rewrite", rule.rewrite.is_some()),
    ];
    if rule.route.is_empty() && answers.iter().all(|(_, given)| !given) {
        report.add(
            Finding::error("no-action", "the rule says what to match, not what to do")
                .at(path)
                .hint("add route, redirect or directResponse"),
        );
    }
    for (answer, _) in answers.iter().filter(|(_, given)| *given) {
        for (other, _) in
            others.iter().chain(&answers[1..]).filter(|(other, given)| *given && other != answer)
        {
            report.add(
                Finding::error("conflicting-actions", format!("`{answer}` and `{other}` exclude each other"))
                    .at(&path.key(other))
                    .hint("keep one of them, or write two rules"),
            );
        }
    }
}

fn destinations(route: &[HttpDestination], path: &FieldPath, report: &mut Report) {
    for (index, entry) in route.iter().enumerate() {
        let here = path.index(index);
        destination(&entry.destination, &here.key("destination"), report);
        headers::operations(&entry.headers, &here.key("headers"), report);
    }
    let all: Vec<u32> = route.iter().map(|entry| entry.weight).collect();
    weights(&all, "request", path, report);
}

fn redirect(redirect: &Redirect, matches: &[HttpMatch], path: &FieldPath, report: &mut Report) {
    if *redirect == Redirect::default() {
        report.error(
            path,
            "bad-redirect",
            "a redirect says where to: uri, prefixRewrite, authority, scheme or port",
        );
    }
    let prefix = path.key("prefixRewrite");
    if redirect.prefix_rewrite.is_some() {
        if redirect.uri.is_some() {
            report.error(&prefix, "bad-redirect", "`uri` and `prefixRewrite` exclude each other");
        }
        let is_prefix = |matching: &HttpMatch| matches!(&matching.uri, None | Some(StringMatch::Prefix(_)));
        if !matches.iter().all(is_prefix) {
            report.add(
                Finding::error("bad-redirect", "the path is matched by something else than a prefix")
                    .at(&prefix)
                    .hint("match by uri.prefix, or write redirect.uri"),
            );
        }
    }
    if let Some(scheme) = redirect.scheme.as_deref().filter(|scheme| !matches!(*scheme, "http" | "https")) {
        report.error(&path.key("scheme"), "bad-redirect", format!("`{scheme}` is not http or https"));
    }
    if redirect.port.is_some() && redirect.derive_port.is_some() {
        report.error(&path.key("derivePort"), "bad-redirect", "`port` and `derivePort` exclude each other");
    }
    if let Some(code) = redirect.redirect_code.map(|status| status.code()) {
        let here = path.key("redirectCode");
        match code {
            301 | 302 | 303 | 307 | 308 => {}
            300..=399 => report.add(
                Finding::warning("bad-redirect", format!("Envoy does not redirect with {code}"))
                    .at(&here)
                    .in_force("it redirects with 301")
                    .hint("write 301, 302, 303, 307 or 308"),
            ),
            _ => report.error(&here, "bad-redirect", format!("{code} is no redirect (300 to 399)")),
        }
    }
}

fn direct_response(response: &DirectResponse, path: &FieldPath, report: &mut Report) {
    let code = response.status.code();
    if code < 200 {
        report.error(&path.key("status"), "bad-status", format!("{code} ends no request; write 200 to 600"));
    }
    let size = response.body.as_ref().map_or(0, |body| body.0.len());
    if size > 1 << 20 {
        report.error(
            &path.key("body"),
            "large-body",
            format!("the body has {size} bytes; 1 MiB is the most"),
        );
    } else if size > 100 << 10 {
        report.warning(
            &path.key("body"),
            "large-body",
            format!("the body has {size} bytes, and every proxy holds it"),
        );
    }
}

fn rewrite(rewrite: &Rewrite, path: &FieldPath, report: &mut Report) {
    match (&rewrite.uri, &rewrite.uri_regex_rewrite, &rewrite.authority) {
        (None, None, None) => {
            report.error(path, "bad-rewrite", "a rewrite says what: uri, uriRegexRewrite or authority");
        }
        (Some(_), Some(_), _) => {
            report.error(&path.key("uri"), "bad-rewrite", "`uri` and `uriRegexRewrite` exclude each other");
        }
        (None, Some(regex), _) if regex.rewrite.is_empty() => report.error(
            &path.key("uriRegexRewrite"),
            "bad-rewrite",
            "`rewrite` is missing: what stands in place of the match",
        ),
        _ => {}
    }
}

/// The authority is rewritten in one place only.
fn authority(rule: &HttpRoute, path: &FieldPath, report: &mut Report) {
    let request = &rule.headers.request;
    let sets = [&request.set, &request.add];
    let by_headers = sets.iter().flat_map(|names| names.keys()).filter(|name| name.is_authority()).count();
    let by_rewrite = rule.rewrite.as_ref().is_some_and(|rewrite| rewrite.authority.is_some());
    if by_headers + usize::from(by_rewrite) > 1 {
        report.error(
            &path.key("headers").key("request"),
            "conflicting-actions",
            "the authority is set more than once",
        );
    }
}

fn timeout(rule: &HttpRoute, path: &FieldPath, report: &mut Report) {
    match rule.timeout {
        // Envoy's own word for "no limit", which Istio's schema refuses since it has one.
        Some(timeout) if timeout.is_zero() => report.add(
            Finding::warning("bad-duration", "a timeout of 0s is refused by a cluster with Istio")
                .at(path)
                .in_force("the request has no time limit")
                .hint("leave the timeout out"),
        ),
        timeout => report.duration(path, timeout),
    }
}

fn mirrors(rule: &HttpRoute, path: &FieldPath, report: &mut Report) {
    if let Some(mirror) = &rule.mirror {
        destination(mirror, &path.key("mirror"), report);
        if !rule.mirror_list.is_empty() {
            report.error(
                &path.key("mirrors"),
                "conflicting-actions",
                "`mirror` and `mirrors` exclude each other",
            );
        }
    } else if rule.mirror_percentage.is_some() || rule.mirror_percent.is_some() {
        let name = if rule.mirror_percentage.is_some() { "mirrorPercentage" } else { "mirrorPercent" };
        report.warning(&path.key(name), "no-mirror", "without `mirror` nothing is mirrored");
    }
    for (index, mirror) in rule.mirror_list.iter().enumerate() {
        destination(&mirror.destination, &path.key("mirrors").index(index).key("destination"), report);
    }
    if let Some(percent) = rule.mirror_percent {
        let here = path.key("mirrorPercent");
        if percent > 100 {
            report.error(&here, "bad-percentage", format!("a percentage is 0 to 100, found {percent}"));
        } else {
            report.add(older_spelling(&here, &format!("mirrorPercentage: {{value: {percent}}}")));
        }
    }
}
