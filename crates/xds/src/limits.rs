//! Bounds on what a stranger may make this server hold or do, each with its reason.

use std::time::Duration;

/// The bounds of one stream.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long a resource waits for the ACK of what it refers to, and a type for the answer to its last response, before
    /// the stream goes on without. Envoy withholds a CDS ACK while a cluster warms (DNS: seconds); five seconds cover a
    /// slow resolver, and are short against the 15 s that Envoy's own initial fetch waits.
    pub ack_wait: Duration,
    /// Names that one type's subscription may hold. 10,000 services x 3 subsets x 2 ports is 60,000; this is three times
    /// that, and bounds a stream at a few tens of MB.
    pub names: usize,
    /// Bytes of one resource name. Istio's longest, a cluster name of a subset, stays below 600 (a host has at most 253).
    pub name_bytes: usize,
    /// Bytes of one request. A reconnect of 10,000 services x 3 lists its versions in some 6 MB, beyond gRPC's default of 4.
    pub request_bytes: usize,
    /// Bytes of the encoded node. Envoy lists its extensions there (about 100 kB), Istio the pod's labels and annotations
    /// (Kubernetes allows 256 kB of them).
    pub node_bytes: usize,
    /// Bytes kept of a NACK's text; Envoy repeats the refused configuration in it.
    pub error_bytes: usize,
    /// Different resource types on one stream, known or not. Envoy and Istio's agent together use twelve.
    pub types: usize,
    /// Bytes of one response where it may be split (delta; the named types of state of the world). Above what any first
    /// answer for 10,000 services needs for one type, and below the 32-bit length that gRPC's frame can say.
    pub response_bytes: usize,
    /// Unanswered EDS responses at one time; the other types have one. EDS must not wait (clusters warm on it), but a
    /// client that never answers must not make us remember without end.
    pub endpoint_flights: usize,
    /// A first answer smaller than this needs no permit: it fits a socket's buffer.
    pub admit_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ack_wait: Duration::from_secs(5),
            names: 200_000,
            name_bytes: 1024,
            request_bytes: 16 << 20,
            node_bytes: 1 << 20,
            error_bytes: 4096,
            types: 32,
            response_bytes: 64 << 20,
            endpoint_flights: 16,
            admit_bytes: 64 << 10,
        }
    }
}
