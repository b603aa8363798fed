//! The names of the metrics of traffic (Istio: pilot/pkg/model/telemetry.go). Must not know what they are made of.

/// Requests; a counter.
pub const REQUESTS: &str = "istio_requests_total";
/// How long requests took, in milliseconds; a histogram.
pub const DURATION: &str = "istio_request_duration_milliseconds";
/// Sizes of requests with their headers, in bytes; a histogram.
pub const REQUEST_BYTES: &str = "istio_request_bytes";
/// Sizes of responses with their headers, in bytes; a histogram.
pub const RESPONSE_BYTES: &str = "istio_response_bytes";
/// TCP connections that began; a counter.
pub const TCP_OPENED: &str = "istio_tcp_connections_opened_total";
/// TCP connections that ended; a counter.
pub const TCP_CLOSED: &str = "istio_tcp_connections_closed_total";
/// Bytes sent to clients, added when a connection ends; a counter.
pub const TCP_SENT: &str = "istio_tcp_sent_bytes_total";
/// Bytes received from clients, added when a connection ends; a counter.
pub const TCP_RECEIVED: &str = "istio_tcp_received_bytes_total";

/// What Envoy writes before the name of each of its own metrics.
pub const ENVOY_PREFIX: &str = "envoy_";
