//! Lists: who is connected, which objects there are, and as they were written. Must not know who asks.

use std::sync::Arc;

use meltemi_api::mesh_config::OutboundMode;
use meltemi_api::{MeshConfig, Meta, Object, Spec};
use meltemi_memo::Memo;
use meltemi_model::Mesh;
use meltemi_model::endpoints::CLUSTER_ID;
use meltemi_model::workload::Workload;
use meltemi_names::Kind;
use serde_json::{Map, Value, json};

use crate::streams::Stream;

/// The streams and what each asked for. Names are counted, not listed: of a wildcard there are none.
pub(super) fn adsz(streams: &[Stream]) -> Value {
    let clients: Vec<Value> = streams
        .iter()
        .map(|stream| {
            let status = stream.handle.status();
            let watches: Map<String, Value> = status
                .types
                .iter()
                .map(|of| (of.type_url.as_str().to_owned(), of.subscribed.into()))
                .collect();
            let labels: Map<String, Value> =
                stream.proxy.labels.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
            let address = stream.proxy.addresses.first().map(ToString::to_string);
            json!({
                "connectionId": connection(stream),
                "address": address,
                "labels": labels,
                "watches": watches,
            })
        })
        .collect();
    json!({"totalClients": clients.len(), "clients": clients})
}

/// The streams and where they come from.
pub(super) fn connections(streams: &[Stream]) -> Value {
    let clients: Vec<Value> = streams
        .iter()
        .map(|stream| {
            let address = stream.proxy.addresses.first().map(ToString::to_string);
            json!({"connectionId": connection(stream), "address": address})
        })
        .collect();
    json!({"totalClients": clients.len(), "clients": clients})
}

fn connection(stream: &Stream) -> String {
    format!("{}-{}", stream.proxy.id, stream.handle.id())
}

/// Each object of configuration that is in force, as it was written.
pub(super) fn configz(mesh: &Mesh) -> Value {
    let objects = mesh.objects().filter(|object| object.meta.key.kind.is_configuration());
    objects.map(|object| written(object)).collect()
}

/// Which of Istio's kinds are read.
pub(super) fn resourcesz() -> Value {
    let not_read = [Kind::RequestAuthentication, Kind::AuthorizationPolicy];
    let read = meltemi_api::crd::all().into_iter().filter(|kind| !not_read.contains(&kind.kind()));
    read.map(|of| json!({"Group": of.group(), "Version": of.served().first(), "Kind": of.kind().as_str()}))
        .collect()
}

/// The mesh's settings: as they are written, and what they leave out as far as much follows from it. None where they come from a file,
/// which is not kept as it was written.
pub(super) fn settings(mesh: &Mesh) -> Option<Value> {
    let settings = mesh.settings();
    let is_in_force = |object: &&Arc<Object>| matches!(&object.spec, Spec::ConfigMap(map) if Arc::ptr_eq(&map.mesh, &settings));
    let mut shown = match mesh.objects().find(is_in_force) {
        Some(object) => {
            let text =
                written(object).pointer("/data/mesh").and_then(Value::as_str).unwrap_or_default().to_owned();
            meltemi_api::values(&text, "mesh", |_| true).into_iter().next().map(|(value, _)| value)
        }
        None if *settings == MeshConfig::default() => None,
        None => return None,
    }
    .filter(Value::is_object)
    .unwrap_or_else(|| json!({}));
    let mut fill = |name: &str, value: Value| {
        if shown.get(name).is_none_or(Value::is_null) {
            shown[name] = value;
        }
    };
    let seconds = |of: meltemi_api::value::Duration| Value::from(format!("{}s", of.0.as_secs_f64()));
    fill("rootNamespace", settings.root_namespace.as_str().into());
    fill("trustDomain", (*settings.trust_domain).into());
    fill("accessLogFile", settings.access_log_file.as_str().into());
    fill("connectTimeout", seconds(settings.connect_timeout));
    fill("protocolDetectionTimeout", seconds(settings.protocol_detection_timeout));
    fill("dnsRefreshRate", seconds(settings.dns_refresh_rate));
    fill("enableAutoMtls", settings.enable_auto_mtls.into());
    fill("enableTracing", settings.enable_tracing.into());
    fill("proxyListenPort", settings.proxy_listen_port.number().into());
    fill("proxyInboundListenPort", settings.proxy_inbound_listen_port.number().into());
    fill("outboundTrafficPolicy", json!({}));
    // One that says nothing means another thing than none.
    if let Some(policy) = shown.get_mut("outboundTrafficPolicy").and_then(Value::as_object_mut) {
        policy.insert("mode".to_owned(), outbound_mode(settings.outbound_traffic_policy.mode).into());
    }
    Some(shown)
}

/// As Istio writes it.
pub(super) fn outbound_mode(mode: OutboundMode) -> &'static str {
    match mode {
        OutboundMode::RegistryOnly => "REGISTRY_ONLY",
        OutboundMode::AllowAny => "ALLOW_ANY",
        OutboundMode::AllowAnyDynamicDns => "ALLOW_ANY_DYNAMIC_DNS",
    }
}

/// The clusters that endpoints are read from: its own.
pub(super) fn clusterz() -> Value {
    json!([{"id": CLUSTER_ID, "secretName": "", "syncStatus": "synced"}])
}

/// All Telemetries, by namespace (Istio: pilot/pkg/model/telemetry.go), or those that are for one proxy, the most general first.
pub(super) fn telemetryz(mesh: &Mesh, of: Option<&Stream>) -> Value {
    let shown = |object: &Object| {
        let key = &object.meta.key;
        json!({"name": key.name.as_str(), "namespace": key.namespace.as_str(), "spec": spec_of(object)})
    };
    if let Some(stream) = of {
        let (_, workload) = Memo::new().observe(Workload(Arc::clone(&stream.proxy)), mesh);
        let all = workload.telemetry.iter().filter_map(|key| mesh.object(key));
        return json!({"telemetries": all.map(|object| shown(object)).collect::<Vec<_>>()});
    }
    let mut by_namespace: Map<String, Value> = Map::new();
    for object in mesh.objects().filter(|object| object.meta.key.kind == Kind::Telemetry) {
        let all = by_namespace.entry(object.meta.key.namespace.as_str()).or_insert_with(|| json!([]));
        if let Value::Array(all) = all {
            all.push(shown(object));
        }
    }
    let root = mesh.settings().root_namespace.clone();
    json!({"telemetries": {"namespace_to_telemetries": by_namespace, "root_namespace": root}})
}

/// What an object says, as it was written.
pub(super) fn spec_of(object: &Object) -> Value {
    written(object).get_mut("spec").map(Value::take).unwrap_or_default()
}

fn written(object: &Object) -> Value {
    let text = object.text.json().and_then(|json| serde_json::from_str(json).ok());
    text.unwrap_or_else(|| item(&object.meta))
}

/// What names an object that was not read from a text.
fn item(meta: &Meta) -> Value {
    let labels: Map<String, Value> =
        meta.labels.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    json!({
        "kind": meta.key.kind.as_str(),
        "metadata": {
            "name": meta.key.name.as_str(),
            "namespace": meta.key.namespace.as_str(),
            "labels": labels,
            "generation": meta.generation,
        },
    })
}
