//! Lists: who is connected, which objects there are, which services. Must not know who asks.

use meltemi_api::{Meta, Spec};
use meltemi_model::Mesh;
use meltemi_model::service::host_of;
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
                "connectionId": format!("{}-{}", stream.proxy.id, stream.handle.id()),
                "address": address,
                "labels": labels,
                "watches": watches,
            })
        })
        .collect();
    json!({"totalClients": clients.len(), "clients": clients})
}

/// What names each object of configuration that is in force.
pub(super) fn configz(mesh: &Mesh) -> Value {
    let objects = mesh.objects().filter(|object| object.meta.key.kind.is_configuration());
    let items: Vec<Value> = objects.map(|object| item(&object.meta)).collect();
    json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
}

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

/// The services of Kubernetes.
pub(super) fn registryz(mesh: &Mesh) -> Value {
    let services = mesh.objects().filter_map(|object| match &object.spec {
        Spec::Service(service) => Some((&object.meta, service)),
        _ => None,
    });
    let shown = services.map(|(meta, service)| {
        let ports: Vec<Value> = service
            .ports
            .iter()
            .map(|port| json!({"name": port.name, "port": port.port.number(), "protocol": format!("{:?}", port.protocol())}))
            .collect();
        let addresses: Vec<String> = service.cluster_ips.iter().map(ToString::to_string).collect();
        json!({
            "Attributes": {
                "ServiceRegistry": "Kubernetes",
                "Name": meta.key.name.as_str(),
                "Namespace": meta.key.namespace.as_str(),
            },
            "hostname": host_of(&meta.key).to_string(),
            "addresses": addresses,
            "ports": ports,
        })
    });
    shown.collect()
}
