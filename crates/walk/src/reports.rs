//! What a proxy tells of a request or connection: its logs, what it counts, and who gets its spans.
//!
//! Knows: the loggers and tracers of Envoy's filters. Must not know: who asked for them.

use meltemi_proto::envoy::config::accesslog::v3::access_log::ConfigType as LoggerType;
use meltemi_proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use meltemi_proto::envoy::config::accesslog::v3::extension_filter::ConfigType as FilterType;
use meltemi_proto::envoy::config::accesslog::v3::{AccessLog, AccessLogFilter};
use meltemi_proto::envoy::config::core::v3::grpc_service::TargetSpecifier;
use meltemi_proto::envoy::config::core::v3::http_uri::HttpUpstreamType;
use meltemi_proto::envoy::config::core::v3::{GrpcService, HttpService};
use meltemi_proto::envoy::config::trace::v3::tracing as tracer;
use meltemi_proto::envoy::config::trace::v3::{
    DatadogConfig, OpenTelemetryConfig, SkyWalkingConfig, ZipkinConfig,
};
use meltemi_proto::envoy::data::accesslog::v3::AccessLogType;
use meltemi_proto::envoy::extensions::access_loggers::file::v3::FileAccessLog;
use meltemi_proto::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use meltemi_proto::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use meltemi_proto::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use meltemi_proto::envoy::extensions::access_loggers::stats::v3::Config as StatsConfig;
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use meltemi_proto::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use meltemi_proto::google::protobuf::Any;
use serde::Serialize;

use crate::configuration::{Broken, opened};
use crate::share::Share;

/// What a proxy tells of what it sends on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reports {
    /// Where it logs.
    pub logs: Vec<Log>,
    /// The statistics that it counts by loggers, each once, sorted.
    pub metrics: Vec<String>,
    /// Which requests are traced; none: none, or a connection that is not taken apart.
    pub tracing: Option<Traced>,
}

/// A log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// `file`, `grpc` or `open_telemetry`; else what the logger is called.
    pub kind: String,
    /// A path, or a cluster; empty where the walk does not read it.
    pub to: String,
    /// The expression of which the entry must be true; none: everything is logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// Another filter decides, too, which the walk does not read; when in a connection's life it is written counts for none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub filtered: bool,
}

/// Which requests are traced.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Traced {
    /// The tracer, as `envoy.tracers.zipkin`; none: the one of the bootstrap.
    pub tracer: Option<String>,
    /// The cluster that gets the spans; none: the bootstrap says, or the walk does not read the tracer.
    pub cluster: Option<String>,
    /// How many of the requests about which nobody has decided before.
    pub share: Share,
}

/// Of an HTTP connection manager.
pub(crate) fn of_manager(manager: &HttpConnectionManager, what: &str) -> Result<Reports, Broken> {
    let mut reports = of_loggers(&manager.access_log, what)?;
    reports.tracing = manager.tracing.as_ref().map(|tracing| traced(tracing, what)).transpose()?;
    Ok(reports)
}

/// Of a TCP proxy.
pub(crate) fn of_proxy(proxy: &TcpProxy, what: &str) -> Result<Reports, Broken> {
    of_loggers(&proxy.access_log, what)
}

fn of_loggers(loggers: &[AccessLog], what: &str) -> Result<Reports, Broken> {
    let mut reports = Reports::default();
    for logger in loggers {
        let any = logger.config_type.as_ref().map(|LoggerType::TypedConfig(any)| any);
        let of = || format!("logger {} of {what}", logger.name);
        if let Some(stats) = opened::<StatsConfig>(any, of)? {
            let counters = stats.counters.iter().filter_map(|counter| counter.stat.as_ref());
            let histograms = stats.histograms.iter().filter_map(|histogram| histogram.stat.as_ref());
            reports.metrics.extend(counters.chain(histograms).map(|stat| stat.name.clone()));
            continue;
        }
        let (kind, to) = destination(any, of)?.unwrap_or_else(|| (logger.name.clone(), String::new()));
        let mut log = Log { kind, to, only: None, filtered: false };
        filtered(logger.filter.as_ref(), &mut log, what)?;
        reports.logs.push(log);
    }
    reports.metrics.sort_unstable();
    reports.metrics.dedup();
    Ok(reports)
}

/// What kind of logger it is, and where it writes; none for another kind.
fn destination(
    any: Option<&Any>,
    what: impl Fn() -> String + Copy,
) -> Result<Option<(String, String)>, Broken> {
    if let Some(file) = opened::<FileAccessLog>(any, what)? {
        return Ok(Some(("file".to_owned(), file.path)));
    }
    let common = |common: Option<CommonGrpcAccessLogConfig>| {
        let cluster = common.and_then(|common| by_grpc(common.grpc_service.as_ref()));
        Some(("grpc".to_owned(), cluster.unwrap_or_default()))
    };
    if let Some(grpc) = opened::<HttpGrpcAccessLogConfig>(any, what)? {
        return Ok(common(grpc.common_config));
    }
    if let Some(grpc) = opened::<TcpGrpcAccessLogConfig>(any, what)? {
        return Ok(common(grpc.common_config));
    }
    let otel = opened::<OpenTelemetryAccessLogConfig>(any, what)?;
    Ok(otel.map(|otel| {
        let cluster = by_grpc(otel.grpc_service.as_ref()).or_else(|| by_http(otel.http_service.as_ref()));
        ("open_telemetry".to_owned(), cluster.unwrap_or_default())
    }))
}

fn filtered(filter: Option<&AccessLogFilter>, log: &mut Log, what: &str) -> Result<(), Broken> {
    match filter.and_then(|filter| filter.filter_specifier.as_ref()) {
        None => {}
        Some(FilterSpecifier::AndFilter(all)) => {
            for filter in &all.filters {
                filtered(Some(filter), log, what)?;
            }
        }
        Some(FilterSpecifier::ExtensionFilter(extension)) => {
            let any = extension.config_type.as_ref().map(|FilterType::TypedConfig(any)| any);
            let of = || format!("filter {} of a logger of {what}", extension.name);
            match (opened::<ExpressionFilter>(any, of)?, &log.only) {
                (Some(filter), None) => log.only = Some(filter.expression),
                _ => log.filtered = true,
            }
        }
        // At which moments it logs; at the end nearly everybody does.
        Some(FilterSpecifier::LogTypeFilter(moments)) => {
            let has = |moment: AccessLogType| moments.types.contains(&moment.into());
            let ends = [AccessLogType::TcpConnectionEnd, AccessLogType::DownstreamEnd];
            log.filtered |= ends.into_iter().all(|end| has(end) == moments.exclude);
        }
        Some(_) => log.filtered = true,
    }
    Ok(())
}

fn traced(tracing: &Tracing, what: &str) -> Result<Traced, Broken> {
    // What is not written is all.
    let share = |percent: &Option<meltemi_proto::envoy::r#type::v3::Percent>| {
        percent.as_ref().map_or(Share::ALL, |percent| Share(percent.value))
    };
    let (random, overall) = (share(&tracing.random_sampling), share(&tracing.overall_sampling));
    let share = if overall < random { overall } else { random };
    let Some(provider) = &tracing.provider else { return Ok(Traced { tracer: None, cluster: None, share }) };
    let any = provider.config_type.as_ref().map(|tracer::http::ConfigType::TypedConfig(any)| any);
    let of = || format!("tracer {} of {what}", provider.name);
    let named = |name: String| Some(name).filter(|name| !name.is_empty());
    let cluster = if let Some(spans) = opened::<OpenTelemetryConfig>(any, of)? {
        by_grpc(spans.grpc_service.as_ref()).or_else(|| by_http(spans.http_service.as_ref()))
    } else if let Some(spans) = opened::<ZipkinConfig>(any, of)? {
        by_http(spans.collector_service.as_ref()).or_else(|| named(spans.collector_cluster))
    } else if let Some(spans) = opened::<DatadogConfig>(any, of)? {
        named(spans.collector_cluster)
    } else if let Some(spans) = opened::<SkyWalkingConfig>(any, of)? {
        by_grpc(spans.grpc_service.as_ref())
    } else {
        None
    };
    Ok(Traced { tracer: Some(provider.name.clone()), cluster, share })
}

fn by_grpc(service: Option<&GrpcService>) -> Option<String> {
    match service?.target_specifier.as_ref()? {
        TargetSpecifier::EnvoyGrpc(envoy) => Some(envoy.cluster_name.clone()),
        TargetSpecifier::GoogleGrpc(_) => None,
    }
}

fn by_http(service: Option<&HttpService>) -> Option<String> {
    match service?.http_uri.as_ref()?.http_upstream_type.as_ref()? {
        HttpUpstreamType::Cluster(cluster) => Some(cluster.clone()),
    }
}
