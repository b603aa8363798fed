//! The loggers by which Envoy counts requests and connections.
//!
//! Knows: Envoy's stats logger, and which of its command operators holds what. Must not know: how the metrics are scraped (that is
//! `meltemi_telemetry`'s), nor what a listener is for.   Start at [`Side`].
//! Invariant: nothing that a stranger sends is a tag's value: no path, no Host header. What is not known is left empty.

use meltemi_model::proxy::STATS_LOGGER;
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
    /// Counts requests.
    pub(crate) fn requests(self) -> AccessLog {
        let tags = || {
            let http = [(tag::RESPONSE_CODE, "%RESPONSE_CODE%"), (tag::GRPC_STATUS, "%GRPC_STATUS_NUMBER%")];
            self.tags(&http)
        };
        let histogram = |name: &str, unit: Unit, value: &str| Histogram {
            stat: Some(Stat { name: name.to_owned(), tags: tags() }),
            unit: unit.into(),
            value_format: value.to_owned(),
        };
        let config = Config {
            counters: vec![one(metric::REQUESTS, tags())],
            histograms: vec![
                histogram(metric::DURATION, Unit::Milliseconds, "%DURATION%"),
                // With headers, as in Istio.
                histogram(metric::REQUEST_BYTES, Unit::Bytes, "%DOWNSTREAM_WIRE_BYTES_RECEIVED%"),
                histogram(metric::RESPONSE_BYTES, Unit::Bytes, "%DOWNSTREAM_WIRE_BYTES_SENT%"),
            ],
            ..Config::default()
        };
        logger(None, config)
    }

    /// Counts connections: those that reached someone, those that ended, and those that ended without having reached anyone.
    pub(crate) fn connections(self) -> [AccessLog; 3] {
        let opened =
            || Config { counters: vec![one(metric::TCP_OPENED, self.tags(&[]))], ..Config::default() };
        let bytes = |name: &str, value: &str| Counter {
            stat: Some(Stat { name: name.to_owned(), tags: self.tags(&[]) }),
            value_format: value.to_owned(),
            value_fixed: None,
        };
        let ended = Config {
            counters: vec![
                one(metric::TCP_CLOSED, self.tags(&[])),
                bytes(metric::TCP_SENT, "%BYTES_SENT%"),
                bytes(metric::TCP_RECEIVED, "%BYTES_RECEIVED%"),
            ],
            ..Config::default()
        };
        let never = FilterSpecifier::ResponseFlagFilter(ResponseFlagFilter {
            flags: NEVER_CONNECTED.map(str::to_owned).to_vec(),
        });
        let filters = [of_type(AccessLogType::TcpConnectionEnd, false), filter(never)].to_vec();
        [
            logger(Some(of_type(AccessLogType::TcpUpstreamConnected, false)), opened()),
            logger(Some(filter(FilterSpecifier::AndFilter(AndFilter { filters }))), opened()),
            logger(Some(of_type(AccessLogType::TcpConnectionEnd, false)), ended),
        ]
    }

    /// In the order of Istio's labels.
    fn tags(self, more: &[(&str, &str)]) -> Vec<Tag> {
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
        tags.map(|(name, value)| Tag {
            name: (*name).to_owned(),
            value_format: (*value).to_owned(),
            ..Tag::default()
        })
        .collect()
    }
}

/// A text as a format that holds no operator.
fn literal(text: &str) -> String {
    text.replace('%', "%%")
}

/// The same logger, not at the moment when a connection has reached its endpoint: that moment is for counting.
pub(crate) fn at_the_end(log: AccessLog) -> AccessLog {
    AccessLog { filter: Some(of_type(AccessLogType::TcpUpstreamConnected, true)), ..log }
}

fn one(name: &str, tags: Vec<Tag>) -> Counter {
    Counter {
        stat: Some(Stat { name: name.to_owned(), tags }),
        value_format: String::new(),
        value_fixed: u64_value(1),
    }
}

fn logger(filter: Option<AccessLogFilter>, config: Config) -> AccessLog {
    // Not one scope for all (`sharing_name`): Envoy 1.40 then dies at the end of `--mode validate`. Series are one by their names even so,
    // and a listener that is replaced drains long enough for its successor to count on where it stood.
    let scope = Scope {
        max_counters: u32_value(MAX_COUNTERS),
        max_histograms: u32_value(MAX_HISTOGRAMS),
        ..Scope::default()
    };
    AccessLog {
        name: STATS_LOGGER.to_owned(),
        filter,
        config_type: Some(access_log::ConfigType::TypedConfig(pack(&Config {
            stats_scope: Some(scope),
            ..config
        }))),
    }
}

fn of_type(kind: AccessLogType, exclude: bool) -> AccessLogFilter {
    filter(FilterSpecifier::LogTypeFilter(LogTypeFilter { types: vec![kind.into()], exclude }))
}

fn filter(specifier: FilterSpecifier) -> AccessLogFilter {
    AccessLogFilter { filter_specifier: Some(specifier) }
}
