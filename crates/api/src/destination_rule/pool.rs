//! Limits of connections and requests, and which endpoints are set aside.

use crate::value::Duration;

/// Limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct ConnectionPool {
    /// Of connections.
    pub tcp: Option<TcpPool>,
    /// Of requests.
    pub http: Option<HttpPool>,
}

/// Limits of connections; 0 is "not set".
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpPool {
    /// To a host at once.
    pub max_connections: u32,
    /// None: the mesh's.
    pub connect_timeout: Option<Duration>,
    /// Probes of silent connections.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How long a connection lives at most.
    pub max_connection_duration: Option<Duration>,
    /// How long a connection may be silent; zero: for ever.
    pub idle_timeout: Option<Duration>,
}

/// Probes of silent connections; what is not set is the system's.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct TcpKeepalive {
    /// How many unanswered ones end the connection; 0 is "not set".
    pub probes: u32,
    /// How long the connection must be silent.
    pub time: Option<Duration>,
    /// Between probes.
    pub interval: Option<Duration>,
}

/// Limits of requests; 0 is "not set".
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpPool {
    /// Requests that wait for a connection.
    pub http1_max_pending_requests: u32,
    /// Requests at once, of HTTP/1 too.
    pub http2_max_requests: u32,
    /// Then the connection is closed.
    pub max_requests_per_connection: u32,
    /// Retries at once.
    pub max_retries: u32,
    /// How long a connection may be without requests.
    pub idle_timeout: Option<Duration>,
    /// Whether HTTP/1.1 is sent on as HTTP/2.
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// The server is spoken to as the client speaks.
    pub use_client_protocol: bool,
    /// Requests at once on an HTTP/2 connection.
    pub max_concurrent_streams: u32,
    /// Probes of HTTP/2 connections; none: there are none.
    pub http2_keep_alive: Option<ConnectionKeepalive>,
}

/// Probes of HTTP/2 connections, by PING; validation wants both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct ConnectionKeepalive {
    /// Between probes.
    pub interval: Option<Duration>,
    /// How long an answer may take before the connection is closed.
    pub timeout: Option<Duration>,
}

/// Whether HTTP/1.1 is sent on as HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2UpgradePolicy {
    /// As the mesh says.
    #[default]
    Default,
    /// No.
    DoNotUpgrade,
    /// Yes.
    Upgrade,
}

/// Which endpoints are set aside; what is none is Envoy's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutlierDetection {
    /// So many answers 5xx in a row; 0 switches this rule off.
    pub consecutive_5xx_errors: Option<u32>,
    /// So many answers 502, 503 or 504 in a row; 0 switches this rule off.
    pub consecutive_gateway_errors: Option<u32>,
    /// Removed from Istio; has no effect.
    pub consecutive_errors: Option<u32>,
    /// Between looks; Envoy's default 10 s.
    pub interval: Option<Duration>,
    /// Times the number of ejections; Envoy's default 30 s.
    pub base_ejection_time: Option<Duration>,
    /// Of all endpoints at once, in percent; 0 is "not set", Envoy's default 10.
    pub max_ejection_percent: u32,
    /// Below this share of healthy endpoints all of them are used; 0 is never.
    pub min_health_percent: u32,
    /// Whether failures to connect are counted apart.
    pub split_external_local_origin_errors: bool,
    /// So many failures to connect in a row.
    pub consecutive_local_origin_failures: Option<u32>,
    /// The status codes that count as failures; empty: 500 and above.
    pub outlier_detection_http_error_codes: Vec<u32>,
}
