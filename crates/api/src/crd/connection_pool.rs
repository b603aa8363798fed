//! `connectionPool`, of rules and of sidecars.

use super::schema::{Schema, boolean, duration, int32, object, one_of, string, uint32};

/// Limits and timeouts of connections.
pub(super) fn connection_pool() -> Schema {
    let keepalive = object([("probes", uint32()), ("time", duration()), ("interval", duration())])
        .about("Probes of idle connections.");
    let tcp = object([
        ("maxConnections", int32().about("Connections at most.")),
        ("connectTimeout", duration().about("How long a connection may take to be made.")),
        ("tcpKeepalive", keepalive),
        ("maxConnectionDuration", duration().about("How old a connection may become.")),
        // Istio's schema has no rule here, since 0s is a word of its own: never.
        ("idleTimeout", string().about("How long a connection may be idle.")),
    ]);
    let http = object([
        ("http1MaxPendingRequests", int32().about("Requests that may wait for a connection.")),
        ("http2MaxRequests", int32().about("Requests at a time, at most.")),
        ("maxRequestsPerConnection", int32()),
        ("maxRetries", int32().about("Retries at a time, at most.")),
        ("idleTimeout", duration().about("How long a connection may be without a request.")),
        ("h2UpgradePolicy", one_of(&["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"])),
        ("useClientProtocol", boolean()),
        ("maxConcurrentStreams", int32()),
        ("http2KeepAlive", object([("interval", duration()), ("timeout", duration())])),
    ]);
    object([("tcp", tcp), ("http", http)]).about("Limits and timeouts of connections.")
}
