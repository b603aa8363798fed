//! Rules for connections that no port of their hosts' services reads.

use meltemi_api::virtual_service::ConnectionMatch;
use meltemi_api::{FieldPath, Finding, VirtualService};
use meltemi_model::index::qualified;
use meltemi_model::read::Read;
use meltemi_model::service::{ServiceByHost, ServicePort};
use meltemi_names::{Namespace, Protocol};

use crate::listener::Treatment;

/// Judged where all hosts are services that the VirtualService's own namespace sees: of others nothing is known.
pub(super) fn findings(read: &Read<'_>, namespace: &Namespace, written: &VirtualService) -> Vec<Finding> {
    if written.tcp.is_empty() && written.tls.is_empty() {
        return Vec::new();
    }
    let mut ports: Vec<ServicePort> = Vec::new();
    for host in &written.hosts {
        let host = qualified(host, namespace);
        match &*read.ask(ServiceByHost { viewer: namespace.clone(), host }) {
            Some(shape) => ports.extend(shape.ports.iter().cloned()),
            None => return Vec::new(),
        }
    }
    let mut findings = Vec::new();
    let tcp = written.tcp.iter().map(|rule| rule.matches.iter().collect());
    let tls = written.tls.iter().map(|rule| rule.matches.iter().map(|found| &found.connection).collect());
    let of_tcp: &dyn Fn(Protocol) -> bool =
        &|protocol| Treatment::of(protocol) != Treatment::Http && !protocol.is_tls();
    let of_tls: &dyn Fn(Protocol) -> bool = &|protocol| protocol.is_tls();
    let lists: [(&str, Vec<Vec<&ConnectionMatch>>, _); 2] =
        [("tcp", tcp.collect(), of_tcp), ("tls", tls.collect(), of_tls)];
    for (list, rules, reads) in lists {
        for (index, matches) in rules.into_iter().enumerate() {
            let wanted = |found: &ServicePort| {
                matches.is_empty()
                    || matches.iter().any(|matching| matching.port.is_none_or(|port| port == found.port))
            };
            if !ports.iter().any(|port| reads(port.protocol) && wanted(port)) {
                findings.push(unread(list, &FieldPath::of(&["spec", list]).index(index)));
            }
        }
    }
    findings
}

fn unread(list: &str, path: &FieldPath) -> Finding {
    let (what, wants) = match list {
        "tcp" => {
            ("a port that carries TCP, or whose protocol is found out", "name the Service's port tcp-...")
        }
        _ => ("a port that carries TLS", "name the Service's port tls-... or https-..."),
    };
    Finding::warning("rule-without-port", format!("no service of these hosts has {what} for this rule"))
        .at(path)
        .in_force("nothing follows from the rule")
        .hint(format!("{wants}, or correct match.port; requests of HTTP ports are routed by `http`"))
}
