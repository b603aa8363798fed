//! `extensionProviders`: who takes logs, spans and metrics, by name (Istio's reference: MeshConfig.ExtensionProvider).

use std::collections::BTreeMap;

use meltemi_names::{Port, Secret};
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;

use crate::markers::{Unread, not_yet};
use crate::value::{Duration, check_log_format, non_empty, port_or_zero};

/// Someone who takes logs, spans or metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtensionProvider {
    /// What resources and `defaultProviders` call it.
    pub name: String,
    /// A file of each proxy.
    pub envoy_file_access_log: Option<FileLog>,
    /// A service that takes Envoy's own messages about requests.
    pub envoy_http_als: Option<GrpcLog>,
    /// A service that takes Envoy's own messages about connections.
    pub envoy_tcp_als: Option<GrpcLog>,
    /// A service that takes OpenTelemetry's logs.
    pub envoy_otel_als: Option<OtelLog>,
    /// A service that takes OpenTelemetry's spans.
    pub opentelemetry: Option<Opentelemetry>,
    /// A service that takes Zipkin's spans.
    pub zipkin: Option<Zipkin>,
    /// A service that takes Datadog's spans.
    pub datadog: Option<Collector>,
    /// A service that takes SkyWalking's spans.
    pub skywalking: Option<Skywalking>,
    /// Proxies count.
    pub prometheus: Option<Prometheus>,
    /// Not supported yet.
    pub stackdriver: not_yet::Provider,
    /// Not supported yet.
    pub lightstep: not_yet::Provider,
    /// Not supported yet.
    pub opencensus: not_yet::Provider,
    /// Not supported yet.
    pub envoy_ext_authz_http: not_yet::Provider,
    /// Not supported yet.
    pub envoy_ext_authz_grpc: not_yet::Provider,
    /// Not supported yet.
    pub sds: not_yet::Provider,
}

/// Nothing is to be said about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Prometheus {}

/// A service, as providers name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceRef<'a> {
    /// `host` or `namespace/host`.
    pub service: &'a str,
    /// Its port.
    pub port: Option<Port>,
}

impl ExtensionProvider {
    /// The service that it sends to, if it sends to one.
    pub fn service(&self) -> Option<ServiceRef<'_>> {
        let of = |service, port| Some(ServiceRef { service, port });
        let logs = self.envoy_http_als.as_ref().or(self.envoy_tcp_als.as_ref());
        let log = logs.and_then(|log| of(&log.service, log.port));
        let log = log.or_else(|| self.envoy_otel_als.as_ref().and_then(|log| of(&log.service, log.port)));
        let spans = self.opentelemetry.as_ref().and_then(|spans| of(&spans.service, spans.port));
        let spans = spans.or_else(|| self.zipkin.as_ref().and_then(|spans| of(&spans.service, spans.port)));
        let spans = spans.or_else(|| self.datadog.as_ref().and_then(|spans| of(&spans.service, spans.port)));
        let spans =
            spans.or_else(|| self.skywalking.as_ref().and_then(|spans| of(&spans.service, spans.port)));
        log.or(spans)
    }

    /// Another service, which says what is sent to the first.
    pub fn sampler(&self) -> Option<ServiceRef<'_>> {
        let api = self.opentelemetry.as_ref()?.dynatrace_sampler.as_ref()?.http_service.as_ref()?;
        Some(ServiceRef { service: &api.service, port: api.port })
    }

    /// All the services that it speaks to.
    pub fn services(&self) -> impl Iterator<Item = ServiceRef<'_>> {
        self.service().into_iter().chain(self.sampler())
    }

    /// Whether it takes access logs.
    pub fn logs(&self) -> bool {
        self.envoy_file_access_log.is_some()
            || self.envoy_http_als.is_some()
            || self.envoy_tcp_als.is_some()
            || self.envoy_otel_als.is_some()
    }

    /// Whether it takes spans.
    pub fn traces(&self) -> bool {
        self.opentelemetry.is_some()
            || self.zipkin.is_some()
            || self.datadog.is_some()
            || self.skywalking.is_some()
    }

    /// How many kinds of provider it says to be; one is right.
    pub(crate) fn kinds(&self) -> usize {
        let read = [
            self.envoy_file_access_log.is_some(),
            self.envoy_http_als.is_some(),
            self.envoy_tcp_als.is_some(),
            self.envoy_otel_als.is_some(),
            self.opentelemetry.is_some(),
            self.zipkin.is_some(),
            self.datadog.is_some(),
            self.skywalking.is_some(),
            self.prometheus.is_some(),
        ];
        let others = [
            self.stackdriver,
            self.lightstep,
            self.opencensus,
            self.envoy_ext_authz_http,
            self.envoy_ext_authz_grpc,
            self.sds,
        ];
        read.into_iter().chain(others.map(not_yet::Provider::is_given)).filter(|given| *given).count()
    }
}

/// A log in a file of each proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileLog {
    /// Empty: standard output.
    pub path: String,
    /// None: Istio's.
    pub log_format: Option<LogFormat>,
    /// Values that are not there are left out.
    pub omit_empty_values: bool,
}

/// How a log is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct LogFormat {
    /// Lines. Of a log for OpenTelemetry: its body.
    #[serde(deserialize_with = "non_empty")]
    pub text: Option<String>,
    /// Objects with these keys. Of a log for OpenTelemetry: its attributes.
    pub labels: Option<Labels>,
}

/// Keys and what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Labels(pub BTreeMap<String, Value>);

impl LogFormat {
    /// Why Envoy would not take it, if so.
    pub fn fault(&self) -> Option<String> {
        let text = self.text.as_deref().and_then(|text| check_log_format(text).err());
        let text = text.map(|error| error.to_string());
        text.or_else(|| self.labels.iter().flat_map(|labels| labels.0.values()).find_map(fault_of))
    }
}

/// Why Envoy would not take a value of a format in JSON.
pub(crate) fn fault_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => check_log_format(text).err().map(|error| error.to_string()),
        Value::Array(values) => values.iter().find_map(fault_of),
        Value::Object(fields) => fields.values().find_map(fault_of),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// A log for a service that takes Envoy's messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcLog {
    /// As in [`ServiceRef`].
    pub service: String,
    /// As in [`ServiceRef`].
    #[serde(deserialize_with = "port_or_zero")]
    pub port: Option<Port>,
    /// Empty: Istio's name.
    pub log_name: String,
    /// Keys of filter state that go along.
    pub filter_state_objects_to_log: Vec<String>,
    /// Request headers that go along.
    pub additional_request_headers_to_log: Vec<String>,
    /// Response headers that go along.
    pub additional_response_headers_to_log: Vec<String>,
    /// Response trailers that go along.
    pub additional_response_trailers_to_log: Vec<String>,
}

/// A log for OpenTelemetry.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OtelLog {
    /// As in [`ServiceRef`].
    pub service: String,
    /// As in [`ServiceRef`].
    #[serde(deserialize_with = "port_or_zero")]
    pub port: Option<Port>,
    /// Empty: Istio's name.
    pub log_name: String,
    /// Both may be given: body and attributes.
    pub log_format: Option<LogFormat>,
}

/// Spans for a service that needs no more to be said.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Collector {
    /// As in [`ServiceRef`].
    pub service: String,
    /// As in [`ServiceRef`].
    #[serde(deserialize_with = "port_or_zero")]
    pub port: Option<Port>,
    /// How long the tag of a path may be; 0: Envoy's own limit.
    pub max_tag_length: u32,
}

/// Spans for SkyWalking.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Skywalking {
    /// As in [`ServiceRef`].
    pub service: String,
    /// As in [`ServiceRef`].
    #[serde(deserialize_with = "port_or_zero")]
    pub port: Option<Port>,
    /// Not read, as in Istio.
    pub access_token: Unread,
}

/// Spans for Zipkin.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Zipkin {
    /// As in [`ServiceRef`].
    pub service: String,
    /// As in [`ServiceRef`].
    #[serde(deserialize_with = "port_or_zero")]
    pub port: Option<Port>,
    /// How long the tag of a path may be; 0: Envoy's own limit.
    pub max_tag_length: u32,
    /// Traces have IDs of 64 bits instead of 128.
    #[serde(rename = "enable64bitTraceId", alias = "enable_64bit_trace_id")]
    pub enable_64bit_trace_id: bool,
    /// Empty: `/api/v2/spans`.
    pub path: String,
    /// Which headers hand the trace on.
    pub trace_context_option: TraceContext,
    /// How long a report may take; none: 5 s.
    pub timeout: Option<Duration>,
    /// Headers of each report.
    pub headers: Vec<HttpHeader>,
}

/// Which headers hand a trace on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum TraceContext {
    /// Zipkin's own.
    #[default]
    #[serde(rename = "USE_B3")]
    B3,
    /// Those and W3C's `traceparent`.
    #[serde(rename = "USE_B3_WITH_W3C_PROPAGATION")]
    B3WithW3c,
}

/// Spans for OpenTelemetry.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Opentelemetry {
    /// As in [`ServiceRef`].
    pub service: String,
    /// As in [`ServiceRef`].
    #[serde(deserialize_with = "port_or_zero")]
    pub port: Option<Port>,
    /// How long the tag of a path may be; 0: Envoy's own limit.
    pub max_tag_length: u32,
    /// They go by HTTP; none: by gRPC.
    pub http: Option<HttpReport>,
    /// How they go by gRPC.
    pub grpc: Option<GrpcReport>,
    /// What finds out more about the proxy.
    pub resource_detectors: ResourceDetectors,
    /// What the proxy's service is called.
    pub service_attribute_enrichment: ServiceAttributes,
    /// Which requests are traced, by Dynatrace.
    pub dynatrace_sampler: Option<DynatraceSampler>,
}

/// A report by HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct HttpReport {
    /// Such as `/v1/traces`.
    pub path: String,
    /// How long it may take; none: Istio sends none, and Envoy refuses that, so 5 s.
    pub timeout: Option<Duration>,
    /// Its headers.
    pub headers: Vec<HttpHeader>,
}

/// A report by gRPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcReport {
    /// How long it may take; none: no limit.
    pub timeout: Option<Duration>,
    /// Its metadata.
    pub initial_metadata: Vec<HttpHeader>,
}

/// A header that a report has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpHeader {
    /// Its name.
    pub name: String,
    /// Its value. It may be a key: it is shown nowhere.
    pub value: Secret<String>,
}

impl<'de> Deserialize<'de> for HttpHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Written {
            name: String,
            value: String,
            env_name: not_yet::EnvironmentHeader,
        }
        let Written { name, value, .. } = Written::deserialize(deserializer)?;
        if name.is_empty() {
            return Err(D::Error::custom("a header needs a name"));
        }
        Ok(Self { name, value: Secret::new(value) })
    }
}

/// What finds out more about a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct ResourceDetectors {
    /// Its environment variable `OTEL_RESOURCE_ATTRIBUTES`.
    pub environment: Option<Prometheus>,
    /// Dynatrace's files.
    pub dynatrace: Option<Prometheus>,
}

/// What the proxy's service is called in spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServiceAttributes {
    /// As its node says.
    #[default]
    IstioCanonical,
    /// As OpenTelemetry's conventions for Kubernetes say.
    OtelSemanticConventions,
}

/// Dynatrace's sampler.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DynatraceSampler {
    /// The tenant.
    pub tenant: String,
    /// The cluster there.
    pub cluster_id: i32,
    /// How many requests begin a trace in a minute; 0: Dynatrace's default.
    pub root_spans_per_minute: u32,
    /// Who is asked; none: the service that spans are sent to.
    pub http_service: Option<DynatraceApi>,
}

/// Dynatrace's own interface, where spans go to somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct DynatraceApi {
    /// As in [`ServiceRef`].
    pub service: String,
    /// As in [`ServiceRef`].
    #[serde(deserialize_with = "port_or_zero")]
    pub port: Option<Port>,
    /// How it is asked.
    pub http: HttpReport,
}
