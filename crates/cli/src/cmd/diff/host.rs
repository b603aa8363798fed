//! A virtual host that differs: the names that lead to it, and its rules.

use serde_json::Value;

use super::change::{Change, FEWER_DESTINATIONS, HOST_UNKNOWN, Target, What, json};
use super::extra;
use super::fields::{self, Field};
use super::rule;
use super::step::Step;

/// Fields of a route that say only where it comes from.
const LABELS: &[&str] = &["metadata", "decorator", "name", "stat_prefix"];

/// What is told of it.
pub(crate) fn changes(step: &Step, at_gateway: bool) -> anyhow::Result<Vec<Change>> {
    let target = Target::of_virtual_host(step.name.as_str());
    let subject = subject(&target, at_gateway);
    let change = |what, text: String| Change::new(step, subject.as_str(), what, text).of_host(&target);
    let before = json(step.type_url, step.before.as_deref())?;
    let after = json(step.type_url, step.after.as_deref())?;
    if let (Some(text), true) = (rest(step.name.as_str()), step.before.is_none() || step.after.is_none()) {
        // Another one is there instead.
        let told = step.after.is_some().then(|| change(What::Host, text.to_owned()));
        return Ok(told.into_iter().collect());
    }
    if step.before.is_none() {
        let names = listed(&after, "domains");
        let mut all = vec![change(What::Host, format!("is known now, as {}", shortest(&names)))];
        all.extend(rule::all(&after).iter().map(|rule| change(What::Route, format!("{rule}"))));
        return Ok(all);
    }
    if step.after.is_none() {
        if at_gateway {
            let message = format!("{subject} is served no more: clients get 404");
            let told = change(What::Host, "is served no more: clients get 404".to_owned());
            return Ok(vec![told.warning(HOST_UNKNOWN, message)]);
        }
        return Ok(vec![change(What::Host, "has no rules for requests any more".to_owned())]);
    }
    let mut all = Vec::new();
    let (had, has) = (listed(&before, "domains"), listed(&after, "domains"));
    let gone: Vec<&str> = had.iter().filter(|name| !has.contains(name)).map(String::as_str).collect();
    let come: Vec<&str> = has.iter().filter(|name| !had.contains(name)).map(String::as_str).collect();
    if !come.is_empty() {
        all.push(change(What::Host, format!("is known as {} too", come.join(", "))));
    }
    if !gone.is_empty() {
        let text = format!("{} leads there no more", gone.join(", "));
        all.push(change(What::Host, text.clone()).warning(HOST_UNKNOWN, format!("{subject}: {text}")));
    }
    all.extend(rules(&before, &after, (&target, &subject), &change));
    let rest = fields::between(&before, &after, &["domains", "routes", "name", "require_tls"]);
    let redirects = |state: &Value| state["require_tls"] == "ALL";
    match (redirects(&before), redirects(&after)) {
        (false, true) => {
            all.push(change(What::Host, "requests without TLS are redirected to https:// now".to_owned()));
        }
        (true, false) => {
            all.push(change(What::Host, "requests without TLS are redirected no more".to_owned()));
        }
        _ => {}
    }
    if !rest.is_empty() {
        all.push(change(What::Host, fields::told(&rest)).with(rest));
    }
    if all.is_empty() {
        let fields = fields::between(&before, &after, &[]);
        let text = "only what it is called in metrics and logs changes";
        all.push(change(What::Route, text.to_owned()).with(fields));
    }
    Ok(all)
}

/// What it is called.
pub(crate) fn subject(target: &Target, at_gateway: bool) -> String {
    let port = || target.port.map_or_else(String::new, |port| format!(" at port {port}"));
    if target.host == "allow_any" || target.host == "block_all" || target.host == "blackhole" {
        return format!("all other hosts{}", port());
    }
    if at_gateway { format!("gateway {}", target.subject()) } else { target.subject() }
}

/// What becomes of requests to hosts that nobody knows, for virtual hosts that are for those.
pub(crate) fn rest(name: &str) -> Option<&'static str> {
    match name.rsplit('/').next()?.split(':').next()? {
        "allow_any" => Some("requests go wherever they are for"),
        "block_all" => Some("requests are refused with 502"),
        "blackhole" => Some("requests get 404"),
        _ => None,
    }
}

fn listed(value: &Value, field: &str) -> Vec<String> {
    let all = value[field].as_array().into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn shortest(names: &[String]) -> &str {
    names.iter().min_by_key(|name| name.len()).map_or("nothing", String::as_str)
}

/// The rules that come, go, move and change. A rule is known again by what it matches.
fn rules(
    before: &Value,
    after: &Value,
    (target, subject): (&Target, &str),
    change: &impl Fn(What, String) -> Change,
) -> Vec<Change> {
    let (had, has) = (rule::all(before), rule::all(after));
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for (now, rule) in has.iter().enumerate() {
        let is_free = |place: &usize| !pairs.iter().any(|(then, _)| then == place);
        let matching = (0..had.len()).filter(is_free).filter(|place| had[*place].matching == rule.matching);
        // Of several that match the same, only the first is ever reached: order tells them apart.
        if let Some(then) = matching.min() {
            pairs.push((then, now));
        }
    }
    let mut all = Vec::new();
    for (place, rule) in had.iter().enumerate() {
        if !pairs.iter().any(|(then, _)| *then == place) {
            all.push(change(
                What::Route,
                format!("no more a rule of its own for {}: {}", rule.who, rule.then),
            ));
        }
    }
    for (place, rule) in has.iter().enumerate() {
        match pairs.iter().find(|(_, now)| *now == place) {
            None => {
                let before = has.get(place + 1).map(|next| format!(", before the one for {}", next.who));
                let text = format!("a new rule{}: {rule}", before.unwrap_or_default());
                all.push(change(What::Route, text));
            }
            Some((then, _)) => all.extend(paired(&had[*then], rule, (target, subject), change)),
        }
    }
    let mut order: Vec<usize> = pairs.iter().map(|(then, _)| *then).collect();
    let is_sorted = order.is_sorted();
    order.sort_unstable();
    if !is_sorted {
        let now: Vec<&str> = has.iter().map(|rule| rule.who.as_str()).collect();
        all.push(change(What::Route, format!("the rules change their order: {}", now.join("; "))));
    }
    all
}

fn paired(
    before: &rule::Rule,
    after: &rule::Rule,
    (target, subject): (&Target, &str),
    change: &impl Fn(What, String) -> Change,
) -> Option<Change> {
    let (mut parts, mut warning) = (Vec::new(), None);
    let (then, now) = (before.shares(), after.shares());
    if before.then != after.then || then != now {
        match (then, now) {
            (Some(then), Some(now)) => {
                parts.push(rule::moved(&then, &now, &target.host));
                let lost = rule::lost(&then, &now);
                if !lost.is_empty() {
                    let lost = lost.join(" and ");
                    warning = Some(format!("{subject}: of {}, none goes to {lost} any more", before.who));
                }
            }
            _ => parts.push(format!("{} -> {}", before.then, after.then)),
        }
    }
    let fields = fields::between(&before.json, &after.json, LABELS);
    let (extras, said) = extra::differences(&before.json, &after.json, &fields);
    parts.extend(extras);
    let is_said = |field: &&Field| {
        let is_share = field.path.starts_with("route.weighted_clusters")
            && (!field.path.contains("].") || field.path.ends_with("].weight"));
        let is_where = is_share
            || ["route.cluster", "redirect", "direct_response"]
                .iter()
                .any(|apart| field.path.starts_with(apart));
        is_where || said.contains(field)
    };
    let rest: Vec<Field> = fields.iter().filter(|field| !is_said(field)).cloned().collect();
    if !rest.is_empty() {
        parts.push(rule::settings(&rest));
    }
    if parts.is_empty() {
        return None;
    }
    let told = change(What::Route, format!("{}: {}", after.who, parts.join("; "))).with(fields);
    Some(match warning {
        Some(message) => told.warning(FEWER_DESTINATIONS, message),
        None => told,
    })
}
