//! The loggers by which Envoy counts requests and connections.
//!
//! Knows: Envoy's stats logger, and which of its command operators holds what. Must not know: how the metrics are scraped (that is
//! `meltemi_telemetry`'s), nor what a listener is for.   Start at [`Side`].
//! Invariant: nothing that a stranger sends is a tag's value: no path, no Host header. What is not known is left empty.

use meltemi_api::telemetry::IstioMetric;
use meltemi_model::proxy::STATS_LOGGER;
use meltemi_model::telemetry::{Metrics, Tags};
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, AndFilter, LogTypeFilter, ResponseFlagFilter, access_log,
    access_log_filter::FilterSpecifier,
};
use meltemi_proto::envoy::data::accesslog::v3::AccessLogType;
use meltemi_proto::envoy::extensions::access_loggers::stats::v3::{
    Config,
    config::{Counter, Histogram, Stat, Tag, histogram::Unit},
};
use meltemi_proto::envoy::r#type::v3::Scope;
use meltemi_telemetry::{metric, tag};

use super::access_log::only;
use crate::wrap::{u32_value, u64_value};

/// How many series one logger keeps at most. Labels are of workloads, services and status codes: a listener that gets here sees hundreds
/// of workloads answer with every code, and what comes later is not counted. A histogram takes some kilobytes of Envoy.
const MAX_COUNTERS: u32 = 20_000;
const MAX_HISTOGRAMS: u32 = 5_000;

/// Flags of connections that ended before they had reached anyone. Whoever has one of them was not logged as connected.
const NEVER_CONNECTED: [&str; 5] = ["NC", "UF", "UH", "UO", "URX"];

/// Who reports, and what of it is known beforehand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side<'a> {
    /// The caller's proxy: Envoy takes the caller from its own node, who is called from the metadata of endpoint and cluster.
    Source,
    /// The proxy of who is called.
    Destination {
        /// Who is called, packed.
        workload: &'a str,
        /// What is called, packed.
        service: &'a str,
        /// Callers show certificates.
        mutual_tls: bool,
    },
}

impl Side<'_> {
    /// Counts requests, but for what is not to be counted.
    pub(crate) fn requests(self, asked: &Metrics) -> Option<AccessLog> {
        let is_asked = |metric: &IstioMetric| !asked.disabled && !asked.dropped.contains(metric);
        let stat = |name: &str, metric| {
            let http = [(tag::RESPONSE_CODE, "%RESPONSE_CODE%"), (tag::GRPC_STATUS, "%GRPC_STATUS_NUMBER%")];
            Some(Stat { name: name.to_owned(), tags: self.tags(&http, asked.tags.get(&metric)) })
        };
        // With headers, as in Istio.
        let histograms = [
            (metric::DURATION, IstioMetric::RequestDuration, Unit::Milliseconds, "%DURATION%"),
            (
                metric::REQUEST_BYTES,
                IstioMetric::RequestSize,
                Unit::Bytes,
                "%DOWNSTREAM_WIRE_BYTES_RECEIVED%",
            ),
            (metric::RESPONSE_BYTES, IstioMetric::ResponseSize, Unit::Bytes, "%DOWNSTREAM_WIRE_BYTES_SENT%"),
        ];
        let histograms = histograms.into_iter().filter(|(_, metric, ..)| is_asked(metric));
        let requests = Some(IstioMetric::RequestCount).filter(is_asked);
        let config = Config {
            counters: requests.map(|metric| one(stat(metric::REQUESTS, metric))).into_iter().collect(),
            histograms: histograms
                .map(|(name, metric, unit, value)| Histogram {
                    stat: stat(name, metric),
                    unit: unit.into(),
                    value_format: value.to_owned(),
                })
                .collect(),
            ..Config::default()
        };
        logger(None, config)
    }

    /// Counts connections: those that reached someone, those that ended, and those that ended without having reached anyone; but for
    /// what is not to be counted.
    pub(crate) fn connections(self, asked: &Metrics) -> Vec<AccessLog> {
        let is_asked = |metric: &IstioMetric| !asked.disabled && !asked.dropped.contains(metric);
        let stat = |name: &str, metric| {
            Some(Stat { name: name.to_owned(), tags: self.tags(&[], asked.tags.get(&metric)) })
        };
        let opened = || {
            let opened = Some(IstioMetric::TcpOpenedConnections).filter(is_asked);
            let opened = opened.map(|metric| one(stat(metric::TCP_OPENED, metric)));
            Config { counters: opened.into_iter().collect(), ..Config::default() }
        };
        let bytes = [
            (metric::TCP_SENT, IstioMetric::TcpSentBytes, "%BYTES_SENT%"),
            (metric::TCP_RECEIVED, IstioMetric::TcpReceivedBytes, "%BYTES_RECEIVED%"),
        ];
        let bytes = bytes.into_iter().filter(|(_, metric, _)| is_asked(metric));
        let closed = Some(IstioMetric::TcpClosedConnections).filter(is_asked);
        let closed = closed.map(|metric| one(stat(metric::TCP_CLOSED, metric)));
        let ended = Config {
            counters: closed
                .into_iter()
                .chain(bytes.map(|(name, metric, value)| Counter {
                    stat: stat(name, metric),
                    value_format: value.to_owned(),
                    value_fixed: None,
                }))
                .collect(),
            ..Config::default()
        };
        let never = FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter {
            flags: NEVER_CONNECTED.map(str::to_owned).to_vec(),
        });
        let filters = [of_type(AccessLogType::TcpConnectionEnd, false), filter(never)].to_vec();
        let loggers = [
            logger(Some(of_type(AccessLogType::TcpUpstreamConnected, false)), opened()),
            logger(Some(filter(FilterSpecifier::AndFilter(AndFilter { filters }))), opened()),
            logger(Some(of_type(AccessLogType::TcpConnectionEnd, false)), ended),
        ];
        loggers.into_iter().flatten().collect()
    }

    /// In the order of Istio's labels; then those that differ.
    fn tags(self, more: &[(&str, &str)], changes: Option<&Tags>) -> Vec<Tag> {
        let node = format!("%CEL(xds.node.metadata.{})%", tag::NODE_METADATA);
        let (workload, service) = match self {
            Self::Source => Default::default(),
            Self::Destination { workload, service, .. } => (literal(workload), literal(service)),
        };
        let own: &[(&str, &str)] = match &self {
            Self::Source => &[
                (tag::REPORTER, tag::reporter::SOURCE),
                (tag::SOURCE, &node),
                (tag::SOURCE_PRINCIPAL, "%UPSTREAM_LOCAL_URI_SAN%"),
                (tag::DESTINATION, "%UPSTREAM_METADATA(istio:workload)%"),
                (tag::DESTINATION_PRINCIPAL, "%UPSTREAM_PEER_URI_SAN%"),
                (tag::SERVICE, "%CLUSTER_METADATA(meltemi:service)%"),
            ],
            Self::Destination { mutual_tls: true, .. } => &[
                (tag::REPORTER, tag::reporter::DESTINATION),
                (tag::SOURCE_PRINCIPAL, "%DOWNSTREAM_PEER_URI_SAN%"),
                (tag::DESTINATION, &workload),
                (tag::DESTINATION_PRINCIPAL, "%DOWNSTREAM_LOCAL_URI_SAN%"),
                (tag::SERVICE, &service),
                (tag::SECURITY, tag::security::MUTUAL_TLS),
            ],
            Self::Destination { mutual_tls: false, .. } => &[
                (tag::REPORTER, tag::reporter::DESTINATION),
                (tag::DESTINATION, &workload),
                (tag::SERVICE, &service),
                (tag::SECURITY, tag::security::NONE),
            ],
        };
        let flags = [(tag::RESPONSE_FLAGS, "%RESPONSE_FLAGS%")];
        // Envoy takes no empty format; a tag without a value is none.
        let tags = own.iter().chain(more).chain(&flags).filter(|(_, value)| !value.is_empty());
        let tags = tags.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let tags = match changes {
            Some(changes) => changed(tags.collect(), changes),
            None => tags.collect(),
        };
        tags.into_iter().map(|(name, value_format)| Tag { name, value_format, ..Tag::default() }).collect()
    }
}

/// Labels that are set or taken away. One that is set has a name of its own until a scrape, so that it counts before what is spread.
fn changed(mut tags: Vec<(String, String)>, changes: &Tags) -> Vec<(String, String)> {
    tags.retain(|(name, _)| !changes.contains_key(name));
    let removed: Vec<&str> =
        changes.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect();
    // Of a packed text no part can be taken away here, but all of it can.
    for (packed, labels) in meltemi_telemetry::rule::packed() {
        if labels.iter().all(|label| changes.contains_key(label.as_str())) {
            tags.retain(|(name, _)| name != packed);
        }
    }
    if !removed.is_empty() {
        tags.push((tag::REMOVED.to_owned(), removed.join(";")));
    }
    let set =
        changes.iter().filter_map(|(name, value)| Some((format!("{}{name}", tag::SET), value.clone()?)));
    tags.extend(set);
    tags
}

/// A text as a format that holds no operator.
fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

/// The same logger, not at the moment when a connection has reached its endpoint: that moment is for counting.
pub(crate) fn at_the_end(log: AccessLog) -> AccessLog {
    only(log, of_type(AccessLogType::TcpUpstreamConnected, true))
}

fn one(stat: Option<Stat>) -> Counter {
    Counter { stat, value_format: String::new(), value_fixed: u64_value(1) }
}

/// None where nothing is counted.
fn logger(filter: Option<AccessLogFilter>, config: Config) -> Option<AccessLog> {
    if config.counters.is_empty() && config.histograms.is_empty() {
        return None;
    }
    // Not one scope for all (`sharing_name`): Envoy 1.40 then dies at the end of `--mode validate`. Series are one by their names even so,
    // and a listener that is replaced drains long enough for its successor to count on where it stood.
    let scope = Scope {
        max_counters: u32_value(MAX_COUNTERS),
        max_histograms: u32_value(MAX_HISTOGRAMS),
        ..Scope::default()
    };
    Some(AccessLog {
        name: STATS_LOGGER.to_owned(),
        filter,
        config_type: Some(access_log::ConfigType::TypedConfig(pack(&Config {
            stats_scope: Some(scope),
            ..config
        }))),
    })
}

fn of_type(kind: AccessLogType, exclude: bool) -> AccessLogFilter {
    filter(FilterSpecifier::LogTypeFilter(LogTypeFilter { types: vec![kind.into()], exclude }))
}

fn filter(specifier: FilterSpecifier) -> AccessLogFilter {
    AccessLogFilter { filter_specifier: Some(specifier) }
}
