//! What a client was served, in comparable form, and whether it is what one that starts afresh is served.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meltemi_names::TypeUrl;
use meltemi_testkit::xds::{Form, Held, Node};
use serde_json::Value;
use tokio::time::{interval, timeout};

use super::{Client, Home, LIMIT};
use crate::live::Server;

/// How often a page is asked for, that tells nobody when it changes.
const POLL: Duration = Duration::from_millis(10);

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

/// The addresses of a cluster's endpoints that take requests, sorted; none where there is no such assignment.
pub fn endpoints(held: &Held, cluster: &str) -> Option<Vec<String>> {
    let assignment = held.json(TypeUrl::Endpoint, cluster).ok()?;
    let localities = assignment["endpoints"].as_array().cloned().unwrap_or_default();
    let all =
        localities.iter().flat_map(|locality| locality["lb_endpoints"].as_array().into_iter().flatten());
    let takes =
        |one: &&Value| ["HEALTHY", "UNKNOWN"].contains(&one["health_status"].as_str().unwrap_or("UNKNOWN"));
    let mut addresses: Vec<String> = all
        .filter(takes)
        .filter_map(|one| one["endpoint"]["address"]["socket_address"]["address"].as_str().map(str::to_owned))
        .collect();
    addresses.sort();
    Some(addresses)
}

/// Waits until that proxy (`name.namespace`), on each of its streams, has subscribed to all that a sidecar does, and has acknowledged all
/// that is served.
///
/// # Errors
/// When it has not in time; with the state of the proxies.
pub async fn settled(replica: &Server, proxy: &str) -> Result<()> {
    let mut last = Value::Null;
    let mut ticks = interval(POLL);
    let asking = async {
        loop {
            ticks.tick().await;
            last = replica.proxies().await?;
            let proxies = last["proxies"].as_array().map(Vec::as_slice).unwrap_or_default();
            let mut streams = proxies.iter().filter(|one| one["proxy"] == proxy).peekable();
            if streams.peek().is_some() && streams.all(is_settled) {
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
        && ["CDS", "EDS", "LDS"].into_iter().all(has)
        && types.iter().all(|one| one["state"] == "SYNCED")
}

/// Waits until the page `/ready` is such.
///
/// # Errors
/// When it is not in time; with the page and the log.
pub async fn until_page(server: &Server, is_such: impl Fn(u16, &str) -> bool) -> Result<()> {
    let mut last = (0, String::new());
    let mut ticks = interval(POLL);
    let asking = async {
        loop {
            ticks.tick().await;
            // Nobody listens yet.
            let Ok(page) = server.ready_page().await else { continue };
            last = page;
            if is_such(last.0, &last.1) {
                return;
            }
        }
    };
    let found = timeout(LIMIT, asking).await;
    found.with_context(|| format!("/ready is not such after {LIMIT:?}: {last:?}\n{}", server.log()))
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
