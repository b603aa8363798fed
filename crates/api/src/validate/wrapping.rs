//! What connections are wrapped in, and the budget of retries (Istio: pkg/config/validation, `validateTunnelSettings`).

use meltemi_names::Host;

use super::Report;
use crate::destination_rule::{ConnectionKeepalive, RetryBudget, Tunnel};
use crate::field::FieldPath;
use crate::finding::Finding;

pub(super) fn tunnel(tunnel: &Tunnel, path: &FieldPath, report: &mut Report) {
    if !matches!(&*tunnel.protocol, "" | "CONNECT" | "POST") {
        report.error(
            &path.key("protocol"),
            "bad-tunnel",
            format!("a tunnel is opened by `CONNECT` or `POST`, found `{}`", tunnel.protocol),
        );
    }
    let host = &*tunnel.target_host;
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let is_name = Host::parse(host).is_ok_and(|host| !host.is_wildcard());
    if !is_address && !is_name {
        report.add(
            Finding::error("bad-tunnel", format!("`{host}` is neither a host nor an address"))
                .at(&path.key("targetHost"))
                .hint("write where the tunnel ends: a name, or an IP address without a port"),
        );
    }
    if tunnel.target_port.is_none() {
        report.error(&path.key("targetPort"), "bad-tunnel", "the port where the tunnel ends is missing");
    }
}

pub(super) fn retry_budget(budget: &RetryBudget, path: &FieldPath, report: &mut Report) {
    if budget.percent.is_some_and(|percent| !(0.0..=100.0).contains(&percent.as_f64())) {
        report.error(&path.key("percent"), "bad-percentage", "a percentage is 0 to 100");
    }
}

pub(super) fn keepalive(keepalive: &ConnectionKeepalive, path: &FieldPath, report: &mut Report) {
    for (name, written) in [("interval", keepalive.interval), ("timeout", keepalive.timeout)] {
        if written.is_none() {
            report.add(
                Finding::error("bad-duration", format!("`{name}` is missing"))
                    .at(path)
                    .hint("probes need both an interval and a timeout"),
            );
        }
        report.duration(&path.key(name), written);
    }
}
