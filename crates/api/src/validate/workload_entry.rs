//! WorkloadEntry, which is also an endpoint of a ServiceEntry and the template of a WorkloadGroup (Istio: pkg/config/validation,
//! `validateWorkloadEntry`).

use super::{Report, labels};
use crate::WorkloadEntry;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::{Address, is_dns_label};

/// Where an entry stands, and what it may say there.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The names of the service's ports; none where the service is not known.
    pub(super) ports: Option<&'a [&'a str]>,
    /// It may be at a Unix socket.
    pub(super) sockets: bool,
    /// It may be at a name, which is resolved.
    pub(super) names: bool,
}

/// An object of its own.
pub(super) fn check(entry: &WorkloadEntry, path: &FieldPath, report: &mut Report) {
    located(entry, Place { ports: None, sockets: true, names: true }, path, report);
}

/// One that says where it is.
pub(super) fn located(entry: &WorkloadEntry, place: Place<'_>, path: &FieldPath, report: &mut Report) {
    let address = path.key("address");
    match &entry.address {
        None if entry.network.is_none() => report.error(&address, "no-address", "`address` is missing"),
        None => report.warning(
            &address,
            "no-address",
            "without an address it is reached by its network's gateway",
        ),
        Some(Address::Unix(path)) if !place.sockets => {
            report.error(&address, "bad-address", format!("`unix://{path}` cannot be resolved"));
        }
        Some(Address::Unix(_)) => {
            if !entry.ports.is_empty() {
                report.error(&path.key("ports"), "bad-address", "a Unix socket has no ports");
            }
            if place.ports.is_some_and(|ports| ports.len() != 1) {
                report.error(&address, "bad-address", "a service at a Unix socket has one port");
            }
        }
        Some(Address::Name(name)) if !place.names => report.add(
            Finding::error("bad-address", format!("`{name}` is a name, and names are not resolved here"))
                .at(&address)
                .hint("write an IP address, or resolution: DNS"),
        ),
        Some(Address::Ip(_) | Address::Name(_)) => {}
    }
    common(entry, place.ports, path, report);
}

/// What holds of every workload, wherever it is.
pub(super) fn common(entry: &WorkloadEntry, ports: Option<&[&str]>, path: &FieldPath, report: &mut Report) {
    if entry.network.is_some() && entry.address.is_some() {
        report.add(
            Finding::warning("not-supported-yet", "this field is not supported yet")
                .at(&path.key("network"))
                .in_force("the endpoint is called at its address, as if it were in the caller's network"),
        );
    }
    for name in entry.ports.keys() {
        let here = path.key("ports").key(name);
        if !is_dns_label(name) {
            report.error(&here, "bad-name", format!("`{name}` is not the name of a port"));
        } else if ports.is_some_and(|ports| !ports.contains(&name.as_str())) {
            report.error(&here, "port-not-found", format!("the service has no port of the name `{name}`"));
        }
    }
    labels::labels(&entry.labels, &path.key("labels"), report);
}
