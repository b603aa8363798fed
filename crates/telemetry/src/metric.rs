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

/// All of them: name, kind, what is counted. For docs/metrics.md.
pub const ALL: [(&str, &str, &str); 8] = [
    (REQUESTS, "counter", "requests"),
    (DURATION, "histogram", "how long requests took, to the last byte of the response"),
    (REQUEST_BYTES, "histogram", "sizes of requests, with headers"),
    (RESPONSE_BYTES, "histogram", "sizes of responses, with headers"),
    (TCP_OPENED, "counter", "connections that reached their endpoint, or ended without"),
    (TCP_CLOSED, "counter", "connections that ended"),
    (TCP_SENT, "counter", "bytes sent to clients, added when a connection ends"),
    (TCP_RECEIVED, "counter", "bytes received from clients, added when a connection ends"),
];

/// What Envoy writes before the name of each of its own metrics.
pub const ENVOY_PREFIX: &str = "envoy_";
