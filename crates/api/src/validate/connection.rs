//! Rules for connections, `tcp` and `tls` (Istio: pkg/config/validation, `validateTCPRoute`, `validateTLSRoute`).

use meltemi_names::Host;

use super::{Report, destination, labels};
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::is_dns_label;
use crate::virtual_service::{ConnectionDestination, ConnectionMatch, TcpRoute, TlsMatch, TlsRoute};

pub(super) fn tcp(rules: &[TcpRoute], path: &FieldPath, report: &mut Report) {
    for (index, rule) in rules.iter().enumerate() {
        let here = path.index(index);
        for (position, matching) in rule.matches.iter().enumerate() {
            connection(matching, &here.key("match").index(position), report);
        }
        route(&rule.route, &here.key("route"), report);
    }
    let matches: Vec<&[ConnectionMatch]> = rules.iter().map(|rule| rule.matches.as_slice()).collect();
    reach(&matches, path, report);
}

pub(super) fn tls(rules: &[TlsRoute], hosts: &[Host], path: &FieldPath, report: &mut Report) {
    for (index, rule) in rules.iter().enumerate() {
        let here = path.index(index);
        if rule.matches.is_empty() {
            report.add(
                Finding::error("no-match", "a rule for TLS says which names it is for")
                    .at(&here)
                    .hint("add match with sniHosts"),
            );
        }
        for (position, matching) in rule.matches.iter().enumerate() {
            let here = here.key("match").index(position);
            names(&matching.sni_hosts, hosts, &here.key("sniHosts"), report);
            connection(&matching.connection, &here, report);
        }
        route(&rule.route, &here.key("route"), report);
    }
    let matches: Vec<&[TlsMatch]> = rules.iter().map(|rule| rule.matches.as_slice()).collect();
    reach(&matches, path, report);
}

/// The names that a client asks for.
fn names(names: &[Host], hosts: &[Host], path: &FieldPath, report: &mut Report) {
    if names.is_empty() {
        report.error(path, "no-sni-hosts", "a match says which names clients ask for: sniHosts");
    }
    for (index, name) in names.iter().enumerate() {
        let here = path.index(index);
        if name.as_str().parse::<std::net::IpAddr>().is_ok() {
            report.add(
                Finding::warning("sni-address", format!("`{name}` is an address; clients name none in TLS"))
                    .at(&here)
                    .hint("match by destinationSubnets"),
            );
        } else if !hosts.iter().any(|host| host.covers(name)) {
            report.add(
                Finding::error("foreign-sni-host", format!("`{name}` is none of the hosts of this object"))
                    .at(&here)
                    .hint("add it to hosts"),
            );
        }
    }
}

fn connection(matching: &ConnectionMatch, path: &FieldPath, report: &mut Report) {
    if matching.source_subnet.is_some() {
        report.add(
            Finding::warning("field-without-effect", "the client's address is not looked at, as in Istio")
                .at(&path.key("sourceSubnet"))
                .hint("match by sourceLabels or sourceNamespace"),
        );
    }
    if let Some(namespace) = matching.source_namespace.as_ref().filter(|name| !is_dns_label(name.as_str())) {
        // Istio's admission does not look at this one; nothing would ever match it.
        report.warning(
            &path.key("sourceNamespace"),
            "never-matches",
            format!("`{namespace}` is not the name of a namespace"),
        );
    }
    labels::labels(matching.source_labels.labels(), &path.key("sourceLabels"), report);
}

fn route(route: &[ConnectionDestination], path: &FieldPath, report: &mut Report) {
    if route.is_empty() {
        report.add(
            Finding::error("no-action", "the rule says what to match, not where connections go")
                .at(path)
                .hint("add a destination"),
        );
    }
    for (index, entry) in route.iter().enumerate() {
        destination::destination(&entry.destination, &path.index(index).key("destination"), report);
    }
    let weights: Vec<u32> = route.iter().map(|entry| entry.weight).collect();
    destination::weights(&weights, "connection", path, report);
}

/// Rules and matches that no connection reaches (Istio: IST0130, IST0131).
fn reach<M: PartialEq>(rules: &[&[M]], path: &FieldPath, report: &mut Report) {
    let mut before: Vec<(usize, &M)> = Vec::new();
    let mut everything: Option<usize> = None;
    for (index, matches) in rules.iter().enumerate() {
        let earlier = |matching: &M| {
            everything.or_else(|| before.iter().find(|(_, other)| *other == matching).map(|(rule, _)| *rule))
        };
        let hidden: Vec<Option<usize>> =
            if matches.is_empty() { vec![everything] } else { matches.iter().map(earlier).collect() };
        super::reach::told("connection", &hidden, &path.index(index), report);
        if matches.is_empty() {
            everything = everything.or(Some(index));
        }
        // More than this is compared with nothing: the comparison is one of each with each before it.
        if before.len() < super::reach::MATCHES {
            before.extend(matches.iter().map(|matching| (index, matching)));
        }
    }
}
