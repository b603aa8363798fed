//! From what is known of an object to what is to be written into its status. Pure.
//!
//! Counts that move with every proxy are not written: a condition changes when its status, its reason or the object's generation does.

use k8s_openapi::jiff::Timestamp;
use meltemi_api::{Finding, Severity};
use meltemi_sources::kube::Written;
use serde_json::{Value, json};

use crate::propagation::{InForce, State, Why};

/// The types of our conditions begin so: nobody else's do.
const PREFIX: &str = "meltemi.io/";

/// A message longer than this is cut (bytes): an object's status is read by people, and is sent to every watcher.
const LONGEST: usize = 2_000;

/// Findings that say that something which the object names is not there.
const REFERENCES: &[&str] = &[
    "host-not-found",
    "subset-not-found",
    "port-not-found",
    "gateway-not-found",
    "secret-not-found",
    "secret-incomplete",
    "secret-not-served",
];

/// What is known of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// All findings about it.
    pub(crate) findings: &'a [Finding],
    /// Where it stands; none for kinds from which nothing follows.
    pub(crate) in_force: Option<&'a InForce>,
    /// It names other objects.
    pub(crate) refers: bool,
}

/// A condition of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    kind: &'static str,
    status: &'static str,
    reason: String,
    message: String,
    /// A message alone is no reason to write.
    quiet: bool,
}

/// The patch of the object's status; none if it says already what it should.
pub(crate) fn plan(facts: Facts<'_>, written: &Written, now: Timestamp) -> Option<Value> {
    let conditions: Vec<Condition> = [
        Some(accepted(facts.findings)),
        facts.refers.then(|| resolved(facts.findings)),
        in_force(facts.in_force),
    ]
    .into_iter()
    .flatten()
    .collect();
    let present =
        written.status.get("conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut next: Vec<Value> = present.to_vec();
    let mut differs = false;
    for condition in &conditions {
        let kind = format!("{PREFIX}{}", condition.kind);
        let place =
            next.iter().position(|found| found.get("type").and_then(Value::as_str) == Some(kind.as_str()));
        let before = place.and_then(|place| next.get(place));
        if before.is_some_and(|before| says(before, condition, written.generation)) {
            continue;
        }
        differs = true;
        let since = before
            .filter(|before| text(before, "status") == condition.status)
            .and_then(|before| before.get("lastTransitionTime").cloned());
        let value = json!({
            "type": kind,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "lastTransitionTime": since.unwrap_or_else(|| json!(seconds(now))),
            "observedGeneration": written.generation,
        });
        match place.and_then(|place| next.get_mut(place)) {
            Some(before) => *before = value,
            None => next.push(value),
        }
    }
    if !differs {
        return None;
    }
    let mut status = json!({"conditions": next});
    if number(written.status.get("observedGeneration")) != Some(written.generation) {
        status["observedGeneration"] = json!(written.generation);
    }
    Some(json!({"metadata": {"resourceVersion": &*written.resource_version}, "status": status}))
}

fn accepted(findings: &[Finding]) -> Condition {
    let errors: Vec<&Finding> =
        findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    let untaken =
        findings.iter().find(|finding| finding.code == "not-supported-yet" && finding.field.is_empty());
    let others = findings.iter().filter(|finding| finding.severity == Severity::Warning);
    let (status, reason, message) = match (errors.as_slice(), untaken) {
        ([first, ..], _) => ("False", camel(first.code), listed(errors.iter().copied())),
        ([], Some(untaken)) => ("False", "NotSupported".to_owned(), line(untaken)),
        ([], None) => ("True", "Accepted".to_owned(), listed(others)),
    };
    Condition { kind: "Accepted", status, reason, message, quiet: false }
}

fn resolved(findings: &[Finding]) -> Condition {
    let missing: Vec<&Finding> =
        findings.iter().filter(|finding| REFERENCES.contains(&finding.code)).collect();
    let (status, reason) = match missing.first() {
        Some(first) => ("False", camel(first.code)),
        None => ("True", "ResolvedRefs".to_owned()),
    };
    Condition { kind: "ResolvedRefs", status, reason, message: listed(missing.into_iter()), quiet: false }
}

fn in_force(found: Option<&InForce>) -> Option<Condition> {
    let found = found?;
    // A proxy that has just connected has what was in force before, or nothing: no news of the object.
    if found.state == State::Propagating && found.of - found.have == found.starting {
        return None;
    }
    let lagging = found.lagging.first();
    let (status, reason) = match found.state {
        State::InForce => ("True", "InForce"),
        State::Propagating => (
            "False",
            match lagging.map(|lagging| lagging.why) {
                Some(Why::Refused) => "RefusedByProxy",
                Some(Why::SetAside) => "SetAside",
                Some(Why::Held) => "Held",
                Some(Why::Needed) => "StillNeeded",
                _ => "Propagating",
            },
        ),
        State::Waiting => ("False", "Waiting"),
        State::Refused => ("False", "NotAccepted"),
        State::Unknown => ("Unknown", "ReplicaUnreachable"),
        State::Deleted | State::NotSeen => return None,
    };
    let message = match (found.state, lagging) {
        (State::InForce, _) => "every connected proxy that needs it has it".to_owned(),
        (_, Some(lagging)) => format!("{}: {}", lagging.proxy, lagging.message),
        (_, None) => found.message.clone(),
    };
    Some(Condition { kind: "InForce", status, reason: reason.to_owned(), message: cut(message), quiet: true })
}

/// Whether a condition as written says this, of that generation.
fn says(before: &Value, now: &Condition, generation: i64) -> bool {
    text(before, "status") == now.status
        && text(before, "reason") == now.reason
        && number(before.get("observedGeneration")) == Some(generation)
        && (now.quiet || text(before, "message") == now.message)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Istiod writes 64-bit numbers as texts.
fn number(value: Option<&Value>) -> Option<i64> {
    let value = value?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

fn listed<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    cut(findings.map(line).collect::<Vec<_>>().join("; "))
}

fn line(finding: &Finding) -> String {
    let mut line = String::new();
    if !finding.field.is_empty() {
        line += &format!("{}: ", finding.field);
    }
    line += &finding.message;
    if let Some(in_force) = &finding.in_force {
        line += &format!(" (in force: {in_force})");
    }
    if let Some(hint) = &finding.hint {
        line += &format!(", {hint}");
    }
    line
}

fn cut(mut message: String) -> String {
    if message.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|&end| message.is_char_boundary(end)).unwrap_or_default();
        message.truncate(end);
        message += " ...";
    }
    message
}

/// `host-not-found` as Kubernetes writes reasons: `HostNotFound`.
fn camel(code: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_uppercase().chain(letters).collect::<String>())
            .unwrap_or_default()
    };
    code.split('-').map(word).collect()
}

/// RFC 3339 without fractions, as Kubernetes writes times.
fn seconds(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests;
