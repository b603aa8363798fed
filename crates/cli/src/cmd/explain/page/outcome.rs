//! What the sender sees in the end, and what is worth a look.

use meltemi_api::Severity;
use meltemi_walk::{Cause, Seen, SeenShare};

use super::super::explanation::{Explanation, clusters};
use super::super::patches::Patched;
use super::routing::place;
use super::{BAD, GOOD, Page, list, title};

pub(super) fn write(explanation: &Explanation, page: &mut Page) {
    let seen = &explanation.way.seen;
    let mut heading = "Sees";
    for part in seen {
        let share = if seen.len() > 1 { format!("{}: ", part.share) } else { String::new() };
        let line = format!("{share}{}", told(explanation, part, page));
        page.section(heading, &line);
        heading = "";
    }
    patched(explanation, page);
    if !explanation.way.unread.is_empty() {
        page.section("Unread", "the way may be another one, for explain does not read:");
        for what in &explanation.way.unread {
            page.line(1, what);
        }
    }
    let mut heading = "Look at";
    for finding in &explanation.findings {
        let place = finding.place.as_ref().map(|place| format!(" ({}:{})", place.file, place.line));
        let severity = match finding.severity {
            Severity::Error => page.styled(BAD, "error"),
            _ => finding.severity.as_str().to_owned(),
        };
        let line = format!("{severity}: {}{}", finding.message, place.unwrap_or_default());
        page.section(heading, &line);
        for line in finding.hint.iter().flat_map(|hint| hint.lines()) {
            page.line(1, line);
        }
        heading = "";
    }
}

/// What EnvoyFilters have done to the way: the rest of the page is after them.
fn patched(explanation: &Explanation, page: &mut Page) {
    let of_sender = explanation.patched.iter().map(|patched| (patched, String::new()));
    let of_receivers = explanation.receivers.iter().flat_map(|receiver| {
        receiver.patched.iter().map(|patched| (patched, format!(" at {}", receiver.endpoint)))
    });
    let mut heading = "Patched";
    for (Patched { what, name, by }, at) in of_sender.chain(of_receivers) {
        let by: Vec<String> = by.iter().map(place).collect();
        page.section(heading, &format!("{what} {name}{at}, by {}", list(&by)));
        heading = "";
    }
}

/// Nothing is known of what is there.
fn is_elsewhere(discovery: &str) -> bool {
    matches!(discovery, "original_dst" | "dynamic_dns")
}

fn told(explanation: &Explanation, part: &SeenShare, page: &Page) -> String {
    match &part.seen {
        Seen::Endpoint { cluster }
            if clusters(&explanation.way)
                .iter()
                .any(|found| found.name == *cluster && is_elsewhere(found.discovery)) =>
        {
            "what the destination itself answers, if anything is there".to_owned()
        }
        Seen::Endpoint { cluster } => of_endpoint(explanation, cluster, page),
        Seen::Status { status, flags, cause } => {
            let line = format!("{status}{}: {}", flagged(flags), why(*cause));
            let bad = !matches!(
                cause,
                Cause::Redirect | Cause::DirectResponse | Cause::TlsRequired | Cause::Preflight
            );
            if bad { page.styled(BAD, &line) } else { line }
        }
        Seen::Closed { flags, cause } => {
            page.styled(BAD, &format!("a closed connection{}: {}", flagged(flags), why(*cause)))
        }
        Seen::Unknown => "what explain cannot tell".to_owned(),
    }
}

fn of_endpoint(explanation: &Explanation, cluster: &str, page: &Page) -> String {
    let receiver = explanation.receivers.iter().find(|receiver| receiver.cluster == cluster);
    let refused = receiver.filter(|receiver| {
        let closed = receiver.way.as_ref().is_some_and(|way| {
            !way.seen.is_empty() && way.seen.iter().all(|part| matches!(part.seen, Seen::Closed { .. }))
        });
        closed || receiver.identity_accepted == Some(false)
    });
    match refused {
        Some(_) if explanation.request.http => {
            // A handshake that fails is a connection that failed; plaintext that is refused is one that was cut.
            let by_tls = clusters(&explanation.way)
                .iter()
                .filter(|found| found.name == cluster)
                .any(|found| found.endpoints.iter().any(|endpoint| endpoint.socket.is_mutual()));
            let flags = if by_tls { "UF" } else { "UC" };
            page.styled(BAD, &format!("503 ({flags}): no connection to {} comes about", title(cluster)))
        }
        Some(_) => {
            page.styled(BAD, &format!("a closed connection (UF): none to {} comes about", title(cluster)))
        }
        None => page.styled(GOOD, &format!("what an endpoint of {} answers", title(cluster))),
    }
}

fn flagged(flags: &str) -> String {
    if flags == "-" { String::new() } else { format!(" ({flags})") }
}

fn why(cause: Cause) -> &'static str {
    match cause {
        Cause::NoListener => "nothing listens there",
        Cause::NoFilterChain => "the listener takes no such connection",
        Cause::NoClientCertificate => "a certificate is asked for, and there is none",
        Cause::TlsExpected => "TLS is expected",
        Cause::ClientNotAccepted => "the sender's identity is not accepted",
        Cause::NoVirtualHost => "no virtual host is for that host",
        Cause::NoRoute => "no rule takes the request",
        Cause::TlsRequired => "the host takes encrypted requests only",
        Cause::Redirect => "the rule redirects",
        Cause::DirectResponse => "the sidecar's own answer",
        Cause::FaultAbort => "a fault that is made on purpose",
        Cause::Preflight => "the sidecar answers the browser's question itself",
        Cause::UnknownCluster => "the rule sends to a cluster that there is not",
        Cause::NoEndpoint => "there is no endpoint that takes requests",
    }
}
