//! Gateway: servers, their ports and hosts (Istio: pkg/config/validation, `ValidateGateway`).

use std::collections::BTreeSet;

use super::{Report, server_tls};
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::gateway::{Server, ServerBind};
use crate::value::is_dns_label;
use crate::{Gateway, Meta};

pub(super) fn check(gateway: &Gateway, meta: &Meta, path: &FieldPath, report: &mut Report) {
    if !is_dns_label(meta.key.name.as_str()) {
        report.error(
            &FieldPath::of(&["metadata", "name"]),
            "bad-name",
            "the name of a Gateway is one DNS label: letters, digits and `-`, 1 to 63",
        );
    }
    let at = path.key("servers");
    if gateway.servers.is_empty() {
        report.error(&at, "no-servers", "a Gateway needs a server");
    }
    let mut names = BTreeSet::new();
    for (index, server) in gateway.servers.iter().enumerate() {
        let here = at.index(index);
        of_server(server, &here, report);
        if let Some(port) = &server.port
            && !port.name.is_empty()
            && !names.insert(&port.name)
        {
            report.error(
                &here.key("port").key("name"),
                "duplicate-port",
                format!("`{}` is the name of another port of this Gateway, too", port.name),
            );
        }
    }
}

fn of_server(server: &Server, path: &FieldPath, report: &mut Report) {
    if server.hosts.is_empty() {
        report.add(
            Finding::error("no-hosts", "a server needs hosts")
                .at(&path.key("hosts"))
                .hint("write \"*\" for all of them"),
        );
    }
    let at = path.key("port");
    let Some(port) = &server.port else {
        report.error(&at, "no-port", "a server needs a port");
        return;
    };
    let is_socket = matches!(server.bind, Some(ServerBind::Unix(_)));
    match port.number {
        None if !is_socket => report.error(&at.key("number"), "no-port", "a port needs a number, 1 to 65535"),
        Some(_) if is_socket => {
            report.error(&at.key("number"), "bad-port", "a Unix socket has no port number; write 0");
        }
        _ => {}
    }
    if port.protocol.is_none() {
        report.error(&at.key("protocol"), "no-protocol", "a port needs a protocol");
    }
    if port.name.is_empty() {
        report.error(&at.key("name"), "no-name", "a port needs a name");
    }
    if port.target_port.is_some() {
        report.add(
            Finding::error("bad-port", "targetPort has no effect in a Gateway")
                .at(&at.key("targetPort"))
                .hint("the proxy listens on the targetPort that the Service of its pods has for this number"),
        );
    }
    let Some(protocol) = port.protocol else { return };
    let at = path.key("tls");
    let Some(tls) = &server.tls else {
        if protocol.is_tls() {
            report.error(&at, "no-tls", "a server of protocol HTTPS or TLS needs tls");
        }
        return;
    };
    server_tls::check(tls, &at, report);
    if protocol.is_http() {
        let files = [&tls.ca_certificates, &tls.private_key, &tls.server_certificate];
        if !tls.mode.passes_on() || files.iter().any(|file| file.is_some()) {
            report.add(
                Finding::error("bad-tls", "a server in the clear has no TLS")
                    .at(&at)
                    .hint("write protocol: HTTPS, or leave in tls nothing but httpsRedirect"),
            );
        }
    } else if !protocol.is_tls() {
        report.error(&at, "bad-tls", "only servers of protocol HTTPS or TLS have tls");
    } else if tls.https_redirect {
        report.add(
            Finding::warning("redirect-without-effect", "only clients in the clear are redirected")
                .at(&at.key("httpsRedirect"))
                .hint("write it at the server of protocol HTTP"),
        );
    }
}
