//! Listeners that differ, and what of TLS follows for a workload's callers.

use std::sync::Arc;

use bytes::Bytes;
use meltemi_catalog::Layer;
use meltemi_names::TypeUrl;
use meltemi_translate::listener::InboundKey;
use meltemi_walk::{Configuration, Destination, Mode, mode};

use super::change::{Change, What, json};
use super::fields;
use super::step::Step;

/// What is told of a listener, or of anything else that has no words of its own.
pub(crate) fn changes(step: &Step) -> anyhow::Result<Vec<Change>> {
    let (what, subject) = match step.type_url {
        TypeUrl::Listener => (What::Listener, format!("listener {}", step.name)),
        other => (What::Other, format!("{} {}", other.short(), step.name)),
    };
    let change = |text: String| Change::new(step, subject.as_str(), what, text);
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
