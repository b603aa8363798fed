//! Pod as written, and the workload that made it.

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_names::Port;

use super::metadata::Metadata;
use crate::Pod;
use crate::pod::{ContainerPort, Phase};
use crate::service::Transport;
use crate::value::non_empty;

/// The fields of a Pod that are read; it has hundreds more.
#[derive(serde::Deserialize)]
pub(super) struct Written {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<Arc<str>>,
    #[serde(deserialize_with = "non_empty")]
    service_account_name: Option<String>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    ports: Vec<WrittenPort>,
    /// An init container that goes on running is a sidecar.
    #[serde(deserialize_with = "non_empty")]
    restart_policy: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenPort {
    #[serde(default, deserialize_with = "non_empty")]
    name: Option<String>,
    container_port: Port,
    #[serde(default)]
    protocol: Option<Transport>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Phase,
    #[serde(rename = "podIP", deserialize_with = "non_empty")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    conditions: Vec<Condition>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct PodIp {
    ip: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    condition: String,
    status: String,
}

impl Written {
    /// The typed pod and its metadata.
    pub(super) fn pod(self) -> (Metadata, Pod) {
        let Self { metadata, spec, status } = self;
        let (workload, workload_kind) = workload(&metadata);
        let mut ips: Vec<IpAddr> = Vec::new();
        for ip in status.pod_ip.iter().chain(status.pod_ips.iter().map(|ip| &ip.ip)) {
            if let Ok(ip) = ip.parse()
                && !ips.contains(&ip)
            {
                ips.push(ip);
            }
        }
        let sidecars = spec
            .init_containers
            .into_iter()
            .filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let ports = spec
            .containers
            .into_iter()
            .chain(sidecars)
            .flat_map(|container| container.ports)
            .map(|port| ContainerPort {
                name: port.name,
                port: port.container_port,
                transport: port.protocol.unwrap_or_default(),
            })
            .collect();
        let pod = Pod {
            uid: metadata.uid.as_deref().map(Arc::from),
            ips,
            node_name: spec.node_name.filter(|name| !name.is_empty()),
            service_account: spec.service_account_name.as_deref().unwrap_or("default").into(),
            ports,
            phase: status.phase,
            ready: status
                .conditions
                .iter()
                .any(|condition| condition.condition == "Ready" && condition.status == "True"),
            terminating: metadata.deletion_timestamp.is_some(),
            workload: workload.into(),
            workload_kind: workload_kind.into(),
        };
        (metadata, pod)
    }
}

/// The name and kind of the workload that made a pod (Istio: pkg/kube/util.go).
fn workload(metadata: &Metadata) -> (String, String) {
    let label = |name: &str| metadata.label(name).filter(|value| !value.is_empty());
    let controller = metadata.owner_references.iter().find(|owner| owner.controller);
    let (mut name, mut kind) = match controller {
        // Without generateName no controller has made it.
        Some(owner) if !metadata.generate_name.is_empty() => (owner.name.as_str(), owner.kind.as_str()),
        _ => (metadata.name.as_str(), "Pod"),
    };
    let without_hash =
        |hash: &str| name.strip_suffix(hash)?.strip_suffix('-').filter(|rest| !rest.is_empty());
    match kind {
        "ReplicaSet" => {
            if let Some(rest) = label("rollouts-pod-template-hash").and_then(without_hash) {
                (name, kind) = (rest, "Rollout");
            } else if let Some(rest) = label("pod-template-hash").and_then(without_hash) {
                (name, kind) = (rest, "Deployment");
            }
        }
        "ReplicationController" => {
            if let Some(config) = label("deploymentconfig") {
                (name, kind) = (config, "DeploymentConfig");
            }
        }
        "Job" => {
            if let Some((rest, number)) = name.rsplit_once('-')
                && (8..=10).contains(&number.len())
                && number.bytes().all(|b| b.is_ascii_digit())
                && !rest.is_empty()
            {
                (name, kind) = (rest, "CronJob");
            }
        }
        _ => {}
    }
    (label("service.istio.io/workload-name").unwrap_or(name).to_owned(), kind.to_owned())
}
