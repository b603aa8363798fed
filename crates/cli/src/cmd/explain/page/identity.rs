//! By whose identity, and with what TLS: what the sender's sidecar does, and what the receiver's asks for.

use meltemi_walk::{Cause, EndpointWay, Mode, Seen, TlsSettings, UpstreamSocket};

use super::super::explanation::{Explanation, Receiver, clusters};
use super::super::workload::owner;
use super::routing::place;
use super::{BAD, GOOD, Page, list};

pub(super) fn write(explanation: &Explanation, page: &mut Page) {
    let clusters = clusters(&explanation.way);
    let mut title = "TLS";
    // What is done for several of them is told once.
    let mut told: Vec<&UpstreamSocket> = Vec::new();
    let all =
        || clusters.iter().flat_map(|cluster| cluster.endpoints.iter().map(move |found| (cluster, found)));
    for (cluster, endpoint) in all() {
        if told.contains(&&endpoint.socket) {
            continue;
        }
        told.push(&endpoint.socket);
        let alike = all().filter(|(_, other)| other.socket == endpoint.socket).count();
        let to = match all().count() {
            1 if cluster.discovery == "original_dst" => "the destination".to_owned(),
            1 => endpoint.address.clone(),
            2 if alike == 2 => "both endpoints".to_owned(),
            count if alike == count => format!("all {count} endpoints"),
            _ if alike == 1 => endpoint.address.clone(),
            _ => format!("{} and {} more", endpoint.address, alike - 1),
        };
        page.section(title, &sent(explanation, endpoint, &to, page));
        title = "";
        if let UpstreamSocket::Tls { settings, server_name, .. } = &endpoint.socket {
            details(settings, server_name.as_deref(), page);
        }
    }
    for receiver in &explanation.receivers {
        received(explanation, receiver, page);
    }
}

fn sent(explanation: &Explanation, endpoint: &EndpointWay, to: &str, page: &Page) -> String {
    match &endpoint.socket {
        UpstreamSocket::Plaintext => {
            let from = &explanation.from;
            let why = match &endpoint.socket_match {
                _ if explanation.request.tls.is_some() => "the sidecar adds nothing to the sender's own TLS",
                _ if !from.has_certificate => "in the clear: the sender's sidecar has no certificate",
                Some(_) => "in the clear: no sidecar that speaks mutual TLS is known there",
                None => "in the clear",
            };
            format!("to {to}: {why}")
        }
        UpstreamSocket::Tls { .. } if endpoint.socket.is_mutual() => {
            let kind = page.styled(GOOD, "mutual TLS");
            format!("to {to}: {kind}, as {}", explanation.from.identity)
        }
        UpstreamSocket::Tls { .. } => format!("to {to}: TLS, without a certificate of its own"),
        UpstreamSocket::Unread { name } => format!("to {to}: by {name}, which explain does not read"),
    }
}

fn details(settings: &TlsSettings, server_name: Option<&str>, page: &mut Page) {
    if settings.accepts.is_empty() {
        page.line(1, "accepts any identity of the server");
    } else {
        let names: Vec<String> = settings.accepts.iter().map(|name| name.wanted.value.clone()).collect();
        page.line(1, &format!("accepts only {}", list(&names)));
    }
    if settings.roots.is_empty() {
        let line = page.styled(BAD, "does not verify the server's certificate");
        page.line(1, &line);
    } else {
        page.line(1, &format!("verifies by {}", list(&settings.roots)));
    }
    let mut rest = Vec::new();
    if let Some(name) = server_name {
        rest.push(format!("SNI {name}"));
    }
    if !settings.application_protocols.is_empty() {
        rest.push(format!("ALPN {}", settings.application_protocols.join(", ")));
    }
    if let Some(version) = settings.minimum_version {
        rest.push(format!("TLS {version} at least"));
    }
    if !rest.is_empty() {
        page.line(1, &rest.join("; "));
    }
}

fn received(explanation: &Explanation, receiver: &Receiver, page: &mut Page) {
    let Some(workload) = &receiver.workload else { return };
    let asks = match receiver.mode {
        _ if !workload.has_certificate => {
            "no sidecar that speaks mutual TLS is known there: it takes plaintext"
        }
        Some(Mode::Strict) => "its sidecar takes mutual TLS only (STRICT)",
        Some(Mode::Permissive) => "its sidecar takes mutual TLS, and plaintext too (PERMISSIVE)",
        Some(Mode::Disable) => "its sidecar takes plaintext (DISABLE)",
        Some(Mode::Closed) => "its sidecar takes nothing on that port",
        None => "nothing is redirected to its sidecar",
    };
    page.section("At", &format!("{}, {}: {asks}", receiver.endpoint, workload.title()));
    let closed = receiver.way.as_ref().and_then(|way| {
        way.seen.iter().find_map(|part| match part.seen {
            Seen::Closed { cause, .. } => Some(cause),
            _ => None,
        })
    });
    if let Some(cause) = closed {
        let line = page.styled(BAD, &format!("refuses it: {}", refusal(cause, receiver.mode)));
        page.line(1, &line);
    } else if let Some(client) = identified(explanation, receiver) {
        page.line(1, &client);
    }
    if let Some(sidecar) = &receiver.sidecar {
        page.line(1, &format!("takes what {} says", place(sidecar)));
    }
    if receiver.identity_accepted == Some(false) {
        let owner = owner(&workload.identity).unwrap_or_default();
        let line = format!("the sender refuses it: it is {} ({owner})", workload.identity);
        let line = page.styled(BAD, &line);
        page.line(1, &line);
    }
}

/// As whom the receiver sees the sender.
fn identified(explanation: &Explanation, receiver: &Receiver) -> Option<String> {
    let chain = receiver.way.as_ref()?.chain.as_ref()?;
    match &chain.socket {
        meltemi_walk::DownstreamSocket::Tls { .. } => {
            Some(format!("knows the sender as {}", explanation.from.identity))
        }
        _ => None,
    }
}

fn refusal(cause: Cause, mode: Option<Mode>) -> &'static str {
    match cause {
        Cause::NoClientCertificate => "the sender has no certificate",
        Cause::TlsExpected => "the sender speaks in the clear",
        Cause::NoFilterChain if mode == Some(Mode::Strict) => "the sender speaks in the clear",
        Cause::NoFilterChain => "no chain of the port takes such a connection",
        Cause::ClientNotAccepted => "the sender's identity is not among those that are accepted",
        _ => "nothing takes it there",
    }
}
