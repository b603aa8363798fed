//! From the sender to the rule that decides.

use meltemi_translate::route::PassedOver;
use meltemi_walk::{Condition, DomainRule, Found, Handling, How, HttpWay, Subject, Wanted};

use super::super::explanation::Explanation;
use super::super::rule::Written;
use super::{BAD, FAINT, GOOD, Page, list};

pub(super) fn write(explanation: &Explanation, page: &mut Page) {
    from(explanation, page);
    if !explanation.from.gateway {
        name(explanation, page);
    }
    listener(explanation, page);
    if let Some(Handling::Http(http)) = &explanation.way.handling {
        virtual_host(http, page);
        rules(explanation, http, page);
    }
    if let Some(written) = &explanation.connection_rule {
        page.section("Rule", &place(written));
    }
}

fn from(explanation: &Explanation, page: &mut Page) {
    let from = &explanation.from;
    if from.gateway {
        page.section("At", &format!("the gateway {}, from outside of the mesh", from.title()));
    }
    let mut line = from.title();
    if from.kind.is_none() {
        line += " (nothing in the mesh describes it: taken as a plain sidecar)";
    }
    if !from.gateway {
        page.section("From", &line);
    }
    if !from.labels.is_empty() {
        let labels: Vec<String> = from.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        page.line(0, &format!("labels {}", labels.join(", ")));
    }
    if let Some(sidecar) = &explanation.sidecar {
        page.line(0, &format!("sees what {} lists", place(sidecar)));
    }
}

fn name(explanation: &Explanation, page: &mut Page) {
    let request = &explanation.request;
    let port = request.destination.port;
    let host = &explanation.host;
    let Some(service) = &explanation.target.service else {
        let address = match explanation.target.address {
            Some(_) => "is no service's address",
            None => "is no service that the sender sees; where it leads is for DNS",
        };
        page.section("Name", &format!("{host} {address}"));
        return;
    };
    let mut line = format!("{host} is Service {}/{}", service.namespace, service.name);
    match (explanation.target.address, service.headless) {
        (Some(address), false) => line += &format!(", at {address}"),
        (Some(address), true) => {
            line += &format!(", which is headless: the sender connects to a workload itself, say {address}");
        }
        (None, _) => line += ", without an address of its own",
    }
    page.section("Name", &line);
    if let Some(sidecar) = &explanation.target.out_of_scope_of {
        let line =
            format!("it is not in the scope of Sidecar {sidecar}: the sender's proxy does not know it");
        let line = page.styled(BAD, &line);
        page.line(0, &line);
    }
    match &service.protocol {
        Some(protocol) if protocol == "auto" => {
            page.line(0, &format!("port {port} does not say what it speaks: the first bytes tell"));
        }
        Some(protocol) => page.line(0, &format!("port {port} speaks {protocol}")),
        None => {
            let ports: Vec<String> = service.ports.iter().map(ToString::to_string).collect();
            let has = if ports.is_empty() { "none".to_owned() } else { list(&ports) };
            let line = page.styled(BAD, &format!("it has no port {port}; it has {has}"));
            page.line(0, &line);
        }
    }
}

fn listener(explanation: &Explanation, page: &mut Page) {
    let port = explanation.request.destination.port;
    let Some(listener) = &explanation.way.listener else {
        page.section("Listener", &format!("none at port {port}"));
        return;
    };
    let how = match listener.found {
        Found::OwnSocket if explanation.from.gateway => {
            format!("the client connects to its socket at {}", listener.address)
        }
        Found::OwnSocket => format!("the sender connects to its socket at {}", listener.address),
        Found::Address => "by the destination's address and port".to_owned(),
        Found::Port => format!("by the destination's port {port}"),
        Found::Rest => format!("no other listener is for port {port} of that destination"),
    };
    page.section("Listener", &format!("{}: {how}", listener.name));
    if let Some(chain) = &explanation.way.chain {
        let taken = match &explanation.way.handling {
            Some(Handling::Http(http)) => {
                format!(
                    "takes the connection as HTTP, by the route configuration {}",
                    http.route_configuration
                )
            }
            Some(Handling::Tcp(_)) if explanation.request.http => {
                "sends the connection on as it is: no rule for requests is read".to_owned()
            }
            Some(Handling::Tcp(_)) => "sends the connection on as it is".to_owned(),
            None => "does what explain does not read".to_owned(),
        };
        let name = if chain.name.is_empty() { String::new() } else { format!("chain {} ", chain.name) };
        page.line(0, &format!("{name}{taken}"));
    }
}

fn virtual_host(http: &HttpWay, page: &mut Page) {
    if let Some(path) = &http.normalized_path {
        page.section("Path", &format!("is taken as {path}"));
    }
    match &http.virtual_host {
        Some(found) => {
            let by = match found.rule {
                DomainRule::Any => "since no other has that host".to_owned(),
                _ => format!("by its domain {}", found.domain),
            };
            page.section("Host", &format!("{}: {by}", found.name));
        }
        None => {
            let none = page.styled(BAD, "no virtual host has it among its domains");
            page.section("Host", &none);
        }
    }
}

fn rules(explanation: &Explanation, http: &HttpWay, page: &mut Page) {
    let Some(virtual_host) = &http.virtual_host else { return };
    let looked_at = http.tried.len();
    let line = match (virtual_host.routes, looked_at) {
        (0, _) => "there are none".to_owned(),
        (1, _) => "there is one".to_owned(),
        (all, looked_at) if all == looked_at => format!("{all}, in order"),
        (all, looked_at) => format!("{looked_at} of {all} are looked at, in order"),
    };
    page.section("Rules", &line);
    let passed_over = |wanted: &dyn Fn(usize) -> bool, page: &mut Page| {
        for passed in explanation.passed_over.iter().filter(|passed| wanted(passed.before)) {
            let mark = page.styled(FAINT, "no ");
            page.line(0, &format!("{mark} {}", place(&passed.written)));
            page.line(2, not_for_sender(passed.reason, explanation.from.gateway));
        }
    };
    for (tried, rule) in http.tried.iter().zip(&explanation.rules) {
        passed_over(&|before| before == tried.index, page);
        let mark = if tried.matched { page.styled(GOOD, "yes") } else { page.styled(FAINT, "no ") };
        let what = match &rule.written {
            Some(written) => place(written),
            None => by_itself(&tried.name),
        };
        let name = if tried.name.is_empty() || rule.written.is_none() {
            String::new()
        } else {
            format!(" \"{}\"", tried.name)
        };
        page.line(0, &format!("{mark} {what}{name}"));
        let why: Vec<String> = if tried.matched {
            let all: Vec<String> = tried.conditions.iter().filter_map(holds).collect();
            if all.is_empty() { vec!["takes every request".to_owned()] } else { vec![list(&all)] }
        } else {
            tried.conditions.iter().filter(|condition| condition.holds != Some(true)).map(fails).collect()
        };
        for line in why {
            page.line(2, &line);
        }
    }
    passed_over(&|before| before >= looked_at, page);
}

fn not_for_sender(reason: PassedOver, at_gateway: bool) -> &'static str {
    match reason {
        PassedOver::Gateways if at_gateway => "is for sidecars, or for another gateway",
        PassedOver::Labels if at_gateway => "is for gateways with other labels (sourceLabels)",
        PassedOver::Namespace if at_gateway => "is for gateways of another namespace",
        PassedOver::Gateways => "is for gateways, not for sidecars",
        PassedOver::Port => "is for requests to another port",
        PassedOver::Namespace => "is for senders of another namespace",
        PassedOver::Labels => "is for senders with other labels (sourceLabels)",
        PassedOver::Claim => "asks for a claim of a token, which a sidecar does not read",
    }
}

/// `VirtualService shop/reviews, spec.http[0] (routes.yaml:12)`.
pub(super) fn place(written: &Written) -> String {
    let field = if written.field.is_empty() { String::new() } else { format!(", {}", written.field) };
    let place = match &written.place {
        Some(place) => format!(" ({}:{})", place.file, place.line),
        None => String::new(),
    };
    let by = match &written.delegated_by {
        Some(root) => format!(", for {}", self::place(root)),
        None => String::new(),
    };
    format!("{} {}/{}{field}{place}{by}", written.kind, written.namespace, written.name)
}

fn by_itself(name: &str) -> String {
    match name {
        "allow_any" => "hosts that nobody knows are let through (outboundTrafficPolicy ALLOW_ANY)".to_owned(),
        "block_all" => "hosts that nobody knows are refused (outboundTrafficPolicy REGISTRY_ONLY)".to_owned(),
        "default" => "no VirtualService is for this host: all goes to the service".to_owned(),
        "" => "a route that no VirtualService makes".to_owned(),
        name => format!("route {name}, which no VirtualService makes"),
    }
}

/// A condition that holds; none for one that everything meets.
fn holds(condition: &Condition) -> Option<String> {
    let everything = condition.subject == Subject::Path
        && condition.wanted.how == How::Prefix
        && condition.wanted.value == "/";
    (!everything).then(|| format!("{} {}", subject(&condition.subject), wanted(&condition.wanted, "is")))
}

fn fails(condition: &Condition) -> String {
    let wants = format!("{} must {}", subject(&condition.subject), wanted(&condition.wanted, "be"));
    if condition.holds.is_none() {
        return format!("{wants}: explain cannot tell");
    }
    match &condition.found {
        Some(found) => format!("{wants}; it is \"{found}\""),
        None => format!("{wants}; the request has none"),
    }
}

fn subject(subject: &Subject) -> String {
    match subject {
        Subject::Path => "the path".to_owned(),
        Subject::Header(name) => match name.as_str() {
            ":method" => "the method".to_owned(),
            ":authority" => "the host".to_owned(),
            ":scheme" => "the scheme".to_owned(),
            name => format!("header {name}"),
        },
        Subject::Parameter(name) => format!("query parameter {name}"),
        Subject::Cookie(name) => format!("cookie {name}"),
        Subject::Chance => "chance".to_owned(),
        Subject::Other(name) => name.clone(),
    }
}

/// With `verb` "is" for what holds, "be" for what is asked for.
fn wanted(wanted: &Wanted, verb: &str) -> String {
    let value = &wanted.value;
    let is = verb == "is";
    let third = |word: &str| if is { format!("{word}s") } else { word.to_owned() };
    let matches = || if is { "matches".to_owned() } else { "match".to_owned() };
    let text = match wanted.how {
        How::Exact => format!("{verb} \"{value}\""),
        How::Prefix => format!("{} with \"{value}\"", third("begin")),
        How::SegmentPrefix => format!("{verb} \"{value}\" or below it"),
        How::Suffix => format!("{} with \"{value}\"", third("end")),
        How::Contains => format!("{} \"{value}\"", third("contain")),
        How::Regex => format!("{} {value}", matches()),
        How::Range => format!("{verb} a number of {value}"),
        How::Present => format!("{verb} there"),
        How::Chance => format!("{verb} within {value}"),
        How::Unread => format!("{verb} as it says"),
    };
    let case = if wanted.ignores_case { " in any case" } else { "" };
    let text = format!("{text}{case}");
    match (wanted.negated, is) {
        (false, _) => text,
        (true, false) => format!("not {text}"),
        (true, true) if text.starts_with("is ") => text.replacen("is ", "is not ", 1),
        (true, true) => format!("is not so that it {text}"),
    }
}
