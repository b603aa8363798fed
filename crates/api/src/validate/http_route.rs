//! One rule for HTTP requests.

use super::{Report, fault, headers, http_match, older_spelling, retry};
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::is_dns_label;
use crate::virtual_service::{Destination, DirectResponse, HttpDestination, HttpRoute, Redirect, Rewrite};

pub(super) fn check(rule: &HttpRoute, path: &FieldPath, report: &mut Report) {
    action(rule, path, report);
    for (index, matching) in rule.matches.iter().enumerate() {
        http_match::check(matching, &path.key("match").index(index), report);
    }
    destinations(&rule.route, &path.key("route"), report);
    if let Some(redirect) = &rule.redirect {
        self::redirect(redirect, &path.key("redirect"), report);
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
    mirrors(rule, path, report);
    headers::operations(&rule.headers, &path.key("headers"), report);
}

/// A rule does one thing.
fn action(rule: &HttpRoute, path: &FieldPath, report: &mut Report) {
    let answers = [("redirect", rule.redirect.is_some()), ("directResponse", rule.direct_response.is_some())];
    let others = [
        ("route", !rule.route.is_empty()),
        ("fault", rule.fault.is_some()),
        ("rewrite", rule.rewrite.is_some()),
    ];
    let delegate = rule.delegate.is_given();
    if rule.route.is_empty() && !delegate && answers.iter().all(|(_, given)| !given) {
        report.add(
            Finding::error("no-action", "the rule says what to match, not what to do")
                .at(path)
                .hint("add route, redirect or directResponse"),
        );
    }
    if delegate && (!rule.route.is_empty() || answers.iter().any(|(_, given)| *given)) {
        report.error(&path.key("delegate"), "conflicting-actions", "a rule that delegates does nothing else");
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
    let sum: u64 = route.iter().map(|entry| u64::from(entry.weight)).sum();
    match route {
        [] => {}
        // Flagger leaves the weight 0 on a destination that is alone (facts: it must receive all traffic).
        [only] if matches!(only.weight, 0 | 100) => {}
        [only] => report.add(
            Finding::warning(
                "weight-sum",
                format!("the only destination gets every request, not {}%", only.weight),
            )
            .at(&path.index(0).key("weight"))
            .hint("add the destination for the rest, or leave the weight out"),
        ),
        _ if sum == 0 => report.add(
            Finding::error("weight-sum", "none of the destinations has a weight")
                .at(path)
                .hint("give each a weight"),
        ),
        _ if sum != 100 => report.add(
            Finding::warning("weight-sum", format!("the weights sum to {sum}, not 100"))
                .at(path)
                .in_force(format!("each destination gets its weight of {sum}"))
                .hint("make them sum to 100"),
        ),
        _ => {}
    }
}

fn destination(destination: &Destination, path: &FieldPath, report: &mut Report) {
    if destination.host.is_wildcard() {
        report.error(
            &path.key("host"),
            "bad-host",
            format!("`{}` is a wildcard; requests go to one host", destination.host),
        );
    }
    if let Some(subset) = destination.subset.as_deref().filter(|subset| !is_dns_label(subset)) {
        report.error(&path.key("subset"), "bad-subset", format!("`{subset}` is not the name of a subset"));
    }
}

fn redirect(redirect: &Redirect, path: &FieldPath, report: &mut Report) {
    if *redirect == Redirect::default() {
        report.error(path, "bad-redirect", "a redirect says where to: uri, authority, scheme or port");
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
