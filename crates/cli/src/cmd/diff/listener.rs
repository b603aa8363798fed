//! Listeners that differ, and what of TLS follows for a workload's callers.

use std::sync::Arc;

use bytes::Bytes;
use meltemi_catalog::Layer;
use meltemi_names::TypeUrl;
use meltemi_translate::listener::InboundKey;
use meltemi_walk::{Configuration, Destination, Mode, mode};
use serde_json::Value;

use super::chain::{self, Chain};
use super::change::{
    CERTIFICATE_LOST, Change, FEWER_DESTINATIONS, GATEWAY_PORT_LOST, HOST_UNKNOWN, Target, Warned, What, json,
};
use super::fields::{self, Field};
use super::rule;
use super::step::Step;

/// What is told of a resource that has no words of its own.
pub(crate) fn other(step: &Step) -> anyhow::Result<Vec<Change>> {
    let subject = format!("{} {}", step.type_url.short(), step.name);
    let change = |text: String| Change::new(step, subject.as_str(), What::Other, text);
    Ok(match (&step.before, &step.after) {
        (None, _) => vec![change("is new".to_owned())],
        (_, None) => vec![change("is gone".to_owned())],
        (before, after) => {
            let before = json(step.type_url, before.as_deref())?;
            let after = json(step.type_url, after.as_deref())?;
            let all = fields::between(&before, &after, &[]);
            vec![change(fields::summary(&all)).with(all)]
        }
    })
}

/// What is told of a secret: never a word of what is in it.
pub(crate) fn secret(step: &Step) -> Vec<Change> {
    let name = step.name.as_str();
    let name = name.strip_prefix("kubernetes://").unwrap_or(name);
    let subject = format!("certificate {name}");
    let change = |text: &str| Change::new(step, subject.as_str(), What::Secret, text);
    let told = match (&step.before, &step.after) {
        (None, _) => change("is there now"),
        (_, None) => {
            let message = format!("the gateway has certificate {name} no more: handshakes that want it fail");
            change("is there no more").warning(CERTIFICATE_LOST, message)
        }
        _ => change("is another one, of the same name"),
    };
    vec![told]
}

/// What is told of a listener.
pub(crate) fn changes(step: &Step, at_gateway: bool) -> anyhow::Result<Vec<Change>> {
    let before = json(step.type_url, step.before.as_deref())?;
    let after = json(step.type_url, step.after.as_deref())?;
    let subject = Subject::of(step, [&before, &after], at_gateway);
    let change = |text: String| subject.change(step, text);
    let (had, has) = (chain::all(&before), chain::all(&after));
    if step.before.is_none() {
        let takes = has.iter().map(chain_to).collect::<Vec<_>>().join("; ");
        return Ok(vec![change(format!("is listened for now: {takes}"))]);
    }
    if step.after.is_none() {
        let told = change("is listened for no more".to_owned());
        return Ok(vec![if at_gateway {
            let message = format!("{} is listened on no more: clients cannot connect", subject.name);
            told.warning(GATEWAY_PORT_LOST, message)
        } else {
            told
        }]);
    }
    let mut told: Vec<(String, String, Option<Warned>)> = Vec::new();
    let mut all_fields = Vec::new();
    for chain in &had {
        if has.iter().any(|now| now.matching == chain.matching) {
            continue;
        }
        // A name that another chain serves is not lost.
        let is_served = |name: &&String| !has.iter().any(|now| now.names.contains(name));
        let lost: Vec<&str> = chain.names.iter().filter(is_served).map(String::as_str).collect();
        let warned = (!lost.is_empty()).then(|| {
            let names = lost.join(", ");
            let message = if at_gateway {
                format!("{}: {} for {names} is served no more", subject.name, kind(chain))
            } else {
                format!("{}: TLS for {names} goes no more where its rule said", subject.name)
            };
            Warned { code: HOST_UNKNOWN, message }
        });
        told.push((chain.who.clone(), "no more a way of its own".to_owned(), warned));
    }
    for chain in &has {
        match had.iter().find(|then| then.matching == chain.matching) {
            None => told.push((chain_to(chain), "is new".to_owned(), None)),
            Some(then) => {
                let fields = fields::between(&then.does, &chain.does, &[]);
                told.extend(paired(then, chain, &fields, &subject));
                all_fields.extend(fields);
            }
        }
    }
    // Filters that look at the first bytes go with the chains.
    let rest = fields::between(
        &before,
        &after,
        &[
            "filter_chains",
            "default_filter_chain",
            "listener_filters",
            "access_log",
            "listener_filters_timeout",
        ],
    );
    let rest = if rest.is_empty() && told.is_empty() { fields::between(&before, &after, &[]) } else { rest };
    if !rest.is_empty() {
        told.push((String::new(), fields::summary(&rest), None));
        all_fields.extend(rest);
    }
    // What is told of several ways in the same words is told once.
    let mut once: Vec<(Vec<String>, String, Option<Warned>)> = Vec::new();
    for (who, text, warned) in told {
        match once.iter_mut().find(|(_, known, warning)| *known == text && *warning == warned) {
            Some((all, ..)) => all.push(who),
            None => once.push((vec![who], text, warned)),
        }
    }
    let told = once.into_iter().map(|(who, text, warned)| {
        let text = match who.as_slice() {
            [only] if only.is_empty() => text,
            all if all.len() <= NAMED => format!("{}: {text}", all.join(" and ")),
            all => format!("{} and {} more ways: {text}", all[..NAMED].join(", "), all.len() - NAMED),
        };
        Change { warning: warned, ..change(text).with(all_fields.clone()) }
    });
    Ok(told.collect())
}

/// Ways of one listener that are named; the rest is counted.
const NAMED: usize = 3;

fn kind(chain: &Chain) -> &str {
    chain.who.split(' ').next().unwrap_or_default()
}

fn chain_to(chain: &Chain) -> String {
    let certificates = match chain.certificates.as_slice() {
        [] => String::new(),
        all => format!(", with certificate {}", all.join(" and ")),
    };
    match &chain.to {
        Some(parts) => format!("{}{certificates} to {}", chain.who, rule::shares(parts)),
        None => format!("{}{certificates}", chain.who),
    }
}

/// What a listener is about.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) target: Option<Target>,
}

impl Subject {
    /// Of a listener that is there.
    pub(crate) fn of_step(step: &Step, at_gateway: bool) -> anyhow::Result<Self> {
        let state = json(step.type_url, step.after.as_deref())?;
        Ok(Self::of(step, [&state, &state], at_gateway))
    }

    fn of(step: &Step, states: [&Value; 2], at_gateway: bool) -> Self {
        let name = step.name.as_str();
        let port = || {
            let port = |state: &&Value| state["address"]["socket_address"]["port_value"].as_u64();
            states.iter().find_map(port).unwrap_or_default()
        };
        let targets = || {
            let chains = states.iter().flat_map(|state| chain::all(state));
            let mut targets: Vec<Option<Target>> = chains
                .map(|chain| {
                    let parts = chain.to?;
                    let target = Target::of_cluster(&parts.first()?.0)?;
                    Some(Target { subset: None, ..target })
                })
                .collect();
            targets.sort();
            targets.dedup();
            targets
        };
        match name {
            _ if at_gateway => Self { name: format!("gateway port {}", port()), target: None },
            "virtualInbound" => Self { name: "what comes in".to_owned(), target: None },
            "virtualOutbound" => Self { name: "unknown destinations".to_owned(), target: None },
            _ => match targets().as_slice() {
                [Some(only)] => Self { name: only.subject(), target: Some(only.clone()) },
                _ => Self { name: format!("listener {name}"), target: None },
            },
        }
    }

    fn change(&self, step: &Step, text: String) -> Change {
        let change = Change::new(step, self.name.as_str(), What::Listener, text);
        match &self.target {
            Some(target) => change.of_host(target),
            None => change,
        }
    }
}

type Said = (String, String, Option<Warned>);

/// What changes for the connections of one chain.
fn paired(before: &Chain, after: &Chain, fields: &[Field], subject: &Subject) -> Vec<Said> {
    let mut told: Vec<Said> = Vec::new();
    let mut say = |text: String, warned: Option<Warned>| told.push((after.who.clone(), text, warned));
    if let (Some(then), Some(now)) = (&before.to, &after.to)
        && then != now
    {
        let host = subject.target.as_ref().map_or("", |target| &target.host);
        let lost = rule::lost(then, now);
        let is_blocked = now.iter().all(|(name, _)| name == rule::NOWHERE);
        let warned = match lost.is_empty() {
            true => None,
            _ if is_blocked && subject.target.is_none() => {
                let message = "connections to what the mesh does not know are refused".to_owned();
                Some(Warned { code: HOST_UNKNOWN, message })
            }
            _ => {
                let (name, lost, who) = (&subject.name, lost.join(" and "), &after.who);
                let message = format!("{name}: of {who}, none goes to {lost} any more");
                Some(Warned { code: FEWER_DESTINATIONS, message })
            }
        };
        say(rule::moved(then, now, host), warned);
    }
    if before.is_http != after.is_http {
        let text = if after.is_http {
            "requests are read"
        } else {
            "no requests are read any more: they are connections of bytes"
        };
        say(text.to_owned(), None);
        return told;
    }
    if before.certificates != after.certificates {
        let named = |all: &[String]| if all.is_empty() { "none".to_owned() } else { all.join(" and ") };
        let (then, now) = (named(&before.certificates), named(&after.certificates));
        let lost: Vec<&str> = before
            .certificates
            .iter()
            .filter(|name| !after.certificates.contains(name))
            .map(String::as_str)
            .collect();
        let fewer = after.certificates.len() < before.certificates.len();
        let warned = fewer.then(|| {
            let message = format!("{}: {} loses certificate {}", subject.name, after.who, lost.join(" and "));
            Warned { code: CERTIFICATE_LOST, message }
        });
        say(format!("certificate {then} -> {now}"), warned);
    }
    if before.asks != after.asks {
        say(format!("takes {}; before, {}", after.asks, before.asks), None);
    }
    for (place, words) in SETTINGS {
        let here = fields.iter().filter(|field| is_at(&field.path, place)).collect::<Vec<_>>();
        if here.is_empty() {
            continue;
        }
        let text = match (present(&before.does, place), present(&after.does, place)) {
            (false, true) => format!("{words} from now on"),
            (true, false) => format!("no {words} any more"),
            _ => format!("another {words}"),
        };
        say(text, None);
    }
    let is_told = |field: &&Field| {
        field.path.starts_with("tls")
            || SETTINGS.iter().any(|(place, _)| is_at(&field.path, place))
            || ["cluster", "weighted_clusters", "stat_prefix"]
                .iter()
                .any(|name| is_at(&field.path, &format!("settings.{name}")))
    };
    let rest: Vec<Field> = fields
        .iter()
        .filter(|field| !is_told(field))
        .map(|field| {
            let path = field.path.strip_prefix("settings.").unwrap_or(&field.path).to_owned();
            Field { path, ..field.clone() }
        })
        .collect();
    if !rest.is_empty() {
        say(fields::told(&rest), None);
    }
    let only_tls = told.is_empty() && fields.iter().any(|field| field.path.starts_with("tls"));
    if only_tls {
        let inside: Vec<Field> =
            fields.iter().filter(|field| field.path.starts_with("tls")).cloned().collect();
        told.push((
            after.who.clone(),
            format!("TLS is set up otherwise: {}", fields::summary(&inside)),
            None,
        ));
    } else if told.is_empty() && !fields.is_empty() {
        let text = "only what it is called in metrics and logs changes".to_owned();
        told.push((after.who.clone(), text, None));
    }
    told
}

/// Settings of a listener's filters that have words of their own.
const SETTINGS: &[(&str, &str)] =
    &[("logs", "access log"), ("settings.tracing", "tracing"), ("counts", "metrics")];

fn is_at(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn present(does: &Value, place: &str) -> bool {
    let found = place.split('.').fold(does, |value, name| &value[name]);
    match found {
        Value::Null => false,
        Value::Array(all) => !all.is_empty(),
        _ => true,
    }
}

/// How much TLS the workload asks for on each of its ports, where that differs.
pub(crate) fn tls(
    before: (&InboundKey, &Arc<Layer>),
    after: (&InboundKey, &Arc<Layer>),
    steps: &[Step],
) -> anyhow::Result<Vec<Change>> {
    let Some(step) = steps.iter().find(|step| step.type_url == TypeUrl::Listener) else {
        return Ok(Vec::new());
    };
    let mut ports: Vec<u16> =
        before.0.ports.iter().chain(after.0.ports.iter()).map(|port| port.target.number()).collect();
    ports.sort_unstable();
    ports.dedup();
    let (then, now) = (listeners(before.1), listeners(after.1));
    let mut all = Vec::new();
    for port in ports {
        let destination = Destination { address: None, port };
        let (then, now) = (mode(&then, destination)?, mode(&now, destination)?);
        if then != now {
            let text = format!("{}; before, it {}", asks(now), asks(then));
            let change = Change::new(step, format!("inbound port {port}"), What::Tls, text);
            all.push(Change { port: Some(port), ..change });
        }
    }
    Ok(all)
}

fn listeners(layer: &Layer) -> Configuration {
    let mut configuration = Configuration::default();
    for live in layer.all(TypeUrl::Listener) {
        let body = Bytes::from(live.resource.body().to_vec());
        configuration.add(TypeUrl::Listener, live.resource.name().as_str(), body);
    }
    configuration
}

fn asks(mode: Option<Mode>) -> &'static str {
    match mode {
        Some(Mode::Strict) => "takes mutual TLS only (STRICT)",
        Some(Mode::Permissive) => "takes mutual TLS and plaintext (PERMISSIVE)",
        Some(Mode::Disable) => "takes plaintext (DISABLE)",
        Some(Mode::Closed) => "takes nothing",
        None => "is not redirected to a sidecar",
    }
}
