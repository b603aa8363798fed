//! Rules and matches that no request reaches, because those before them take everything (Istio: IST0130, IST0131).

use super::Report;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::StringMatch;
use crate::virtual_service::{HttpMatch, HttpRoute};

/// Looks at no more than so many matches: the comparison is one of each with each before it.
pub(super) const MATCHES: usize = 500;

pub(super) fn check(rules: &[HttpRoute], path: &FieldPath, report: &mut Report) {
    // What a rule that delegates takes is up to its delegate, and none of it may be there.
    let acts = |rule: &HttpRoute| rule.delegate.is_none();
    let mut before: Vec<(usize, Option<&HttpMatch>)> = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let conditions: Vec<Option<&HttpMatch>> =
            if rule.matches.is_empty() { vec![None] } else { rule.matches.iter().map(Some).collect() };
        let hidden: Vec<Option<usize>> = conditions
            .iter()
            .map(|later| before.iter().find(|(_, earlier)| covers(*earlier, *later)).map(|(rule, _)| *rule))
            .collect();
        told("request", &hidden, &path.index(index), report);
        if acts(rule) && before.len() < MATCHES {
            before.extend(conditions.into_iter().map(|matching| (index, matching)));
        }
    }
}

/// Says of a rule which of its matches an earlier rule takes everything from: for each of them the number of that rule.
pub(super) fn told(what: &str, hidden: &[Option<usize>], rule: &FieldPath, report: &mut Report) {
    if let Some(Some(first)) = hidden.first().filter(|_| hidden.iter().all(Option::is_some)) {
        let message = format!("no {what} comes here: rule {first} takes them all");
        report.add(
            Finding::warning("unreachable-rule", message)
                .at(rule)
                .in_force("the first rule that matches decides")
                .hint("put the rule with the narrower match first"),
        );
        return;
    }
    for (position, earlier) in hidden.iter().enumerate() {
        if let Some(earlier) = earlier {
            let message = format!("rule {earlier} takes what would match here");
            let at = rule.key("match").index(position);
            report.add(Finding::warning("unreachable-match", message).at(&at));
        }
    }
}

/// Whether every request that fits `later` fits `earlier` too. No match at all fits every request.
fn covers(earlier: Option<&HttpMatch>, later: Option<&HttpMatch>) -> bool {
    let Some(earlier) = earlier else { return true };
    let everything = HttpMatch::default();
    let later = later.unwrap_or(&everything);
    let plain = |earlier: &Option<StringMatch>, later: &Option<StringMatch>| match (earlier, later) {
        (None, _) => true,
        (Some(earlier), Some(later)) => text_covers(earlier, later),
        (Some(_), None) => false,
    };
    uri_covers(earlier, later)
        && plain(&earlier.scheme, &later.scheme)
        && plain(&earlier.method, &later.method)
        && plain(&earlier.authority, &later.authority)
        && earlier
            .headers
            .iter()
            .all(|(name, text)| later.headers.get(name).is_some_and(|later| text_covers(text, later)))
        && earlier.without_headers.iter().all(|(name, text)| later.without_headers.get(name) == Some(text))
        && earlier
            .query_params
            .iter()
            .all(|(name, text)| later.query_params.get(name).is_some_and(|later| text_covers(text, later)))
        && (earlier.port.is_none() || earlier.port == later.port)
        && (earlier.source_namespace.is_none() || earlier.source_namespace == later.source_namespace)
        && earlier.source_labels.selects(later.source_labels.labels())
        // Gateways replace those of the whole resource, so lists that differ are not compared.
        && earlier.gateways == later.gateways
}

fn text_covers(earlier: &StringMatch, later: &StringMatch) -> bool {
    match (earlier, later) {
        (StringMatch::Present, _) => true,
        (StringMatch::Prefix(prefix), StringMatch::Prefix(text) | StringMatch::Exact(text)) => {
            text.starts_with(prefix.as_str())
        }
        (earlier, later) => earlier == later,
    }
}

fn uri_covers(earlier: &HttpMatch, later: &HttpMatch) -> bool {
    match (&earlier.uri, &later.uri) {
        (None | Some(StringMatch::Present), _) => true,
        // Every path begins with a slash.
        (Some(StringMatch::Prefix(prefix)), _) if prefix.is_empty() || prefix == "/" => true,
        (Some(StringMatch::Regex(regex)), _) if regex.as_str() == ".*" => true,
        (Some(_), None) => false,
        (Some(uri), Some(later_uri)) => {
            earlier.ignore_uri_case == later.ignore_uri_case && text_covers(uri, later_uri)
        }
    }
}
