//! Clusters and their endpoints that differ.

use std::collections::BTreeMap;

use serde_json::Value;

use super::change::{Change, FEWER_ENDPOINTS, NO_ENDPOINTS, Target, What, json};
use super::fields;
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
        None => "it".to_owned(),
    };
    let change = |text: String| {
        let change = Change::new(step, subject.as_str(), What::Cluster, text);
        match &target {
            Some(target) => change.of_host(target),
            None => change,
        }
    };
    Ok(match (&step.before, &step.after) {
        (None, _) if title == "connections" => vec![change("can be connected to".to_owned())],
        (None, _) if inbound.is_some() => vec![change("a service leads there now".to_owned())],
        (_, None) if inbound.is_some() => vec![change("no service leads there any more".to_owned())],
        (None, _) => vec![change(format!("{title} is new"))],
        (_, None) if title == "connections" => vec![change("cannot be connected to any more".to_owned())],
        (_, None) => vec![change(format!("{title} is gone"))],
        (Some(before), Some(after)) => {
            let before = json(step.type_url, Some(before))?;
            let after = json(step.type_url, Some(after))?;
            let all = fields::between(&before, &after, &["metadata", "alt_stat_name"]);
            if all.is_empty() {
                let fields = fields::between(&before, &after, &[]);
                vec![
                    change(format!("{title}: only what it is called in metrics and logs changes"))
                        .with(fields),
                ]
            } else {
                vec![change(format!("{title}: {}", fields::told(&all))).with(all)]
            }
        }
    })
}

/// What is told of a load assignment.
pub(crate) fn endpoints(step: &Step) -> anyhow::Result<Vec<Change>> {
    let Some(target) = Target::of_cluster(step.name.as_str()) else { return Ok(Vec::new()) };
    let change = |text: String| Change::new(step, target.subject(), What::Endpoints, text).of_host(&target);
    let before = json(step.type_url, step.before.as_deref())?;
    let after = json(step.type_url, step.after.as_deref())?;
    let (had, has) = (places(&before), places(&after));
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
    let fields = fields::between(&before, &after, &[]);
    if parts.is_empty() {
        parts.push(format!("the same endpoints, otherwise balanced: {}", fields::told(&fields)));
    }
    let told = change(format!("{title}: {}", parts.join("; "))).with(fields);
    let told = match now {
        0 if then > 0 => {
            told.warning(NO_ENDPOINTS, format!("{title} loses its last endpoint: requests to it get 503"))
        }
        _ if now < then => {
            told.warning(FEWER_ENDPOINTS, format!("{title} has fewer endpoints: {then} -> {now}"))
        }
        _ => told,
    };
    Ok(vec![told])
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
