//! How far each proxy is, in Istio's two shapes. Must not know who asks.

use meltemi_names::TypeUrl;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::admin::v3::UpdateFailureState;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::envoy::service::status::v3::client_config::GenericXdsConfig;
use meltemi_proto::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use meltemi_proto::google::protobuf::{Any, Struct, Value as Field, value::Kind};
use meltemi_xds::TypeStatus;
use serde_json::{Map, Value, json};

use crate::streams::Stream;

/// One `ClientConfig` for each proxy.
pub(super) fn resources(streams: &[Stream]) -> Vec<(String, Any)> {
    streams.iter().map(|stream| (stream.proxy.id.to_string(), pack(&client(stream)))).collect()
}

fn client(stream: &Stream) -> ClientConfig {
    let text = |text: &str| Field { kind: Some(Kind::StringValue(text.to_owned())) };
    let said = [
        ("CLUSTER_ID", stream.said.cluster_id.as_str()),
        ("NAMESPACE", stream.proxy.namespace.as_str()),
        ("ISTIO_VERSION", stream.said.version.as_str()),
    ];
    let fields = said.into_iter().filter(|(_, value)| !value.is_empty());
    let fields = fields.map(|(key, value)| (key.to_owned(), text(value))).collect();
    let mut configs: Vec<GenericXdsConfig> = stream.handle.status().types.iter().map(config).collect();
    configs.sort_by(|one, other| one.type_url.cmp(&other.type_url));
    ClientConfig {
        node: Some(Node {
            id: stream.proxy.id.to_string(),
            metadata: Some(Struct { fields }),
            ..Node::default()
        }),
        generic_xds_configs: configs,
        ..ClientConfig::default()
    }
}

fn config(status: &TypeStatus) -> GenericXdsConfig {
    let error = status
        .error
        .as_ref()
        .map(|error| UpdateFailureState { details: error.message.clone(), ..UpdateFailureState::default() });
    GenericXdsConfig {
        type_url: status.type_url.as_str().to_owned(),
        config_status: state(status).into(),
        error_state: error,
        ..GenericXdsConfig::default()
    }
}

fn state(status: &TypeStatus) -> ConfigStatus {
    if status.error.is_some() || !status.aside.is_empty() {
        ConfigStatus::Error
    } else if status.sent_nonce.is_none() {
        ConfigStatus::NotSent
    } else if status.in_sync() {
        ConfigStatus::Synced
    } else {
        ConfigStatus::Stale
    }
}

/// What is all there counts as acknowledged, whatever the last nonce was.
fn acked(status: &TypeStatus) -> Option<&str> {
    let nonce = if status.in_sync() { &status.sent_nonce } else { &status.acked_nonce };
    nonce.as_deref()
}

/// The list of all proxies, or of those of a namespace.
pub(super) fn page(streams: &[Stream], namespace: &str) -> Value {
    let of =
        streams.iter().filter(|stream| namespace.is_empty() || stream.proxy.namespace.as_str() == namespace);
    of.map(item).collect()
}

fn item(stream: &Stream) -> Value {
    let types = stream.handle.status().types;
    let mut item = Map::new();
    let mut say = |key: &str, value: &str| item.insert(key.to_owned(), value.into());
    say("cluster_id", &stream.said.cluster_id);
    say("proxy", &stream.proxy.id);
    say("proxy_type", &stream.said.kind);
    say("istio_version", &stream.said.version);
    for (key, type_url) in [
        ("cluster", TypeUrl::Cluster),
        ("listener", TypeUrl::Listener),
        ("route", TypeUrl::Route),
        ("endpoint", TypeUrl::Endpoint),
        ("extensionconfig", TypeUrl::ExtensionConfig),
    ] {
        let Some(status) = types.iter().find(|status| status.type_url == type_url) else { continue };
        say(&format!("{key}_sent"), status.sent_nonce.as_deref().unwrap_or_default());
        say(&format!("{key}_acked"), acked(status).unwrap_or_default());
    }
    let resources: Map<String, Value> = types
        .iter()
        .map(|status| {
            let acked = acked(status);
            let error = status.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
            let state = json!({"sent": status.sent_nonce, "acked": acked, "lastError": error});
            (status.type_url.as_str().to_owned(), state)
        })
        .collect();
    item.insert("resources".to_owned(), resources.into());
    item.into()
}
