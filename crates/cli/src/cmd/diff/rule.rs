//! A route of a virtual host in words: which requests it takes, and what it does with them.

use std::fmt;

use serde_json::Value;

use super::change::Target;
use super::fields::{self, Field};

/// A route.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// What it matches; what it is known again by.
    pub(crate) matching: Value,
    /// The same in words: `requests whose path begins with /api`.
    pub(crate) who: String,
    /// What becomes of them.
    pub(crate) then: String,
    pub(crate) json: Value,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.who, self.then)
    }
}

/// The routes of a virtual host, in order.
pub(crate) fn all(virtual_host: &Value) -> Vec<Rule> {
    let routes = virtual_host["routes"].as_array().into_iter().flatten();
    routes
        .map(|route| Rule {
            matching: route["match"].clone(),
            who: who(&route["match"]),
            then: then(route),
            json: route.clone(),
        })
        .collect()
}

/// A cluster with its part of the requests, in percent.
pub(crate) type Part = (String, f64);

impl Rule {
    /// Where the requests go; none where they go nowhere.
    pub(crate) fn shares(&self) -> Option<Vec<Part>> {
        shares_of(&self.json)
    }
}

fn shares_of(route: &Value) -> Option<Vec<Part>> {
    parts(route.get("route")?)
}

/// Where a route, or a TCP proxy, sends.
pub(crate) fn parts(route: &Value) -> Option<Vec<Part>> {
    if let Some(cluster) = route["cluster"].as_str() {
        return Some(vec![(cluster.to_owned(), 100.0)]);
    }
    let all = route["weighted_clusters"]["clusters"].as_array()?;
    let weight = |cluster: &Value| cluster["weight"].as_f64().unwrap_or_default();
    let sum: f64 = all.iter().map(weight).sum();
    let part = |cluster: &Value| {
        let share = if sum > 0.0 { weight(cluster) * 100.0 / sum } else { 0.0 };
        (cluster["name"].as_str().unwrap_or_default().to_owned(), share)
    };
    Some(all.iter().map(part).collect())
}

fn who(matching: &Value) -> String {
    let path = |field: &str| matching[field].as_str();
    let mut conditions = Vec::new();
    match (path("prefix"), path("path"), path("path_separated_prefix")) {
        (Some("/"), ..) => {}
        (Some(prefix), ..) => conditions.push(format!("path begins with {prefix}")),
        (_, Some(path), _) => conditions.push(format!("path is {path}")),
        (.., Some(prefix)) => conditions.push(format!("path is {prefix} or below it")),
        _ => {
            let regex = matching["safe_regex"]["regex"].as_str();
            conditions.extend(regex.map(|regex| format!("path matches {regex}")));
        }
    }
    for header in matching["headers"].as_array().into_iter().flatten() {
        let name = match header["name"].as_str().unwrap_or_default() {
            ":method" => "method".to_owned(),
            ":authority" => "host".to_owned(),
            ":scheme" => "scheme".to_owned(),
            name => format!("header {name}"),
        };
        let not = if header["invert_match"].as_bool() == Some(true) { "not " } else { "" };
        conditions.push(format!("{name} is {not}{}", wanted(header)));
    }
    for parameter in matching["query_parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        conditions.push(format!("query parameter {name} is {}", wanted(parameter)));
    }
    if conditions.is_empty() {
        "all requests".to_owned()
    } else {
        format!("requests whose {}", conditions.join(" and "))
    }
}

fn wanted(condition: &Value) -> String {
    let matcher = &condition["string_match"];
    for (how, words) in
        [("exact", ""), ("prefix", "begun by "), ("suffix", "ended by "), ("contains", "with ")]
    {
        if let Some(text) = matcher[how].as_str() {
            return format!("{words}\"{text}\"");
        }
    }
    match matcher["safe_regex"]["regex"].as_str() {
        Some(regex) => format!("such as {regex}"),
        None => "there".to_owned(),
    }
}

fn then(route: &Value) -> String {
    if let Some(redirect) = route.get("redirect") {
        return format!("a redirect ({})", compact(redirect));
    }
    if let Some(response) = route.get("direct_response") {
        return format!("an answer {} of the proxy itself", response["status"]);
    }
    shares_of(route).map_or_else(|| "what is not read".to_owned(), |parts| shares(&parts))
}

fn compact(value: &Value) -> String {
    let all = value.as_object().into_iter().flatten();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    all.map(|(name, value)| format!("{name} {}", text(value))).collect::<Vec<_>>().join(", ")
}

/// The cluster that takes nothing.
pub(crate) const NOWHERE: &str = "BlackHoleCluster";

/// The cluster that sends to where the client wanted to go.
const ANYWHERE: &str = "PassthroughCluster";

/// Where nothing goes any more, in words.
pub(crate) fn lost(before: &[Part], after: &[Part]) -> Vec<String> {
    // The same at another port is no loss.
    let goes = |to: &str| after.iter().any(|(name, share)| *share > 0.0 && title(name) == title(to));
    let lost = before.iter().filter(|(name, share)| *share > 0.0 && !goes(name));
    lost.map(|(name, _)| title(name)).collect()
}

/// A cluster as people speak of it.
pub(crate) fn title(cluster: &str) -> String {
    match cluster {
        NOWHERE => return "nowhere".to_owned(),
        ANYWHERE => return "wherever they are for".to_owned(),
        _ if cluster.starts_with("inbound|") => return "the application".to_owned(),
        _ => {}
    }
    Target::of_cluster(cluster).map_or_else(|| cluster.to_owned(), |target| target.title())
}

/// `90 % subset v1 of cart.shop, 10 % subset v2 of cart.shop`; one alone without its part.
pub(crate) fn shares(parts: &[Part]) -> String {
    match parts {
        [(name, _)] => title(name),
        _ => parts
            .iter()
            .map(|(name, share)| format!("{} {}", percent(*share), title(name)))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// The same where it is clear whose subset it is.
fn title_within(cluster: &str, host: &str) -> String {
    match Target::of_cluster(cluster) {
        Some(Target { host: own, subset: Some(subset), .. }) if own == host => subset,
        Some(Target { host: own, .. }) if own == host => "all versions".to_owned(),
        _ => title(cluster),
    }
}

/// Who gets more and who less, of the requests to that host.
pub(crate) fn moved(before: &[Part], after: &[Part], host: &str) -> String {
    let share = |all: &[Part], name: &str| -> f64 {
        all.iter().filter(|(other, _)| other == name).fold(0.0, |sum, (_, share)| sum + share)
    };
    let mut names: Vec<&String> = Vec::new();
    for (name, _) in before.iter().chain(after) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    // Two ports of one host are told apart.
    let called = |name: &str| {
        let own = title_within(name, host);
        let alike = names.iter().filter(|other| title_within(other, host) == own).count();
        let port = Target::of_cluster(name).and_then(|target| target.port).filter(|_| alike > 1);
        port.map_or(own.clone(), |port| format!("{own} at port {port}"))
    };
    if let ([(then, _)], [(now, _)]) = (before, after)
        && then != now
    {
        return format!("to {} -> to {}", called(then), called(now));
    }
    let told = names.iter().filter_map(|name| {
        let (then, now) = (share(before, name), share(after, name));
        (percent(then) != percent(now))
            .then(|| format!("{} {} -> {}", called(name), percent(then), percent(now)))
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() { "the same shares, written otherwise".to_owned() } else { told.join(", ") }
}

/// `25 %`, `33.3 %`.
pub(crate) fn percent(share: f64) -> String {
    if (share - share.round()).abs() < 0.05 { format!("{share:.0} %") } else { format!("{share:.1} %") }
}

/// Settings of a rule that differ, the usual ones in their own words.
pub(crate) fn settings(all: &[Field]) -> String {
    let mut told = Vec::new();
    let mut rest = Vec::new();
    for field in all {
        let value = |value: &Option<String>| match value.as_deref() {
            None | Some("0s") => "none".to_owned(),
            Some(value) => value.to_owned(),
        };
        let (before, after) = (value(&field.before), value(&field.after));
        let name = match field.path.as_str() {
            "route.timeout" => "timeout",
            "route.retry_policy.num_retries" => "retries",
            "route.retry_policy.per_try_timeout" => "timeout of each try",
            "route.retry_policy.retry_on" => "tried again after",
            "route.prefix_rewrite" => "path is sent on as",
            "route.host_rewrite_literal" => "host is sent on as",
            // It goes with the timeout.
            "route.max_grpc_timeout" => continue,
            _ => {
                rest.push(field.clone());
                continue;
            }
        };
        told.push(format!("{name} {before} -> {after}"));
    }
    if !rest.is_empty() {
        told.push(fields::told(&rest));
    }
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use super::{all, moved};
    use serde_json::json;

    #[test]
    fn a_rule_reads_as_a_person_says_it() {
        let routes = json!({"routes": [
            {"match": {"prefix": "/api", "headers": [{"name": "end-user", "string_match": {"exact": "jason"}}]},
             "route": {"cluster": "outbound|80|v2|cart.shop.svc.cluster.local"}},
            {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": [
                {"name": "outbound|80|v1|cart.shop.svc.cluster.local", "weight": 90},
                {"name": "outbound|80|v2|cart.shop.svc.cluster.local", "weight": 10}]}}},
            {"match": {"path": "/old"}, "redirect": {"path_redirect": "/new"}},
        ]});
        let rules = all(&routes);
        let said: Vec<String> = rules.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "requests whose path begins with /api and header end-user is \"jason\" to subset v2 of cart.shop",
                "all requests to 90 % subset v1 of cart.shop, 10 % subset v2 of cart.shop",
                "requests whose path is /old to a redirect (path_redirect /new)",
            ]
        );
        let then = rules[1].shares().unwrap();
        let now = vec![(then[1].0.clone(), 100.0)];
        let host = "cart.shop.svc.cluster.local";
        assert_eq!(moved(&then, &now, host), "v1 90 % -> 0 %, v2 10 % -> 100 %");
        assert_eq!(
            moved(&then, &now, "other"),
            "subset v1 of cart.shop 90 % -> 0 %, subset v2 of cart.shop 10 % -> 100 %"
        );
    }
}
