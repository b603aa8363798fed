//! Probes and hooks of the workload that injection rewrote to come here (Istio: pkg/kube/inject/app_probe.go, env `ISTIO_KUBE_APP_PROBERS`).
//!
//! Knows: how the variable is written. Must not know: sockets.   Start at [`read`].

pub(crate) mod client;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// The most probes of a pod.
const MOST: usize = 256;

/// What a kubelet waits where a probe says nothing.
const USUAL: Duration = Duration::from_secs(1);

/// The longest that a probe may take.
const LONGEST: Duration = Duration::from_secs(300);

/// What was to be asked of the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// A GET; 200 to 399 is well.
    Http { path: String, headers: Vec<(String, String)>, tls: bool },
    /// A connection.
    Tcp,
    /// gRPC's health service, for that service.
    Grpc { service: String },
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) what: What,
    /// Another host than the workload itself.
    pub(crate) host: Option<String>,
    pub(crate) port: u16,
    pub(crate) limit: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    http_get: Option<HttpGet>,
    tcp_socket: Option<Socket>,
    grpc: Option<GrpcProbe>,
    #[serde(default)]
    timeout_seconds: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGet {
    #[serde(default)]
    path: String,
    port: Value,
    #[serde(default)]
    host: String,
    #[serde(default)]
    scheme: String,
    #[serde(default)]
    http_headers: Vec<Header>,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
struct Socket {
    port: Value,
    #[serde(default)]
    host: String,
}

#[derive(Deserialize)]
struct GrpcProbe {
    port: Value,
    #[serde(default)]
    service: Option<String>,
}

/// The probes by the path at which they are asked for here.
///
/// # Errors
/// Says what cannot be read; nothing is probed then.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, Probe>, String> {
    let written: BTreeMap<String, Written> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if written.len() > MOST {
        return Err(format!("{} probes, and {MOST} are the most", written.len()));
    }
    written.into_iter().map(|(path, written)| Ok((path, probe(written)?))).collect()
}

fn probe(written: Written) -> Result<Probe, String> {
    let limit = match written.timeout_seconds {
        0 => USUAL,
        seconds => Duration::from_secs(seconds).min(LONGEST),
    };
    let (what, host, port) = match written {
        Written { http_get: Some(get), tcp_socket: None, grpc: None, .. } => {
            let path = if get.path.starts_with('/') { get.path } else { format!("/{}", get.path) };
            if path.parse::<http::uri::PathAndQuery>().is_err() {
                return Err(format!("`{path}` is no path"));
            }
            let tls = match get.scheme.to_ascii_uppercase().as_str() {
                "" | "HTTP" => false,
                "HTTPS" => true,
                other => return Err(format!("`{other}` is neither HTTP nor HTTPS")),
            };
            let headers = get.http_headers.into_iter().map(|header| (header.name, header.value)).collect();
            (What::Http { path, headers, tls }, get.host, get.port)
        }
        Written { http_get: None, tcp_socket: Some(socket), grpc: None, .. } => {
            (What::Tcp, socket.host, socket.port)
        }
        Written { http_get: None, tcp_socket: None, grpc: Some(grpc), .. } => {
            (What::Grpc { service: grpc.service.unwrap_or_default() }, String::new(), grpc.port)
        }
        _ => return Err("a probe is one of httpGet, tcpSocket and grpc".to_owned()),
    };
    // Names were resolved when the pod was injected.
    let port = match &port {
        Value::Number(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let port = port.filter(|port| *port != 0).ok_or("a port is no number of 1 to 65535")?;
    Ok(Probe { what, host: Some(host).filter(|host| !host.is_empty()), port, limit })
}
