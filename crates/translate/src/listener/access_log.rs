//! The access log that the mesh's settings ask for. Knows Istio's formats and Envoy's file logger; must not know who logs.

use std::collections::BTreeMap;

use meltemi_api::MeshConfig;
use meltemi_api::mesh_config::AccessLogEncoding;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, ResponseFlagFilter, access_log, access_log_filter::FilterSpecifier,
};
use meltemi_proto::envoy::config::core::v3::{
    DataSource, SubstitutionFormatString, data_source::Specifier, substitution_format_string::Format,
};
use meltemi_proto::envoy::extensions::access_loggers::file::v3::{
    FileAccessLog, file_access_log::AccessLogFormat,
};
use meltemi_proto::google::protobuf::{ListValue, Struct, Value, value::Kind};

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
pub(crate) fn of(mesh: &MeshConfig, anyway: bool) -> Option<AccessLog> {
    let path = match mesh.access_log_file.as_str() {
        "" if anyway => "/dev/stdout",
        "" => return None,
        path => path,
    };
    let written = mesh.access_log_format.as_str();
    let format = match mesh.access_log_encoding {
        AccessLogEncoding::Text => {
            let mut text = if written.is_empty() { TEXT } else { written }.to_owned();
            // A format without a newline would write one endless line (Istio adds it too).
            if !text.ends_with('\n') {
                text.push('\n');
            }
            Format::TextFormatSource(DataSource {
                specifier: Some(Specifier::InlineString(text)),
                ..DataSource::default()
            })
        }
        AccessLogEncoding::Json => Format::JsonFormat(written_json(written).unwrap_or_else(default_json)),
    };
    let file = FileAccessLog {
        path: path.to_owned(),
        access_log_format: Some(AccessLogFormat::LogFormat(SubstitutionFormatString {
            format: Some(format),
            ..SubstitutionFormatString::default()
        })),
    };
    Some(AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        filter: None,
        config_type: Some(access_log::ConfigType::TypedConfig(pack(&file))),
    })
}

/// The same log, only of connections that no filter chain took (response flag `NR`): those of a listener itself.
pub(crate) fn without_chain(log: &AccessLog) -> AccessLog {
    let filter = ResponseFlagFilter { flags: vec!["NR".to_owned()] };
    AccessLog {
        filter: Some(AccessLogFilter { filter_specifier: Some(FilterSpecifier::ResponseFlagFilter(filter)) }),
        ..log.clone()
    }
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
