//! Clusters and their endpoints that differ.

use std::collections::BTreeMap;

use serde_json::Value;

use super::change::{Change, FEWER_ENDPOINTS, HOST_UNKNOWN, NO_ENDPOINTS, Target, What, json};
use super::fields::{self, Field};
use super::step::Step;

/// Endpoints that are named; the rest is counted.
const NAMED: usize = 4;

/// What is told of a cluster.
pub(crate) fn changes(step: &Step) -> anyhow::Result<Vec<Change>> {
    let target = Target::of_cluster(step.name.as_str());
    let inbound = step.name.as_str().strip_prefix("inbound|").and_then(|rest| rest.split('|').next());
    let subject = match (&target, inbound) {
        (Some(target), _) => target.subject(),
        (None, Some(port)) => format!("inbound port {port}"),
        (None, None) => format!("cluster {}", step.name),
    };
    let title = match &target {
        Some(Target { subset: Some(subset), .. }) => format!("subset {subset}"),
        Some(_) => "connections".to_owned(),
        None if inbound.is_some() => "connections to the application".to_owned(),
        None => "connections".to_owned(),
    };
    let change = |text: String| {
        let change = Change::new(step, subject.as_str(), What::Cluster, text);
        match &target {
            Some(target) => change.of_host(target),
            None => change,
        }
    };
    Ok(match (&step.before, &step.after) {
        (None, _) if target.is_some() && title == "connections" => {
            vec![change("can be connected to".to_owned())]
        }
        (None, _) if inbound.is_some() => vec![change("a service leads there now".to_owned())],
        (_, None) if inbound.is_some() => vec![change("no service leads there any more".to_owned())],
        (None, _) => vec![change(format!("{title} is new"))],
        (_, None) if target.is_some() && title == "connections" => {
            let text = "cannot be connected to any more";
            vec![change(text.to_owned()).warning(HOST_UNKNOWN, format!("{subject} {text}"))]
        }
        (_, None) => vec![change(format!("{title} is gone"))],
        (Some(before), Some(after)) => {
            let before = json(step.type_url, Some(before))?;
            let after = json(step.type_url, Some(after))?;
            let all = fields::between(&before, &after, &["metadata", "alt_stat_name", OWN]);
            // Endpoints that are names stand in the cluster itself.
            let own = match (&target, before.get(OWN), after.get(OWN)) {
                (Some(target), Some(then), Some(now)) if then != now => Some(moved(step, target, then, now)),
                _ => None,
            };
            if let Some(own) = own.clone().filter(|_| all.is_empty()) {
                vec![own]
            } else if all.is_empty() {
                let fields = fields::between(&before, &after, &[]);
                vec![
                    change(format!("{title}: only what it is called in metrics and logs changes"))
                        .with(fields),
                ]
            } else {
                let told = change(format!("{title}: {}", settings(&all))).with(all);
                std::iter::once(told).chain(own).collect()
            }
        }
    })
}

/// Settings of connections that differ, the usual ones in their own words.
fn settings(all: &[Field]) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut rest = Vec::new();
    for field in all {
        let name = field.path.rsplit('.').next().unwrap_or_default();
        let words = WORDS.iter().find(|(last, _)| *last == name);
        let is_pool = field.path.starts_with("circuit_breakers") || !name.starts_with("max_");
        match words.filter(|_| is_pool || name == "max_requests_per_connection") {
            Some((_, words)) => {
                let value = |value: &Option<String>| match value.as_deref() {
                    // The first of Envoy's ways, and what it takes for no limit.
                    None if name == "lb_policy" => "ROUND_ROBIN".to_owned(),
                    None | Some("4294967295" | "0s") => "no limit".to_owned(),
                    Some(value) => value.to_owned(),
                };
                let text = format!("{words} {} -> {}", value(&field.before), value(&field.after));
                if !told.contains(&text) {
                    told.push(text);
                }
            }
            None => rest.push(field.clone()),
        }
    }
    for (whole, words) in WHOLE {
        let at = |field: &Field| {
            let rest = field.path.strip_prefix(*whole);
            rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('[') && rest.ends_with(']')))
                && !field.path.contains("].")
        };
        let here: Vec<&Field> = rest.iter().filter(|field| at(field)).collect();
        let added = here.iter().any(|field| field.before.is_none());
        let gone = here.iter().any(|field| field.after.is_none());
        match (added, gone) {
            (true, false) => told.push(format!("{words} now")),
            (false, true) => told.push(format!("{words} no more")),
            _ => continue,
        }
        rest.retain(|field| !at(field) || (field.before.is_some() && field.after.is_some()));
    }
    let kind = |field: &Field| matches!(field.path.as_str(), "type" | "cluster_type");
    if rest.iter().any(kind) {
        let found = |side: fn(&Field) -> &Option<String>| {
            let said = rest.iter().filter(|field| kind(field)).find_map(|field| side(field).as_deref());
            match said {
                Some("EDS") => "as the mesh knows them",
                Some("STRICT_DNS" | "LOGICAL_DNS") => "by DNS",
                Some("ORIGINAL_DST") => "by the address that is called",
                _ => "otherwise",
            }
        };
        told.push(format!(
            "endpoints are found {} -> {}",
            found(|field| &field.before),
            found(|field| &field.after)
        ));
        rest.retain(|field| {
            let goes_along = ["dns_", "eds_cluster_config", "respect_dns_ttl"];
            !kind(field) && !goes_along.iter().any(|with| field.path.starts_with(with))
        });
    }
    // They go with what balances.
    let balances = all.iter().any(|field| field.path == "lb_policy");
    rest.retain(|field| !balances || !field.path.ends_with("_lb_config"));
    let (tls, rest): (Vec<Field>, Vec<Field>) =
        rest.into_iter().partition(|field| field.path.starts_with("transport_socket"));
    if !tls.is_empty() {
        let count = if tls.len() == 1 { "1 field" } else { &format!("{} fields", tls.len()) };
        told.push(format!("TLS is set up otherwise ({count})"));
    }
    if !rest.is_empty() {
        told.push(fields::told(&rest));
    }
    told.join("; ")
}

/// The last step of a setting's path, and what people call it.
const WORDS: &[(&str, &str)] = &[
    ("max_connections", "connections at most"),
    ("max_pending_requests", "requests that wait at most"),
    ("max_requests", "requests at a time at most"),
    ("max_retries", "retries at a time at most"),
    ("max_requests_per_connection", "requests of one connection at most"),
    ("connect_timeout", "a connection may take"),
    ("idle_timeout", "an idle connection stays for"),
    ("lb_policy", "balanced by"),
    ("consecutive_5xx", "an endpoint is set aside after answers of 5xx in a row"),
    ("consecutive_gateway_failure", "an endpoint is set aside after answers of 502 to 504 in a row"),
    ("base_ejection_time", "an endpoint is set aside for"),
    ("max_ejection_percent", "percent of endpoints set aside at most"),
];

/// Settings that come and go as a whole.
const WHOLE: &[(&str, &str)] = &[
    ("transport_socket", "connections are encrypted"),
    ("transport_socket_matches", "mutual TLS is spoken where the other side takes it,"),
    ("outlier_detection", "endpoints that fail are set aside"),
];

/// What is told of a load assignment.
pub(crate) fn endpoints(step: &Step) -> anyhow::Result<Vec<Change>> {
    let Some(target) = Target::of_cluster(step.name.as_str()) else { return Ok(Vec::new()) };
    let change = |text: String| Change::new(step, target.subject(), What::Endpoints, text).of_host(&target);
    let before = json(step.type_url, step.before.as_deref())?;
    let after = json(step.type_url, step.after.as_deref())?;
    let has = places(&after);
    // With its cluster it goes, and that is told.
    if step.after.is_none() {
        return Ok(Vec::new());
    }
    let title = target.title();
    if step.before.is_none() {
        return Ok(if has.is_empty() {
            let message = format!("{title} has no endpoints: requests to it get 503");
            vec![change(format!("{title}: no endpoints")).warning(NO_ENDPOINTS, message)]
        } else {
            vec![change(format!("{title}: {}", counted(has.len())))]
        });
    }
    Ok(vec![moved(step, &target, &before, &after)])
}

/// Where a cluster has its endpoints, if nobody else says them.
const OWN: &str = "load_assignment";

/// What is told of endpoints that are there before and after.
fn moved(step: &Step, target: &Target, before: &Value, after: &Value) -> Change {
    let change = |text: String| Change::new(step, target.subject(), What::Endpoints, text).of_host(target);
    let (had, has) = (places(before), places(after));
    let title = target.title();
    let taking = |all: &BTreeMap<String, String>| all.values().filter(|health| takes(health)).count();
    let gone: Vec<&String> = had.keys().filter(|place| !has.contains_key(*place)).collect();
    let come: Vec<&String> = has.keys().filter(|place| !had.contains_key(*place)).collect();
    let otherwise: Vec<&String> = has
        .iter()
        .filter(|(place, now)| had.get(*place).is_some_and(|then| then != *now))
        .map(|(place, _)| place)
        .collect();
    let mut parts = Vec::new();
    let (then, now) = (taking(&had), taking(&has));
    if then != now {
        parts.push(format!("{then} -> {}", counted(now)));
    }
    for (what, all) in [("new", &come), ("gone", &gone), ("of another health", &otherwise)] {
        if !all.is_empty() {
            parts.push(format!("{} {} {what}", named(all), if all.len() == 1 { "is" } else { "are" }));
        }
    }
    let fields = fields::between(before, after, &[]);
    if parts.is_empty() {
        parts.push(format!("the same endpoints, otherwise balanced: {}", fields::told(&fields)));
    }
    let told = change(format!("{title}: {}", parts.join("; "))).with(fields);
    match now {
        0 if then > 0 => {
            told.warning(NO_ENDPOINTS, format!("{title} loses its last endpoint: requests to it get 503"))
        }
        _ if now < then => {
            told.warning(FEWER_ENDPOINTS, format!("{title} has fewer endpoints: {then} -> {now}"))
        }
        _ => told,
    }
}

fn takes(health: &str) -> bool {
    matches!(health, "" | "HEALTHY" | "UNKNOWN")
}

fn counted(count: usize) -> String {
    match count {
        0 => "no endpoints".to_owned(),
        1 => "1 endpoint".to_owned(),
        _ => format!("{count} endpoints"),
    }
}

fn named(all: &[&String]) -> String {
    let mut text = all.iter().take(NAMED).map(|place| place.as_str()).collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        text += &format!(" and {} more", all.len() - NAMED);
    }
    text
}

/// The endpoints by address, with their health.
fn places(assignment: &Value) -> BTreeMap<String, String> {
    let localities = assignment["endpoints"].as_array().into_iter().flatten();
    let all = localities.flat_map(|locality| locality["lb_endpoints"].as_array().into_iter().flatten());
    all.map(|endpoint| {
        let address = &endpoint["endpoint"]["address"];
        let place = match (&address["socket_address"], &address["pipe"]) {
            (Value::Object(socket), _) => {
                let host = socket.get("address").and_then(Value::as_str).unwrap_or_default();
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                format!("{host}:{}", socket.get("port_value").unwrap_or(&Value::Null))
            }
            (_, Value::Object(pipe)) => pipe.get("path").map_or_else(String::new, ToString::to_string),
            _ => address.to_string(),
        };
        (place, endpoint["health_status"].as_str().unwrap_or_default().to_owned())
    })
    .collect()
}
