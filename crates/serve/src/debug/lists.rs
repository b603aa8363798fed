//! Lists: who is connected, which objects there are, and as they were written. Must not know who asks.

use std::sync::Arc;

use meltemi_api::{Meta, Object};
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
