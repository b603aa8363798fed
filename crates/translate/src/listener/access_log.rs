//! Access logs: the one that the mesh's settings ask for, and those of providers. Knows Istio's formats and Envoy's loggers; must not know
//! who logs, nor which provider is asked.

use std::collections::BTreeMap;

use meltemi_api::MeshConfig;
use meltemi_api::mesh_config::{
    AccessLogEncoding, ENVOY, ExtensionProvider, GrpcLog, Labels, LogFormat, OtelLog, ServiceRef,
};
use meltemi_api::value::{Cel, WITHOUT_QUERY};
use meltemi_catalog::ResourceName;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, AndFilter, ExtensionFilter, ResponseFlagFilter, access_log,
    access_log_filter::FilterSpecifier, extension_filter,
};
use meltemi_proto::envoy::config::core::v3::{
    ApiVersion, DataSource, GrpcService, SubstitutionFormatString, TypedExtensionConfig,
    data_source::Specifier,
    grpc_service::{EnvoyGrpc, TargetSpecifier},
    substitution_format_string::Format,
};
use meltemi_proto::envoy::extensions::access_loggers::file::v3::{
    FileAccessLog, file_access_log::AccessLogFormat,
};
use meltemi_proto::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use meltemi_proto::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use meltemi_proto::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use meltemi_proto::envoy::extensions::formatter::req_without_query::v3::ReqWithoutQuery;
use meltemi_proto::google::protobuf::{ListValue, Struct, Value, value::Kind};
use meltemi_proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, KeyValueList, any_value};

use super::collector::Collector;

/// Istio's text format (Istio: pilot/pkg/model/telemetry_logging.go).
const TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% ",
    "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% ",
    "%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% ",
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// The keys of Istio's JSON format, and what each holds (Istio: pilot/pkg/model/telemetry_logging.go).
const JSON: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
];

/// The file logger that the settings ask for; while `accessLogFile` is empty, one to standard output if `anyway`, else none.
pub(crate) fn of_mesh(mesh: &MeshConfig, anyway: bool) -> Option<AccessLog> {
    match mesh.access_log_file.as_str() {
        "" if anyway => Some(of_settings("/dev/stdout", mesh)),
        "" => None,
        path => Some(of_settings(path, mesh)),
    }
}

/// A file in the format that the settings ask for.
fn of_settings(path: &str, mesh: &MeshConfig) -> AccessLog {
    let written = mesh.access_log_format();
    let format = match mesh.access_log_encoding {
        AccessLogEncoding::Text => text(Some(written).filter(|written| !written.is_empty())),
        AccessLogEncoding::Json => Format::JsonFormat(written_json(written).unwrap_or_else(default_json)),
    };
    file(path, format, false)
}

/// What a provider takes. None where it takes no logs, or where its service is not to be found. With the cluster that it needs.
pub(crate) fn of_provider(
    provider: &ExtensionProvider,
    mesh: &MeshConfig,
    find: impl Fn(ServiceRef<'_>) -> Option<Collector>,
) -> Option<(AccessLog, Option<ResourceName>)> {
    if let Some(log) = &provider.envoy_file_access_log {
        let path = if log.path.is_empty() { "/dev/stdout" } else { &log.path };
        // The one that is there without being defined writes as the settings say.
        if provider.name == ENVOY && log.log_format.is_none() && !log.omit_empty_values {
            return Some((of_settings(path, mesh), None));
        }
        let format = log.log_format.as_ref().filter(|format| format.fault().is_none());
        let format = match format {
            Some(LogFormat { labels: Some(labels), .. }) if labels.0.is_empty() => {
                Format::JsonFormat(default_json())
            }
            Some(LogFormat { labels: Some(Labels(labels)), .. }) => {
                Format::JsonFormat(structure(labels.clone().into_iter().collect()))
            }
            Some(LogFormat { text: written, .. }) => text(written.as_deref()),
            None => text(None),
        };
        return Some((file(path, format, log.omit_empty_values), None));
    }
    if !provider.logs() {
        return None;
    }
    let collector = find(provider.service()?)?;
    let (name, config) = if let Some(log) = &provider.envoy_http_als {
        let config = HttpGrpcAccessLogConfig {
            common_config: Some(grpc(log, "http_envoy_accesslog", &collector)),
            additional_request_headers_to_log: log.additional_request_headers_to_log.clone(),
            additional_response_headers_to_log: log.additional_response_headers_to_log.clone(),
            additional_response_trailers_to_log: log.additional_response_trailers_to_log.clone(),
        };
        ("envoy.access_loggers.http_grpc", pack(&config))
    } else if let Some(log) = &provider.envoy_tcp_als {
        let config =
            TcpGrpcAccessLogConfig { common_config: Some(grpc(log, "tcp_envoy_accesslog", &collector)) };
        ("envoy.access_loggers.tcp_grpc", pack(&config))
    } else {
        ("envoy.access_loggers.open_telemetry", pack(&otel(provider.envoy_otel_als.as_ref()?, &collector)))
    };
    let log = AccessLog {
        name: name.to_owned(),
        filter: None,
        config_type: Some(access_log::ConfigType::TypedConfig(config)),
    };
    Some((log, Some(collector.cluster)))
}

/// To the bootstrap's own cluster for that, as Istio's agents write it (`enableEnvoyAccessLogService`): of requests, and of connections.
pub(crate) fn of_service() -> [AccessLog; 2] {
    let common = |name: &str| CommonGrpcAccessLogConfig {
        log_name: name.to_owned(),
        grpc_service: Some(GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                cluster_name: "envoy_accesslog_service".to_owned(),
                ..EnvoyGrpc::default()
            })),
            ..GrpcService::default()
        }),
        transport_api_version: ApiVersion::V3.into(),
        ..CommonGrpcAccessLogConfig::default()
    };
    let http = HttpGrpcAccessLogConfig {
        common_config: Some(common("http_envoy_accesslog")),
        ..HttpGrpcAccessLogConfig::default()
    };
    let tcp = TcpGrpcAccessLogConfig { common_config: Some(common("tcp_envoy_accesslog")) };
    let log = |name: &str, config| AccessLog {
        name: name.to_owned(),
        filter: None,
        config_type: Some(access_log::ConfigType::TypedConfig(config)),
    };
    [log("envoy.access_loggers.http_grpc", pack(&http)), log("envoy.access_loggers.tcp_grpc", pack(&tcp))]
}

/// A service by gRPC.
pub(crate) fn grpc_service(collector: &Collector) -> GrpcService {
    GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: collector.cluster.to_string(),
            authority: collector.host.to_string(),
            ..EnvoyGrpc::default()
        })),
        ..GrpcService::default()
    }
}

fn grpc(log: &GrpcLog, name: &str, collector: &Collector) -> CommonGrpcAccessLogConfig {
    CommonGrpcAccessLogConfig {
        log_name: if log.log_name.is_empty() { name } else { &log.log_name }.to_owned(),
        grpc_service: Some(grpc_service(collector)),
        transport_api_version: ApiVersion::V3.into(),
        filter_state_objects_to_log: log.filter_state_objects_to_log.clone(),
        ..CommonGrpcAccessLogConfig::default()
    }
}

fn otel(log: &OtelLog, collector: &Collector) -> OpenTelemetryAccessLogConfig {
    let format = log.log_format.as_ref().filter(|format| format.fault().is_none());
    let body = format.and_then(|format| format.text.as_deref()).unwrap_or(TEXT);
    let labels = format.and_then(|format| format.labels.as_ref());
    let text = |text: &str| AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) };
    let attributes = labels.filter(|labels| !labels.0.is_empty()).map(|labels| KeyValueList {
        values: labels
            .0
            .iter()
            // As in Istio, what is no text is an empty one.
            .map(|(key, value)| KeyValue {
                key: key.clone(),
                value: Some(text(value.as_str().unwrap_or_default())),
                ..KeyValue::default()
            })
            .collect(),
    });
    let without_query =
        body.contains(WITHOUT_QUERY) || labels.is_some_and(|labels| labels.0.values().any(asks_for_no_query));
    OpenTelemetryAccessLogConfig {
        log_name: if log.log_name.is_empty() { "otel_envoy_accesslog" } else { &log.log_name }.to_owned(),
        grpc_service: Some(grpc_service(collector)),
        disable_builtin_labels: true,
        body: Some(text(body)),
        attributes,
        formatters: without_query.then(req_without_query).into_iter().collect(),
        ..OpenTelemetryAccessLogConfig::default()
    }
}

fn asks_for_no_query(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains(WITHOUT_QUERY),
        serde_json::Value::Array(values) => values.iter().any(asks_for_no_query),
        serde_json::Value::Object(fields) => fields.values().any(asks_for_no_query),
        _ => false,
    }
}

/// Lines of that format, or of Istio's.
fn text(written: Option<&str>) -> Format {
    let mut text = written.unwrap_or(TEXT).to_owned();
    // A format without a newline would write one endless line (Istio adds it too).
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Format::TextFormatSource(DataSource {
        specifier: Some(Specifier::InlineString(text)),
        ..DataSource::default()
    })
}

fn file(path: &str, format: Format, omit_empty_values: bool) -> AccessLog {
    let without_query = match &format {
        Format::TextFormatSource(DataSource { specifier: Some(Specifier::InlineString(text)), .. }) => {
            text.contains(WITHOUT_QUERY)
        }
        Format::JsonFormat(json) => json.fields.values().any(holds_no_query),
        _ => false,
    };
    let file = FileAccessLog {
        path: path.to_owned(),
        access_log_format: Some(AccessLogFormat::LogFormat(SubstitutionFormatString {
            format: Some(format),
            omit_empty_values,
            formatters: without_query.then(req_without_query).into_iter().collect(),
            ..SubstitutionFormatString::default()
        })),
    };
    AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        filter: None,
        config_type: Some(access_log::ConfigType::TypedConfig(pack(&file))),
    }
}

fn holds_no_query(value: &Value) -> bool {
    match &value.kind {
        Some(Kind::StringValue(text)) => text.contains(WITHOUT_QUERY),
        Some(Kind::ListValue(list)) => list.values.iter().any(holds_no_query),
        Some(Kind::StructValue(fields)) => fields.fields.values().any(holds_no_query),
        _ => false,
    }
}

/// The extension that knows the one operator which is not Envoy's own.
fn req_without_query() -> TypedExtensionConfig {
    TypedExtensionConfig {
        name: "envoy.formatter.req_without_query".to_owned(),
        typed_config: Some(pack(&ReqWithoutQuery::default())),
    }
}

/// The same log, only of what the expression is true of.
pub(crate) fn filtered(log: AccessLog, expression: &Cel) -> AccessLog {
    let expression =
        ExpressionFilter { expression: expression.as_str().to_owned(), ..ExpressionFilter::default() };
    let filter = ExtensionFilter {
        name: "envoy.access_loggers.extension_filters.cel".to_owned(),
        config_type: Some(extension_filter::ConfigType::TypedConfig(pack(&expression))),
    };
    only(log, AccessLogFilter { filter_specifier: Some(FilterSpecifier::ExtensionFilter(filter)) })
}

/// The same log, only of what that filter lets pass, too.
pub(crate) fn only(log: AccessLog, filter: AccessLogFilter) -> AccessLog {
    let filter = match log.filter {
        None => filter,
        Some(other) => AccessLogFilter {
            filter_specifier: Some(FilterSpecifier::AndFilter(AndFilter { filters: vec![filter, other] })),
        },
    };
    AccessLog { filter: Some(filter), ..log }
}

/// The same log, only of connections that no filter chain took (response flag `NR`): those of a listener itself.
pub(crate) fn without_chain(log: &AccessLog) -> AccessLog {
    let filter = ResponseFlagFilter { flags: vec!["NR".to_owned()] };
    let filter = AccessLogFilter { filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(filter)) };
    only(log.clone(), filter)
}

fn default_json() -> Struct {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    Struct { fields: JSON.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect() }
}

/// The user's own format, if it is a JSON object; as in Istio anything else counts for nothing.
fn written_json(written: &str) -> Option<Struct> {
    match serde_json::from_str(written).ok()? {
        serde_json::Value::Object(fields) => Some(structure(fields)),
        _ => None,
    }
}

fn structure(fields: serde_json::Map<String, serde_json::Value>) -> Struct {
    let fields: BTreeMap<String, Value> =
        fields.into_iter().map(|(key, value)| (key, self::value(value))).collect();
    Struct { fields }
}

fn value(json: serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(value),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text),
        serde_json::Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(value).collect() })
        }
        serde_json::Value::Object(fields) => Kind::StructValue(structure(fields)),
    };
    Value { kind: Some(kind) }
}
