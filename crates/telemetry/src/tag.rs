//! The tags by which Envoy counts: Istio's labels where one value is one label, and packed texts of our own, which [`crate::rule`]
//! spreads. Must not know where Envoy takes the values from.

/// Who reports: `source` or `destination`.
pub const REPORTER: &str = "reporter";
/// Who calls, packed as [`crate::Workload::packed`] does.
pub const SOURCE: &str = "istio_source";
/// Who is called, packed likewise.
pub const DESTINATION: &str = "istio_destination";
/// What is called, packed as [`crate::service`] does.
pub const SERVICE: &str = "istio_service";
/// The caller's identity, a SPIFFE ID.
pub const SOURCE_PRINCIPAL: &str = "source_principal";
/// The identity of who is called.
pub const DESTINATION_PRINCIPAL: &str = "destination_principal";
/// The status code of the response; 0 if none was sent.
pub const RESPONSE_CODE: &str = "response_code";
/// The number of the gRPC status; empty for what is not gRPC.
pub const GRPC_STATUS: &str = "grpc_response_status";
/// Envoy's short flags; `-` if there are none.
pub const RESPONSE_FLAGS: &str = "response_flags";
/// `mutual_tls` or `none`; only the destination knows.
pub const SECURITY: &str = "connection_security_policy";

/// Labels that a Telemetry takes away, with `;` between them: what is not there would else be spread, or be `unknown`.
pub const REMOVED: &str = "istio_removed";
/// What comes before the name of a label that a Telemetry sets: it counts before all that is spread.
pub const SET: &str = "istio_set_";

/// The values of [`REPORTER`].
pub mod reporter {
    /// The caller's proxy.
    pub const SOURCE: &str = "source";
    /// The proxy of who is called.
    pub const DESTINATION: &str = "destination";
}

/// The values of [`SECURITY`].
pub mod security {
    /// Both sides showed certificates of the mesh.
    pub const MUTUAL_TLS: &str = "mutual_tls";
    /// They did not.
    pub const NONE: &str = "none";
}

/// The key of node metadata under which a proxy says who is beside it, packed; Envoy reads it itself where it reports as a caller.
pub const NODE_METADATA: &str = "MELTEMI_WORKLOAD";
