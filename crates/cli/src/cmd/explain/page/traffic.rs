//! What the rule does: where requests go, how many, with what limits.

use meltemi_walk::{
    Action, ClusterWay, EndpointWay, Forward, Handling, HeaderChange, HeaderOperation, RetryBudget,
    RouteTaken, Share,
};

use super::super::explanation::Explanation;
use super::routing::place;
use super::{BAD, Page, list, span, times, title};

/// Endpoints of a cluster that are listed; the rest is counted.
const LISTED: usize = 8;

pub(super) fn write(explanation: &Explanation, page: &mut Page) {
    match &explanation.way.handling {
        Some(Handling::Http(http)) => {
            if let Some(route) = &http.route {
                of_route(explanation, route, page);
            }
        }
        Some(Handling::Tcp(tcp)) => {
            let all: Vec<(Share, &ClusterWay)> =
                tcp.destinations.iter().map(|to| (to.share, &to.cluster)).collect();
            destinations(explanation, &all, page);
            if let Some(tunnel) = &tcp.tunnel {
                let text = format!(
                    "to {}, which that endpoint is asked to open by {}",
                    tunnel.target, tunnel.method
                );
                page.section("Tunnel", &text);
            }
            let idle = tcp
                .idle_timeout_ms
                .map_or("never".to_owned(), |idle| format!("after {} of silence", span(idle)));
            page.section("Limits", &format!("the connection is closed {idle}"));
            limits(&all, page);
        }
        None => {}
    }
}

fn of_route(explanation: &Explanation, route: &RouteTaken, page: &mut Page) {
    fault(route, page);
    cors(route, page);
    if let Some(session) = &route.session {
        let text = format!("who sends the {} {} again stays with its endpoint", session.by, session.name);
        page.section("Session", &text);
    }
    headers("request", &route.request_headers, page);
    headers("response", &route.response_headers, page);
    match &route.action {
        Action::Redirect { status, location } => {
            page.section("Then", &format!("the sender is told to go to {location} ({status})"));
        }
        Action::Respond { status, body } => {
            let body = body.as_deref().map_or("without a body".to_owned(), |body| format!("with \"{body}\""));
            page.section("Then", &format!("the sidecar answers {status} itself, {body}"));
        }
        Action::Unread { field } => page.section("Then", &format!("{field}, which explain does not read")),
        Action::Forward(forward) => forwarded(explanation, forward, page),
    }
}

fn fault(route: &RouteTaken, page: &mut Page) {
    let Some(fault) = &route.fault else { return };
    let delay =
        fault.delay.map(|delay| format!("{} of the requests wait {}", delay.share, span(delay.delay_ms)));
    let abort = fault.abort.map(|abort| {
        let with = match abort.grpc_status {
            Some(status) => format!("gRPC status {status}"),
            None => abort.status.to_string(),
        };
        format!("{} are answered {with}", abort.share)
    });
    let all: Vec<String> = delay.into_iter().chain(abort).collect();
    page.section("Fault", &format!("on purpose, {}", list(&all)));
}

fn cors(route: &RouteTaken, page: &mut Page) {
    let Some(cors) = &route.cors else { return };
    let asks = if cors.preflight { "a browser asks for a script of" } else { "a script of" };
    let line = match (cors.allowed, cors.preflight) {
        (true, true) => format!("{asks} {}, which may call", cors.origin),
        (true, false) => format!("{asks} {} calls, and may read the answer", cors.origin),
        (false, true) if cors.answered => format!("{asks} {}, which may not call", cors.origin),
        (false, true) => format!("{asks} {}, which no rule allows: the server is asked", cors.origin),
        (false, false) => {
            format!(
                "{asks} {} calls, which no rule allows: its browser keeps the answer from it",
                cors.origin
            )
        }
    };
    let line = if cors.allowed { line } else { page.styled(BAD, &line) };
    page.section("CORS", &line);
    let told: Vec<String> = cors.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    if !told.is_empty() {
        page.line(0, &format!("the answer says {}", list(&told)));
    }
}

fn headers(whose: &str, changes: &[HeaderChange], page: &mut Page) {
    if changes.is_empty() {
        return;
    }
    let all: Vec<String> = changes.iter().map(change).collect();
    page.section("Headers", &format!("of the {whose}: {}", list(&all)));
}

fn change(change: &HeaderChange) -> String {
    let HeaderChange { name, value, .. } = change;
    let value = value.as_deref().unwrap_or_default();
    match change.operation {
        HeaderOperation::Append => format!("{name} is added as \"{value}\""),
        HeaderOperation::AddIfAbsent => format!("{name} is \"{value}\" where there is none"),
        HeaderOperation::Set => format!("{name} is set to \"{value}\""),
        HeaderOperation::SetIfPresent => format!("{name} is set to \"{value}\" where there is one"),
        HeaderOperation::Remove => format!("{name} is taken away"),
    }
}

fn forwarded(explanation: &Explanation, forward: &Forward, page: &mut Page) {
    let rewrites = forward.path.iter().map(|path| format!("the path is sent on as {path}"));
    let hosts = forward.authority.iter().map(|host| format!("the host is sent on as {host}"));
    let all: Vec<String> = rewrites.chain(hosts).collect();
    if !all.is_empty() {
        page.section("Rewrite", &list(&all));
    }
    let all: Vec<(Share, &ClusterWay)> =
        forward.destinations.iter().map(|to| (to.share, &to.cluster)).collect();
    destinations(explanation, &all, page);
    for destination in &forward.destinations {
        for (whose, changes) in
            [("request", &destination.request_headers), ("response", &destination.response_headers)]
        {
            if !changes.is_empty() {
                let all: Vec<String> = changes.iter().map(change).collect();
                page.line(
                    0,
                    &format!("to {} alone, of the {whose}: {}", title(&destination.cluster.name), list(&all)),
                );
            }
        }
        if let Some(host) = &destination.authority {
            page.line(
                0,
                &format!("to {} alone, the host is sent on as {host}", title(&destination.cluster.name)),
            );
        }
    }
    for mirror in &forward.mirrors {
        page.section(
            "Copies",
            &format!("{} go to {}, and nobody waits for them", mirror.share, title(&mirror.cluster.name)),
        );
    }
    if !forward.hashed_by.is_empty() {
        page.section("Sticks", &format!("to an endpoint by {}", list(&forward.hashed_by)));
    }
    let whole = match forward.timeout_ms {
        Some(limit) => format!("{} for all tries together", span(limit)),
        None => "none".to_owned(),
    };
    page.section("Timeout", &whole);
    retry(forward, page);
    if let Some((_, cluster)) = all.iter().find(|(_, cluster)| cluster.exists) {
        page.section("Limits", &format!("a connection may take {}", span(cluster.connect_timeout_ms)));
        limits(&all, page);
    }
}

fn retry(forward: &Forward, page: &mut Page) {
    let Some(retry) = forward.retry.as_ref().filter(|retry| retry.attempts > 0) else {
        page.section("Retries", "none");
        return;
    };
    let statuses: Vec<String> = retry.statuses.iter().map(ToString::to_string).collect();
    let on = retry.on.iter().filter(|on| *on != "retriable-status-codes" || statuses.is_empty());
    let mut conditions: Vec<String> = on.filter(|on| *on != "retriable-status-codes").cloned().collect();
    if !statuses.is_empty() {
        conditions.push(format!("status {}", statuses.join(" or ")));
    }
    let after = if conditions.is_empty() { "nothing".to_owned() } else { list(&conditions) };
    page.section("Retries", &format!("{} more after {after}", times(retry.attempts)));
    let mut details = Vec::new();
    if let Some(limit) = retry.per_try_timeout_ms {
        details.push(format!("each try may take {}", span(limit)));
    }
    if let Some(pause) = retry.back_off_ms {
        details.push(format!("the pause begins at {}", span(pause)));
    }
    if retry.avoids_tried_endpoints {
        details.push("an endpoint that failed is avoided".to_owned());
    }
    if retry.avoids_tried_priorities {
        details.push("so is its priority".to_owned());
    }
    if !details.is_empty() {
        page.line(0, &list(&details));
    }
}

fn destinations(explanation: &Explanation, all: &[(Share, &ClusterWay)], page: &mut Page) {
    for (index, (share, cluster)) in all.iter().enumerate() {
        let heading = if index == 0 { "Goes to" } else { "" };
        let part = if all.len() > 1 { format!("{share}: ") } else { String::new() };
        if !cluster.exists {
            let line = page.styled(BAD, &format!("{part}{}, a cluster that there is not", cluster.name));
            page.section(heading, &line);
            continue;
        }
        page.section(heading, &format!("{part}{}", named(cluster)));
        let policy = explanation.policies.iter().find(|written| {
            cluster.object.as_deref().and_then(super::super::rule::object).as_ref() == Some(&written.key)
        });
        if let Some(policy) = policy {
            page.line(1, &format!("as {} says", place(policy)));
        }
        endpoints(cluster, page);
    }
}

fn named(cluster: &ClusterWay) -> String {
    let mut text = cluster.name.clone();
    if let Some(subset) = &cluster.subset {
        text += &format!(", subset {subset}");
    }
    let how = match (cluster.discovery, cluster.balancing) {
        ("original_dst", _) => "to where the sender wanted to go",
        ("dynamic_dns", _) => "to where the name leads, which the sidecar looks up",
        (_, "least_request") => "the endpoint with fewer requests of two",
        (_, "round_robin") => "one endpoint after the other",
        (_, "random") => "any endpoint",
        (_, "ring_hash") => "an endpoint by hash (ring)",
        (_, "maglev") => "an endpoint by hash (maglev)",
        (_, other) => other,
    };
    format!("{text} ({how})")
}

fn endpoints(cluster: &ClusterWay, page: &mut Page) {
    if cluster.discovery == "original_dst" {
        return;
    }
    if cluster.endpoints.is_empty() {
        let line = page.styled(BAD, "it has no endpoints");
        page.line(1, &line);
        return;
    }
    if let Some(version) = cluster.endpoints.iter().find_map(|endpoint| endpoint.proxy_protocol) {
        page.line(
            1,
            &format!("each connection begins with a PROXY protocol header ({version}), which says who calls"),
        );
    }
    if cluster.panic {
        let line = page.styled(BAD, "so few endpoints are healthy that Envoy does not look at health");
        page.line(1, &line);
    }
    for endpoint in cluster.endpoints.iter().take(LISTED) {
        page.line(1, &described(endpoint));
    }
    if cluster.endpoints.len() > LISTED {
        page.line(1, &format!("and {} more", cluster.endpoints.len() - LISTED));
    }
}

fn described(endpoint: &EndpointWay) -> String {
    let mut text = format!("{:<21}", endpoint.address);
    if let Some(share) = endpoint.share {
        text += &format!(" {:>7}", share.to_string());
    }
    if endpoint.health != "healthy" {
        text += &format!(", {}", endpoint.health);
    }
    if endpoint.priority > 0 {
        text += &format!(", priority {}", endpoint.priority);
    }
    if let Some(locality) = &endpoint.locality {
        text += &format!(", in {locality}");
    }
    text
}

/// What clusters take at most, told once where it is the same for all.
fn limits(all: &[(Share, &ClusterWay)], page: &mut Page) {
    let of: Vec<(String, Vec<String>)> = all
        .iter()
        .filter(|(_, cluster)| cluster.exists)
        .map(|(_, cluster)| (title(&cluster.name), limits_of(cluster)))
        .collect();
    let Some((_, first)) = of.first() else { return };
    if of.iter().all(|(_, lines)| lines == first) {
        for line in first {
            page.line(0, line);
        }
        return;
    }
    for (name, lines) in &of {
        for line in lines {
            page.line(0, &format!("{name}: {line}"));
        }
    }
}

fn limits_of(cluster: &ClusterWay) -> Vec<String> {
    let limits = &cluster.limits;
    let all: Vec<String> = [
        (limits.connections, "connections"),
        (limits.pending_requests, "requests that wait"),
        (limits.requests, "requests at once"),
        (limits.retries, "retries at once"),
        (limits.requests_per_connection, "requests on one connection"),
    ]
    .into_iter()
    .filter_map(|(limit, what)| Some(format!("{} {what}", limit?)))
    .collect();
    let mut lines = Vec::new();
    if !all.is_empty() {
        lines.push(format!("at most {}", list(&all)));
    }
    if let Some(budget) = limits.retry_budget {
        let RetryBudget { percent, at_least } = budget;
        lines.push(format!(
            "of requests under way at most {percent} % are retries, and {at_least} always may be"
        ));
    }
    if let Some(outliers) = &cluster.outliers {
        let statuses: Vec<String> = outliers.statuses.iter().map(ToString::to_string).collect();
        let what = if statuses.is_empty() { "5xx".to_owned() } else { statuses.join(", ") };
        let errors = outliers.consecutive_5xx.map(|count| format!("{count} answers of {what}"));
        let gateway =
            outliers.consecutive_gateway_failures.map(|count| format!("{count} answers of 502, 503 or 504"));
        let all: Vec<String> = errors.into_iter().chain(gateway).collect();
        let after = if all.is_empty() { "nothing".to_owned() } else { all.join(" or ") };
        lines.push(format!(
            "an endpoint is set aside for {} after {after} in a row, {} % of all at most",
            span(outliers.ejection_ms),
            outliers.max_ejection_percent
        ));
    }
    lines
}
