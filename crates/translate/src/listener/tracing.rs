//! Tracing: the part of an HTTP connection manager that says which requests are traced, and who takes the spans.
//!
//! Knows: Envoy's tracers, and Istio's tags (Istio: pilot/pkg/networking/core/tracing.go). Must not know which provider is asked.
//! Invariant: nothing in it is of one proxy but the name of its service, where a tracer needs to be told it: what else is a proxy's own, Envoy
//! reads from its node.

use std::collections::BTreeMap;
use std::time::Duration;

use meltemi_api::MeshConfig;
use meltemi_api::mesh_config::{
    DynatraceSampler, ExtensionProvider, HttpHeader, HttpReport, Opentelemetry, ServiceAttributes, ServiceRef, TraceContext,
    Zipkin,
};
use meltemi_api::telemetry::CustomTag;
use meltemi_api::value::check_log_format;
use meltemi_catalog::ResourceName;
use meltemi_model::telemetry::Tracing;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, HttpService, HttpUri, TypedExtensionConfig, header_value_option::HeaderAppendAction,
    http_uri::HttpUpstreamType,
};
use meltemi_proto::envoy::config::trace::v3::{
    DatadogConfig, OpenTelemetryConfig, SkyWalkingConfig, ZipkinConfig, tracing as tracer,
    zipkin_config::{CollectorEndpointVersion, TraceContextOption},
};
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing as Manager;
use meltemi_proto::envoy::extensions::tracers::opentelemetry::resource_detectors::v3::{
    DynatraceResourceDetectorConfig, EnvironmentResourceDetectorConfig,
};
use meltemi_proto::envoy::extensions::tracers::opentelemetry::samplers::v3::DynatraceSamplerConfig;
use meltemi_proto::envoy::r#type::tracing::v3::{CustomTag as Tag, custom_tag};
use meltemi_proto::envoy::r#type::v3::Percent;
use meltemi_proto::google::protobuf::{Any, BoolValue};

use super::access_log::grpc_service;
use super::collector::Collector;
use super::settings::ServiceNames;
use crate::wrap::{self, u32_value};

/// How long a report may take where nobody says (Istio: core/tracing.go, for Zipkin).
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which requests are traced where a Telemetry, or `defaultProviders`, says something. None: none. With the clusters that it needs.
pub(crate) fn of_provider(
    said: &Tracing,
    mesh: &MeshConfig,
    service: &ServiceNames,
    find: impl Fn(ServiceRef<'_>) -> Option<Collector>,
) -> Option<(Manager, Vec<ResourceName>)> {
    if said.disabled {
        return None;
    }
    let provider = mesh.provider(said.provider.as_deref()?)?;
    let collector = find(provider.service().filter(|_| provider.traces())?)?;
    let asked = match provider.sampler() {
        None => None,
        Some(sampler) => Some(find(sampler)?),
    };
    let service = match naming(&provider) {
        Some(Naming::Conventional) => &service.conventional,
        Some(Naming::Canonical) | None => &service.canonical,
    };
    let (name, config, max_length) = tracer_of(&provider, service, &collector, asked.as_ref())?;
    let sampler = provider.opentelemetry.as_ref().is_some_and(|spans| spans.dynatrace_sampler.is_some());
    // A sampler decides itself, of everything.
    let share = match said.sampling {
        _ if sampler => 100.0,
        Some(share) => share.as_f64(),
        None => mesh.default_config.tracing.sampling(),
    };
    let tags = said.tags.as_ref().filter(|tags| !tags.is_empty());
    let tags = custom_tags(tags.unwrap_or(&mesh.default_config.tracing.custom_tags), said.istio_tags);
    let max_length =
        if max_length == 0 { mesh.default_config.tracing.max_path_tag_length } else { max_length };
    let manager = Manager {
        max_path_tag_length: (max_length != 0).then(|| u32_value(max_length)).flatten(),
        provider: Some(tracer::Http {
            name: name.to_owned(),
            config_type: Some(tracer::http::ConfigType::TypedConfig(config)),
        }),
        // SkyWalking's spans are of two kinds.
        spawn_upstream_span: provider.skywalking.is_some().then_some(BoolValue { value: true }),
        no_context_propagation: said.ends_here,
        ..manager(share, tags)
    };
    let needs = std::iter::once(collector.cluster).chain(asked.map(|asked| asked.cluster));
    Some((manager, needs.collect()))
}

/// Which requests are traced where nobody says, and the bootstrap has a tracer.
pub(crate) fn of_bootstrap(mesh: &MeshConfig) -> Option<Manager> {
    let tracing = &mesh.default_config.tracing;
    if !mesh.enable_tracing || !tracing.has_tracer() {
        return None;
    }
    let tags = custom_tags(&tracing.custom_tags, tracing.enable_istio_tags.unwrap_or(true));
    let max_length = Some(tracing.max_path_tag_length).filter(|length| *length != 0);
    Some(Manager { max_path_tag_length: max_length.and_then(u32_value), ..manager(tracing.sampling(), tags) })
}

/// By what a tracer calls the proxy's service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Naming {
    /// As its node says.
    Canonical,
    /// As OpenTelemetry's conventions for Kubernetes say.
    Conventional,
}

/// How a provider's tracer is told what the proxy's service is called; none: it is not.
pub(crate) fn naming(provider: &ExtensionProvider) -> Option<Naming> {
    let of = |spans: &Opentelemetry| match spans.service_attribute_enrichment {
        ServiceAttributes::IstioCanonical => Naming::Canonical,
        ServiceAttributes::OtelSemanticConventions => Naming::Conventional,
    };
    let datadog = provider.datadog.as_ref().map(|_| Naming::Canonical);
    provider.opentelemetry.as_ref().map(of).or(datadog)
}

/// As Istio has it: who asks for a trace gets it.
fn manager(share: f64, custom_tags: Vec<Tag>) -> Manager {
    Manager {
        client_sampling: Some(Percent { value: 100.0 }),
        random_sampling: Some(Percent { value: share }),
        overall_sampling: Some(Percent { value: 100.0 }),
        custom_tags,
        ..Manager::default()
    }
}

fn tracer_of(
    provider: &ExtensionProvider,
    service: &str,
    collector: &Collector,
    asked: Option<&Collector>,
) -> Option<(&'static str, Any, u32)> {
    if let Some(spans) = &provider.opentelemetry {
        return Some((
            "envoy.tracers.opentelemetry",
            pack(&opentelemetry(spans, service, collector, asked)?),
            spans.max_tag_length,
        ));
    }
    if let Some(spans) = &provider.zipkin {
        return Some(("envoy.tracers.zipkin", pack(&zipkin(spans, collector)), spans.max_tag_length));
    }
    if let Some(spans) = &provider.datadog {
        let config = DatadogConfig {
            collector_cluster: collector.cluster.to_string(),
            service_name: service.to_owned(),
            collector_hostname: collector.host.to_string(),
            ..DatadogConfig::default()
        };
        return Some(("envoy.tracers.datadog", pack(&config), spans.max_tag_length));
    }
    provider.skywalking.as_ref().map(|_| {
        let config =
            SkyWalkingConfig { grpc_service: Some(grpc_service(collector)), ..SkyWalkingConfig::default() };
        ("envoy.tracers.skywalking", pack(&config), 0)
    })
}

/// By the newer field, as Istio does since 1.29.
fn zipkin(spans: &Zipkin, collector: &Collector) -> ZipkinConfig {
    let path = if spans.path.is_empty() { "/api/v2/spans" } else { &spans.path };
    let uri = format!("http://{}{path}", collector.host);
    ZipkinConfig {
        collector_endpoint_version: CollectorEndpointVersion::HttpJson.into(),
        trace_id_128bit: !spans.enable_64bit_trace_id,
        shared_span_context: Some(BoolValue { value: false }),
        collector_service: Some(http_service(
            uri,
            collector,
            spans.timeout.map(|timeout| timeout.0),
            &spans.headers,
        )),
        trace_context_option: match spans.trace_context_option {
            TraceContext::B3 => TraceContextOption::UseB3,
            TraceContext::B3WithW3c => TraceContextOption::UseB3WithW3cPropagation,
        }
        .into(),
        ..ZipkinConfig::default()
    }
}

/// None for a sampler that has no way to ask.
fn opentelemetry(
    spans: &Opentelemetry,
    service: &str,
    collector: &Collector,
    asked: Option<&Collector>,
) -> Option<OpenTelemetryConfig> {
    let by_conventions = spans.service_attribute_enrichment == ServiceAttributes::OtelSemanticConventions;
    let detector = |name: &str, config| TypedExtensionConfig {
        name: format!("envoy.tracers.opentelemetry.resource_detectors.{name}"),
        typed_config: Some(config),
    };
    let environment = (spans.resource_detectors.environment.is_some() || by_conventions)
        .then(|| detector("environment", pack(&EnvironmentResourceDetectorConfig::default())));
    let dynatrace = spans
        .resource_detectors
        .dynatrace
        .map(|_| detector("dynatrace", pack(&DynatraceResourceDetectorConfig::default())));
    let sampler = match &spans.dynatrace_sampler {
        None => None,
        Some(sampler) => Some(match (&sampler.http_service, asked) {
            (Some(api), Some(asked)) => dynatrace_sampler(sampler, &api.http.path, &api.http, asked),
            _ => dynatrace_sampler(sampler, SAMPLING, spans.http.as_ref()?, collector),
        }),
    };
    let mut config = OpenTelemetryConfig {
        service_name: service.to_owned(),
        resource_detectors: environment.into_iter().chain(dynatrace).collect(),
        sampler,
        ..OpenTelemetryConfig::default()
    };
    match &spans.http {
        Some(HttpReport { path, timeout, headers }) => {
            let uri = format!("{}/{}", collector.host, path.trim_start_matches('/'));
            config.http_service =
                Some(http_service(uri, collector, timeout.map(|timeout| timeout.0), headers));
        }
        None => {
            let report = spans.grpc.as_ref();
            let headers = report.map(|report| report.initial_metadata.as_slice()).unwrap_or_default();
            let mut service = grpc_service(collector);
            service.timeout = report.and_then(|report| report.timeout).map(wrap::duration);
            service.initial_metadata = headers.iter().map(header).collect();
            config.grpc_service = Some(service);
        }
    }
    Some(config)
}

/// Where Dynatrace says what is traced, beside where it takes spans.
const SAMPLING: &str = "api/v2/samplingConfiguration";

fn dynatrace_sampler(
    sampler: &DynatraceSampler,
    path: &str,
    report: &HttpReport,
    collector: &Collector,
) -> TypedExtensionConfig {
    let uri = format!("{}/{}", collector.host, path.trim_start_matches('/'));
    let config = DynatraceSamplerConfig {
        tenant: sampler.tenant.clone(),
        cluster_id: sampler.cluster_id,
        http_service: Some(http_service(
            uri,
            collector,
            report.timeout.map(|timeout| timeout.0),
            &report.headers,
        )),
        root_spans_per_minute: sampler.root_spans_per_minute,
    };
    TypedExtensionConfig {
        name: "envoy.tracers.opentelemetry.samplers.dynatrace".to_owned(),
        typed_config: Some(pack(&config)),
    }
}

fn http_service(
    uri: String,
    collector: &Collector,
    timeout: Option<Duration>,
    headers: &[HttpHeader],
) -> HttpService {
    let timeout = meltemi_api::value::Duration(timeout.unwrap_or(REPORT_TIMEOUT));
    let headers = headers.iter().map(|written| HeaderValueOption {
        header: Some(header(written)),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    });
    HttpService {
        http_uri: Some(HttpUri {
            uri,
            timeout: Some(wrap::duration(timeout)),
            http_upstream_type: Some(HttpUpstreamType::Cluster(collector.cluster.to_string())),
        }),
        request_headers_to_add: headers.collect(),
        ..HttpService::default()
    }
}

fn header(written: &HttpHeader) -> HeaderValue {
    // Envoy sends it, and so it is told the value: the one place that must use it.
    HeaderValue { key: written.name.clone(), value: written.value.reveal().clone(), ..HeaderValue::default() }
}

/// By name. Istio's own are of the node, which Envoy reads itself, so that proxies share a listener.
fn custom_tags(tags: &BTreeMap<String, CustomTag>, istio: bool) -> Vec<Tag> {
    let labels = "xds.node.metadata.LABELS";
    let label = |key: &str, default: &str| {
        format!("%CEL(has({labels}) && '{key}' in {labels} ? {labels}['{key}'] : '{default}')%")
    };
    let said = |key: &str, default: &str| {
        format!("%CEL(has(xds.node.metadata.{key}) ? xds.node.metadata.{key} : '{default}')%")
    };
    let own = istio.then(|| {
        [
            ("istio.canonical_revision", label("service.istio.io/canonical-revision", "latest")),
            ("istio.canonical_service", label("service.istio.io/canonical-name", "unknown")),
            ("istio.cluster_id", said("CLUSTER_ID", "unknown")),
            ("istio.mesh_id", said("MESH_ID", "unknown")),
            ("istio.namespace", said("NAMESPACE", "default")),
        ]
    });
    let own =
        own.into_iter().flatten().map(|(name, value)| (name.to_owned(), custom_tag::Type::Value(value)));
    let written = tags.iter().filter_map(|(name, tag)| Some((name.clone(), value(tag)?)));
    let mut tags: Vec<Tag> =
        own.chain(written).map(|(tag, r#type)| Tag { tag, r#type: Some(r#type) }).collect();
    // Envoy takes the last of a name; a user's tag comes after Istio's own.
    tags.sort_by(|one, other| one.tag.cmp(&other.tag));
    tags
}

/// None for a tag that has no value, or one that Envoy does not take: findings say so.
fn value(tag: &CustomTag) -> Option<custom_tag::Type> {
    Some(match tag {
        CustomTag::Literal(value) => custom_tag::Type::Literal(custom_tag::Literal { value: value.clone() }),
        CustomTag::Environment { name, default } => custom_tag::Type::Environment(custom_tag::Environment {
            name: name.clone(),
            default_value: default.clone(),
        }),
        CustomTag::Header { name, default } => custom_tag::Type::RequestHeader(custom_tag::Header {
            name: name.clone(),
            default_value: default.clone(),
        }),
        CustomTag::Formatter(format) if !format.is_empty() && check_log_format(format).is_ok() => {
            custom_tag::Type::Value(format.clone())
        }
        CustomTag::Formatter(_) | CustomTag::Unset => return None,
    })
}
