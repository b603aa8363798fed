//! What a client was served, in comparable form, and whether it is what one that starts afresh is served.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use meltemi_names::TypeUrl;
use meltemi_testkit::xds::{Form, Held, Node};
use serde_json::Value;
use tokio::time::timeout;

use super::{Client, Home, LIMIT};
use crate::live::Server;

/// Each resource by type and name: its version and its bytes.
pub type State = BTreeMap<(TypeUrl, String), (String, Vec<u8>)>;

/// What is held.
pub fn state(held: &Held) -> State {
    TypeUrl::ALL
        .into_iter()
        .flat_map(|kind| {
            held.of(kind).map(move |(name, resource)| {
                ((kind, name.to_owned()), (resource.version.clone(), resource.body.to_vec()))
            })
        })
        .collect()
}

/// The addresses of a cluster's endpoints, sorted; none where there is no such assignment.
pub fn endpoints(held: &Held, cluster: &str) -> Option<Vec<String>> {
    let assignment = held.json(TypeUrl::Endpoint, cluster).ok()?;
    let localities = assignment["endpoints"].as_array().cloned().unwrap_or_default();
    let all =
        localities.iter().flat_map(|locality| locality["lb_endpoints"].as_array().into_iter().flatten());
    let mut addresses: Vec<String> = all
        .filter_map(|one| one["endpoint"]["address"]["socket_address"]["address"].as_str().map(str::to_owned))
        .collect();
    addresses.sort();
    Some(addresses)
}

/// Waits until that proxy (`name.namespace`) has subscribed to all that a sidecar does, and has acknowledged all that is served.
///
/// # Errors
/// When it has not in time; with the state of the proxies.
pub async fn settled(replica: &Server, proxy: &str) -> Result<()> {
    let mut last = Value::Null;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
    let asking = async {
        loop {
            ticks.tick().await;
            last = replica.proxies().await?;
            let proxies = last["proxies"].as_array().map(Vec::as_slice).unwrap_or_default();
            if proxies.iter().any(|one| one["proxy"] == proxy && is_settled(one)) {
                return Ok(());
            }
        }
    };
    match timeout(LIMIT, asking).await {
        Ok(outcome) => outcome,
        Err(_) => bail!("{proxy} is not settled after {LIMIT:?}: {last}\n{}", replica.log()),
    }
}

fn is_settled(proxy: &Value) -> bool {
    let types = proxy["types"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has = |short: &str| types.iter().any(|one| one["type"] == short);
    proxy["lag"] == 0
        && ["CDS", "EDS", "LDS", "RDS"].into_iter().all(has)
        && types.iter().all(|one| one["state"] == "SYNCED")
}

/// Waits until the client holds, byte for byte, what a client of the same name is served by a replica that starts now.
///
/// # Errors
/// When it does not in time; names what differs.
pub async fn same_as_from_scratch(home: &Home, client: &mut Client, node: &Node, proxy: &str) -> Result<()> {
    let fresh = home.replica().await?;
    let mut other = Client::start(fresh.addresses().xds, node.clone(), Form::Delta);
    settled(&fresh, proxy).await.context("the one that starts afresh")?;
    // Both may still be told of the same last changes.
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let (this, that) = (state(&client.held()), state(&other.held()));
        if this == that {
            return if this.is_empty() { bail!("both hold nothing") } else { Ok(()) };
        }
        let changed = async {
            tokio::select! {
                changed = client.changed() => changed,
                changed = other.changed() => changed,
            }
        };
        match tokio::time::timeout_at(deadline, changed).await {
            Ok(changed) => changed?,
            Err(_) => bail!("it differs from what is served from scratch: {}", difference(&this, &that)),
        }
    }
}

fn difference(this: &State, that: &State) -> String {
    let names: BTreeSet<_> = this.keys().chain(that.keys()).collect();
    let lines = names.into_iter().filter(|name| this.get(name) != that.get(name)).map(|name| {
        let shown = |state: &State| {
            state.get(name).map_or("nothing".to_owned(), |(version, bytes)| {
                let json = meltemi_proto::json::to_json(name.0.as_str(), bytes);
                json.map_or_else(|error| error.to_string(), |json| format!("{version} {json}"))
            })
        };
        format!("\n{} {}:\n  here: {}\n  from scratch: {}", name.0, name.1, shown(this), shown(that))
    });
    lines.take(10).collect()
}
