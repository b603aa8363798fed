//! WorkloadGroup: what workloads outside Kubernetes that register themselves have in common (Istio's reference:
//! networking/workload-group). Nobody registers at Meltemi yet, so that nothing follows from one.

use meltemi_names::Labels;

use crate::markers::Unread;
use crate::workload_entry::WorkloadEntry;

/// A template of WorkloadEntries.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadGroup {
    /// Put on each entry that is made.
    pub metadata: GroupMetadata,
    /// What the entries have in common; none is a mistake that validation reports.
    pub template: Option<WorkloadEntry>,
    /// How an agent asks whether its workload is well.
    pub probe: Option<Probe>,
}

/// Put on each entry that is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "each is the part of that name")]
pub struct GroupMetadata {
    pub labels: Labels,
    pub annotations: Labels,
}

/// How an agent asks whether its workload is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "as in a Pod")]
pub struct Probe {
    pub initial_delay_seconds: i32,
    pub timeout_seconds: i32,
    pub period_seconds: i32,
    pub success_threshold: i32,
    pub failure_threshold: i32,
    pub http_get: Option<HttpGet>,
    pub tcp_socket: Option<TcpSocket>,
    pub exec: Option<Exec>,
    pub grpc: Option<Grpc>,
}

/// By a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "as in a Pod")]
pub struct HttpGet {
    pub path: String,
    /// As written; validation says what it must be.
    pub port: u32,
    pub host: String,
    pub scheme: String,
    pub http_headers: Vec<HttpHeader>,
}

/// A header of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in a Pod")]
pub struct HttpHeader {
    pub name: String,
    pub value: String,
}

/// By a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in a Pod")]
pub struct TcpSocket {
    pub host: String,
    /// As written; validation says what it must be.
    pub port: u32,
}

/// By a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in a Pod")]
pub struct Exec {
    pub command: Vec<String>,
}

/// By gRPC's own protocol of health.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "as in a Pod")]
pub struct Grpc {
    pub port: Unread,
    pub service: Unread,
}
