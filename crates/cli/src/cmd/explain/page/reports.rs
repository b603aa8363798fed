//! What both proxies tell of the request: logs, metrics, traces.

use meltemi_telemetry::metric;
use meltemi_walk::{Handling, Log, Reports, Way};

use super::super::explanation::Explanation;
use super::super::rule::Written;
use super::super::telemetry::SaidBy;
use super::routing::place;
use super::{Page, list, title};

/// One proxy that has a part in it.
struct Teller<'a> {
    who: &'a str,
    way: &'a Way,
    reports: &'a Reports,
    said: &'a SaidBy,
}

/// A topic of a section, as one of them has it, and who says so; none where it has nothing to do with it.
type Topic = fn(&Teller<'_>) -> Option<(String, String)>;

pub(super) fn write(explanation: &Explanation, page: &mut Page) {
    let who = if explanation.from.gateway { "gateway" } else { "sender" };
    let of_sender = explanation.way.reports.as_ref().map(|reports| Teller {
        who,
        way: &explanation.way,
        reports,
        said: &explanation.telemetry,
    });
    let of_receivers = explanation.receivers.iter().filter_map(|receiver| {
        let has_proxy = receiver.workload.as_ref().is_some_and(|workload| workload.has_certificate);
        let way = receiver.way.as_ref().filter(|_| has_proxy)?;
        let reports = way.reports.as_ref()?;
        Some(Teller { who: &receiver.endpoint, way, reports, said: &receiver.telemetry })
    });
    let tellers: Vec<Teller<'_>> = of_sender.into_iter().chain(of_receivers).collect();
    let topics: [(&str, Topic); 3] = [("Logs", logs), ("Metrics", metrics), ("Traces", traces)];
    for (heading, topic) in topics {
        // Who tells the same is told of together.
        let mut told: Vec<(Vec<String>, (String, String))> = Vec::new();
        for teller in &tellers {
            let Some(line) = topic(teller) else { continue };
            match told.iter_mut().find(|(_, known)| *known == line) {
                Some((who, _)) => who.push(teller.who.to_owned()),
                None => told.push((vec![teller.who.to_owned()], line)),
            }
        }
        let mut heading = heading;
        let is_one = told.len() == 1;
        for (who, (line, by)) in told {
            let line = match who.as_slice() {
                [_] if tellers.len() == 1 => line,
                _ if is_one => format!("both sides: {line}"),
                who => format!("{}: {line}", list(who)),
            };
            page.section(heading, &line);
            if !by.is_empty() {
                page.line(1, &by);
            }
            heading = "";
        }
    }
}

fn logs(teller: &Teller<'_>) -> Option<(String, String)> {
    let to: Vec<String> = teller.reports.logs.iter().map(log).collect();
    let by = by(&teller.said.logs);
    Some(match (to.is_empty(), by.is_empty()) {
        (true, _) => ("none".to_owned(), by),
        (false, true) => (list(&to), "by the mesh's settings".to_owned()),
        (false, false) => (list(&to), by),
    })
}

fn log(log: &Log) -> String {
    let to = match log.kind.as_str() {
        "file" => format!("to {}", log.to),
        "grpc" => format!("to {} by gRPC", title(&log.to)),
        "open_telemetry" => format!("to {} by OpenTelemetry", title(&log.to)),
        other => format!("by {other}, which explain does not read"),
    };
    let only = log.only.as_ref().map(|only| format!(" where {only}")).unwrap_or_default();
    let filtered = if log.filtered { " as far as a filter says that explain does not read" } else { "" };
    format!("{to}{only}{filtered}")
}

/// What is counted of requests, and of connections that nobody takes apart.
const OF_REQUESTS: [&str; 4] =
    [metric::REQUESTS, metric::DURATION, metric::REQUEST_BYTES, metric::RESPONSE_BYTES];
const OF_CONNECTIONS: [&str; 4] =
    [metric::TCP_OPENED, metric::TCP_CLOSED, metric::TCP_SENT, metric::TCP_RECEIVED];

fn metrics(teller: &Teller<'_>) -> Option<(String, String)> {
    let all = match &teller.way.handling {
        Some(Handling::Http(_)) => OF_REQUESTS,
        Some(Handling::Tcp(_)) => OF_CONNECTIONS,
        None => return None,
    };
    let (counted, left_out): (Vec<&str>, Vec<&str>) =
        all.into_iter().partition(|name| teller.reports.metrics.iter().any(|found| found == name));
    let names = |names: &[&str]| list(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let line = match (counted.as_slice(), left_out.as_slice()) {
        ([], _) => "not counted".to_owned(),
        (_, []) => "counted".to_owned(),
        (_, left_out) => format!("counted, without {}", names(left_out)),
    };
    Some((line, by(&teller.said.metrics)))
}

fn traces(teller: &Teller<'_>) -> Option<(String, String)> {
    let Some(Handling::Http(_)) = &teller.way.handling else { return None };
    let line = match &teller.reports.tracing {
        None => "none".to_owned(),
        Some(traced) => {
            let to = match (&traced.cluster, &traced.tracer) {
                (Some(cluster), Some(tracer)) => {
                    format!("to {} by {}", title(cluster), tracer.trim_start_matches("envoy.tracers."))
                }
                (None, Some(tracer)) => format!("by {tracer}, which explain does not read"),
                (_, None) => "to the collector of the proxy's bootstrap".to_owned(),
            };
            format!("{} of the requests that nobody has decided about, {to}", traced.share)
        }
    };
    Some((line, by(&teller.said.traces)))
}

fn by(said: &[Written]) -> String {
    let places: Vec<String> = said.iter().map(place).collect();
    if places.is_empty() { String::new() } else { format!("by {}", list(&places)) }
}
