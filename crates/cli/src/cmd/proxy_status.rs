//! `meltemi proxy-status`: a line for each connected proxy.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use meltemi_names::SpiffeId;
use meltemi_serve::client;
use meltemi_serve::proxies::{Proxies, ProxyStatus, SyncState};

use crate::args::{ProxyStatusArgs, TextOrJson, YamlOrJson};
use crate::{process, render};

/// The page that the status comes from.
const PAGE: &str = "/debug/proxies";

pub(crate) fn run(args: &ProxyStatusArgs) -> anyhow::Result<ExitCode> {
    let runtime = process::one_thread()?;
    let (status, body) = runtime
        .block_on(client::get(&args.server.to_string(), PAGE, Duration::from_secs(10)))
        .with_context(|| {
            format!(
                "cannot read the status from {}; is `meltemi serve` running with that --monitoring-address?",
                args.server
            )
        })?;
    if !status.is_success() {
        bail!("{PAGE} answered {status}");
    }
    let proxies: Proxies = serde_json::from_slice(&body).context("the answer is not a proxy status")?;
    match args.output {
        TextOrJson::Json => render::value(&proxies, YamlOrJson::Json)?,
        TextOrJson::Text => {
            let types = ["CDS", "EDS", "LDS", "RDS", "VHDS"];
            let headings: Vec<&str> = ["PROXY", "STREAM", "CONNECTED", "VERSION", "LAG"]
                .into_iter()
                .chain(types)
                .chain(["IDENTITY", "REJECTED"])
                .collect();
            render::table(&headings, proxies.proxies.iter().map(|proxy| row(proxy, &types)))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(proxy: &ProxyStatus, types: &[&str]) -> Vec<String> {
    let state = |name: &str| {
        proxy.types.iter().find(|found| found.r#type == name).map_or("-", |found| match found.state {
            SyncState::Synced => "synced",
            SyncState::Sent => "sent",
            SyncState::Rejected => "rejected",
        })
    };
    let rejected: Vec<String> = proxy
        .types
        .iter()
        .filter_map(|found| found.rejected.as_ref())
        .map(|rejected| {
            let objects =
                if rejected.made_from.is_empty() { &rejected.resources } else { &rejected.made_from };
            format!("{}: {}", objects.join(", "), rejected.reason)
        })
        .collect();
    let mut row = vec![
        proxy.proxy.clone(),
        proxy.stream.clone(),
        duration(proxy.connected_seconds),
        proxy.version.to_string(),
        proxy.lag.to_string(),
    ];
    row.extend(types.iter().map(|name| state(name).to_owned()));
    let identity = proxy.identity.as_deref().map_or_else(|| "-".to_owned(), account);
    row.push(if proxy.no_secrets.is_some() {
        format!("{identity} (may not list secrets)")
    } else {
        identity
    });
    row.push(rejected.join("; "));
    row
}

/// The namespace and the account of an identity: the trust domain is the same everywhere.
fn account(identity: &str) -> String {
    match SpiffeId::parse(identity) {
        Ok(id) => format!("{}/{}", id.namespace(), id.service_account()),
        Err(_) => identity.to_owned(),
    }
}

/// Seconds as people say them: `42s`, `3m12s`, `5h01m`.
fn duration(seconds: f64) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "no stream lives that long")]
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_read_as_people_say_them() {
        assert_eq!(duration(0.4), "0s");
        assert_eq!(duration(192.0), "3m12s");
        assert_eq!(duration(18_060.0), "5h01m");
    }
}
