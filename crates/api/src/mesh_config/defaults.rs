//! Settings of the mesh that count where a resource does not say: traffic policy, TLS, the form of paths.

use super::TlsVersion;
use crate::destination_rule::{ConnectionPool, OutlierDetection};

/// What counts for a service where the DestinationRules in force leave it out (Istio's reference: MeshConfig.DefaultTrafficPolicy).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DefaultTrafficPolicy {
    /// Limits; of connections to unknown destinations, too.
    pub connection_pool: Option<ConnectionPool>,
    /// Which endpoints are set aside.
    pub outlier_detection: Option<OutlierDetection>,
}

/// The TLS that is not between the mesh's own workloads (Istio's reference: MeshConfig.TLSConfig, `tlsDefaults`).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TlsDefaults {
    /// The oldest version that a gateway takes. Sidecars' own calls do not read it, as in Istio.
    pub min_protocol_version: TlsVersion,
    /// The curves that are offered; empty: Envoy's.
    pub ecdh_curves: Vec<String>,
    /// The cipher suites of TLS 1.2, by the names of OpenSSL; empty: Envoy's.
    pub cipher_suites: Vec<String>,
}

/// What of a request's path is made regular before it is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct PathNormalization {
    /// How much.
    pub normalization: Normalization,
}

/// How much of a path is made regular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Normalization {
    /// As [`Normalization::Base`].
    #[default]
    Default,
    /// Nothing.
    None,
    /// By RFC 3986.
    Base,
    /// And slashes in a row count as one.
    MergeSlashes,
    /// And escaped slashes are slashes.
    DecodeAndMergeSlashes,
}
