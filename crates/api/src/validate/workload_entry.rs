//! WorkloadEntry.

use super::{Report, labels};
use crate::WorkloadEntry;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::{Address, is_dns_label};

pub(super) fn check(entry: &WorkloadEntry, path: &FieldPath, report: &mut Report) {
    let address = path.key("address");
    match &entry.address {
        None if entry.network.is_none() => report.error(&address, "no-address", "`address` is missing"),
        None => report.warning(
            &address,
            "no-address",
            "without an address it is reached by its network's gateway",
        ),
        Some(Address::Unix(_)) if !entry.ports.is_empty() => {
            report.error(&path.key("ports"), "bad-address", "a Unix socket has no ports");
        }
        Some(Address::Name(name)) => report.add(
            Finding::warning("not-supported-yet", format!("`{name}` is a name, which is not resolved yet"))
                .at(&address)
                .in_force("no endpoint is made")
                .hint("write an IP address"),
        ),
        Some(Address::Ip(_) | Address::Unix(_)) => {}
    }
    if entry.network.is_some() && entry.address.is_some() {
        report.add(
            Finding::warning("not-supported-yet", "this field is not supported yet")
                .at(&path.key("network"))
                .in_force("the endpoint is called at its address, as if it were in the caller's network"),
        );
    }
    for name in entry.ports.keys().filter(|name| !is_dns_label(name)) {
        report.error(&path.key("ports").key(name), "bad-name", format!("`{name}` is not the name of a port"));
    }
    labels::labels(&entry.labels, &path.key("labels"), report);
}
