//! VirtualService as a whole.

use super::{Report, connection, hosts, http_route, reach};
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::HeaderName;
use crate::{Meta, VirtualService};

pub(super) fn check(service: &VirtualService, meta: &Meta, path: &FieldPath, report: &mut Report) {
    let (tcp, tls) = (!service.tcp.is_empty(), !service.tls.is_empty());
    if service.http.is_empty() && !tcp && !tls {
        report.add(
            Finding::error("no-rules", "a VirtualService needs rules: http, tls or tcp")
                .at(path)
                .hint("add spec.http with a route"),
        );
    }
    let at_hosts = path.key("hosts");
    if service.is_delegate() && (!service.gateways.is_empty() || tcp || tls) {
        report.error(&at_hosts, "no-hosts", "a VirtualService with gateways, tls or tcp needs hosts");
    }
    hosts::hosts(&service.hosts, &at_hosts, report);
    if service.is_in_mesh() {
        for (index, host) in service.hosts.iter().enumerate().filter(|(_, host)| host.as_str() == "*") {
            report.add(
                Finding::error("bad-host", format!("`{host}` would be every host of the mesh"))
                    .at(&at_hosts.index(index))
                    .hint("name the hosts, or bind it to gateways other than `mesh`"),
            );
        }
        if let Some((rule, header)) = claim(service) {
            report.error(
                &path.key("http").index(rule),
                "bad-header",
                format!("`{header}` is matched by gateways alone, and this is for sidecars too"),
            );
        }
    }
    hosts::export_to(&service.export_to, meta, &path.key("exportTo"), report);
    let http = path.key("http");
    for (index, rule) in service.http.iter().enumerate() {
        http_route::check(rule, service.is_delegate(), &http.index(index), report);
    }
    reach::check(&service.http, &http, report);
    connection::tcp(&service.tcp, &path.key("tcp"), report);
    connection::tls(&service.tls, &service.hosts, &path.key("tls"), report);
}

/// A match on a JWT's claim.
fn claim(service: &VirtualService) -> Option<(usize, &HeaderName)> {
    service.http.iter().enumerate().find_map(|(index, rule)| {
        let mut names = rule
            .matches
            .iter()
            .flat_map(|matching| matching.headers.keys().chain(matching.without_headers.keys()));
        names.find(|name| name.is_claim()).map(|name| (index, name))
    })
}
