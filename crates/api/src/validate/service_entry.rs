//! ServiceEntry: hosts, addresses and ports, and what its resolution makes of them (Istio: pkg/config/validation,
//! `ValidateServiceEntry`).

use meltemi_names::{Host, Protocol};

use super::{Report, hosts, labels, workload_entry};
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::service_entry::{EntryResolution, ServiceEntryPort};
use crate::value::is_dns_label;
use crate::{Meta, ServiceEntry};

pub(super) fn check(entry: &ServiceEntry, meta: &Meta, path: &FieldPath, report: &mut Report) {
    if let Some(selector) = &entry.workload_selector {
        let here = path.key("workloadSelector");
        labels::selector_at(&selector.labels, &here, "labels", report);
        if !entry.endpoints.is_empty() {
            let message = "a service has endpoints or a workloadSelector, not both";
            report.error(&here, "two-sources", message);
        }
        if entry.resolution == EntryResolution::None {
            report.add(
                Finding::warning(
                    "no-resolution",
                    "with resolution NONE, which is the default, nobody is asked for",
                )
                .at(&here)
                .in_force("connections go where they were going")
                .hint("write resolution: STATIC"),
            );
        }
    }
    super::annotations::of_session(meta, report);
    of_hosts(entry, &path.key("hosts"), report);
    of_addresses(entry, &path.key("addresses"), report);
    of_ports(entry, meta, &path.key("ports"), report);
    of_endpoints(entry, &path.key("endpoints"), report);
    hosts::export_to_or_nobody(&entry.export_to, meta, &path.key("exportTo"), report);
}

fn of_hosts(entry: &ServiceEntry, path: &FieldPath, report: &mut Report) {
    if entry.hosts.is_empty() {
        report.error(path, "no-host", "a ServiceEntry needs a host");
    }
    for (index, host) in entry.hosts.iter().enumerate() {
        let here = path.index(index);
        match entry.resolution {
            _ if host.as_str() == "*" => {
                report.error(&here, "bad-host", "`*` is every host there is; write a narrower one");
            }
            EntryResolution::DynamicDns if !host.is_wildcard() => report.add(
                Finding::error("bad-host", format!("`{host}` is one name, and DYNAMIC_DNS is for many"))
                    .at(&here)
                    .hint("write resolution: DNS, or a host such as *.example.com"),
            ),
            EntryResolution::Dns | EntryResolution::DnsRoundRobin
                if entry.endpoints.is_empty() && !is_name(host) =>
            {
                report.add(
                    Finding::error("bad-host", format!("`{host}` cannot be resolved"))
                        .at(&here)
                        .hint("name the endpoints, or write a DNS name, or resolution: NONE or DYNAMIC_DNS"),
                );
            }
            _ => {}
        }
        if entry.hosts[..index].contains(host) {
            report.warning(&here, "duplicate-host", format!("`{host}` stands here a second time"));
        }
    }
}

/// A name that DNS can know.
fn is_name(host: &Host) -> bool {
    let last = host.as_str().rsplit('.').next().unwrap_or_default();
    !host.is_wildcard() && !host.as_str().contains(':') && !last.bytes().all(|byte| byte.is_ascii_digit())
}

fn of_addresses(entry: &ServiceEntry, path: &FieldPath, report: &mut Report) {
    let takes_blocks = matches!(entry.resolution, EntryResolution::None | EntryResolution::Static);
    for (index, address) in entry.addresses.iter().enumerate() {
        if entry.resolution == EntryResolution::DynamicDns {
            report.error(
                &path.index(index),
                "bad-address",
                "with DYNAMIC_DNS the name of each request says where it goes, never an address",
            );
        } else if !takes_blocks && address.alone().is_none() {
            report.error(
                &path.index(index),
                "bad-address",
                format!("`{address}` is a block of addresses, which is for resolution NONE and STATIC only"),
            );
        }
    }
}

fn of_ports(entry: &ServiceEntry, meta: &Meta, path: &FieldPath, report: &mut Report) {
    for (index, port) in entry.ports.iter().enumerate() {
        let here = path.index(index);
        let others = &entry.ports[..index];
        if port.number.is_none() {
            report.error(&here.key("number"), "no-port", "a port is 1 to 65535");
        } else if others.iter().any(|other| other.number == port.number) {
            report.error(&here.key("number"), "duplicate-port", "the number stands here a second time");
        }
        if !is_dns_label(&port.name) {
            report.error(&here.key("name"), "bad-name", format!("`{}` is not the name of a port", port.name));
        } else if others.iter().any(|other| other.name == port.name) {
            report.error(
                &here.key("name"),
                "duplicate-port",
                format!("`{}` stands here a second time", port.name),
            );
        }
        of_protocol(entry, meta, port, &here, report);
    }
    let told_apart = |port: &ServiceEntryPort| port.protocol.is_http() || port.protocol.is_tls();
    if entry.hosts.len() > 1 && entry.resolution != EntryResolution::None {
        for (index, _) in entry.ports.iter().enumerate().filter(|(_, port)| !told_apart(port)) {
            report.add(
                Finding::error(
                    "many-hosts",
                    "several hosts on a port whose protocol does not name the host cannot be told apart",
                )
                .at(&path.index(index).key("protocol"))
                .hint("write a ServiceEntry for each host"),
            );
        }
        let by_name = matches!(entry.resolution, EntryResolution::Dns | EntryResolution::DnsRoundRobin);
        let first = entry.ports.iter().position(|port| port.protocol.is_tls());
        if let Some(index) = first.filter(|_| by_name && !entry.addresses.is_empty()) {
            report.warning(
                &path.index(index).key("protocol"),
                "many-hosts",
                "connections to the same address are not told apart by their host",
            );
        }
    }
}

fn of_protocol(
    entry: &ServiceEntry,
    meta: &Meta,
    port: &ServiceEntryPort,
    path: &FieldPath,
    report: &mut Report,
) {
    let dynamic = matches!(port.protocol, Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Tls);
    if entry.resolution == EntryResolution::DynamicDns && !dynamic {
        report.error(
            &path.key("protocol"),
            "bad-protocol",
            "DYNAMIC_DNS needs a protocol that names the host: HTTP, HTTP2, GRPC or TLS",
        );
    }
    let plain = matches!(port.protocol, Protocol::Tcp | Protocol::Auto);
    if plain && entry.addresses.is_empty() && !entry.is_allocated(meta) {
        report.add(
            Finding::warning("no-address", "nothing tells the connections to this port from others")
                .at(&path.key("protocol"))
                .in_force("it takes every connection to this port number that is no other service's")
                .hint("give the entry addresses, or the port the protocol HTTP or TLS"),
        );
    }
}

fn of_endpoints(entry: &ServiceEntry, path: &FieldPath, report: &mut Report) {
    let names: Vec<&str> = entry.ports.iter().map(|port| port.name.as_str()).collect();
    let place = |sockets, names_| workload_entry::Place { ports: Some(&names), sockets, names: names_ };
    let (place, most) = match entry.resolution {
        EntryResolution::None => {
            if !entry.endpoints.is_empty() {
                report.add(
                    Finding::error(
                        "no-resolution",
                        "resolution NONE, which is the default, has no endpoints",
                    )
                    .at(path)
                    .hint("write resolution: STATIC, or DNS where they are names"),
                );
            }
            return;
        }
        EntryResolution::DynamicDns => {
            if !entry.endpoints.is_empty() {
                report.error(
                    path,
                    "no-resolution",
                    "with DYNAMIC_DNS the name of each request says where it goes",
                );
            }
            return;
        }
        EntryResolution::Static => (place(true, false), usize::MAX),
        EntryResolution::Dns => (place(false, true), usize::MAX),
        EntryResolution::DnsRoundRobin => (place(false, true), 1),
    };
    if entry.endpoints.len() > most {
        report.error(path, "many-endpoints", "DNS_ROUND_ROBIN has one endpoint at most");
    }
    for (index, endpoint) in entry.endpoints.iter().enumerate() {
        workload_entry::located(endpoint, place, &path.index(index), report);
    }
}
