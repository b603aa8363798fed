//! What the authority and the TLS port count.

use std::time::Duration;

use meltemi_ca::Time;
use meltemi_ca::entitlement::Proof;
use meltemi_ca::rotate::Phase;
use meltemi_ca::server::{Observe, Unknown};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;

/// Why a handshake did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum HandshakeRefused {
    /// The client certificate has expired, or is not valid yet.
    Expired,
    /// The client certificate is by no root of the mesh.
    Foreign,
    /// The client certificate is on a revocation list.
    Revoked,
    /// The client certificate has not one name of this mesh.
    Name,
    /// Anything else about a certificate or the protocol.
    Protocol,
    /// It took too long.
    Slow,
    /// The client left.
    Gone,
    /// There is no certificate to show yet.
    NotReady,
}

/// Why a stream was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum StreamRefused {
    /// Nobody was authenticated.
    Unauthenticated,
    /// The node says it is somebody else.
    SomebodyElse,
    /// It could not be told.
    Unavailable,
    /// It asked for a type that needs an identity, on the plain port.
    NeedsIdentity,
}

/// How a caller of the certificate service was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum By {
    Certificate,
    KubernetesToken,
    FileToken,
    Nothing,
    Unavailable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfHandshake {
    reason: HandshakeRefused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStream {
    reason: StreamRefused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Known {
    by: By,
}

/// The counters.
#[derive(Clone, Debug)]
pub(crate) struct IdentityMetrics {
    certificates: Family<Answer, Counter>,
    issue: Histogram,
    authentications: Family<Known, Counter>,
    signer_not_after: Gauge,
    root_not_after: Gauge,
    serving_not_after: Gauge,
    phase: Gauge,
    refused_material: Counter,
    keep_failures: Counter,
    serving_failures: Counter,
    handshakes_refused: Family<OfHandshake, Counter>,
    connections: Counter,
    streams_refused: Family<OfStream, Counter>,
}

impl IdentityMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            certificates: Family::default(),
            // 100 µs to 26 s: a signature takes half of the first, and a storm waits in line.
            issue: Histogram::new(exponential_buckets(0.000_1, 4.0, 10)),
            authentications: Family::default(),
            signer_not_after: Gauge::default(),
            root_not_after: Gauge::default(),
            serving_not_after: Gauge::default(),
            phase: Gauge::default(),
            refused_material: Counter::default(),
            keep_failures: Counter::default(),
            serving_failures: Counter::default(),
            handshakes_refused: Family::default(),
            connections: Counter::default(),
            streams_refused: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("meltemi_ca");
        registry.register(
            "certificates",
            "Requests for a certificate, by the code of the answer (unstable)",
            metrics.certificates.clone(),
        );
        registry.register_with_unit(
            "issue_duration",
            "From a request for a certificate to its answer (unstable)",
            Unit::Seconds,
            metrics.issue.clone(),
        );
        registry.register(
            "authentications",
            "Callers of the certificate service, by what they were known by (unstable)",
            metrics.authentications.clone(),
        );
        registry.register_with_unit(
            "signer_not_after",
            "When what signs expires, in seconds since 1970 (unstable)",
            Unit::Seconds,
            metrics.signer_not_after.clone(),
        );
        registry.register_with_unit(
            "root_not_after",
            "When the first trusted root expires, in seconds since 1970 (unstable)",
            Unit::Seconds,
            metrics.root_not_after.clone(),
        );
        registry.register_with_unit(
            "serving_not_after",
            "When the certificate of the TLS port expires, in seconds since 1970 (unstable)",
            Unit::Seconds,
            metrics.serving_not_after.clone(),
        );
        registry.register(
            "rotation_phase",
            "Change of what signs: 0 none, 1 distributing, 2 renewing, 3 retiring (unstable)",
            metrics.phase.clone(),
        );
        registry.register(
            "refused_material",
            "Times that what is kept could not be used; what was read before stays in force (unstable)",
            metrics.refused_material.clone(),
        );
        registry.register(
            "keep_failures",
            "Times that what is kept could not be read or replaced for the moment (unstable)",
            metrics.keep_failures.clone(),
        );
        registry.register(
            "serving_failures",
            "Times that the certificate of the TLS port could not be renewed (unstable)",
            metrics.serving_failures.clone(),
        );
        registry.register(
            "connections",
            "Connections that came through the handshake of the TLS port (unstable)",
            metrics.connections.clone(),
        );
        registry.register(
            "handshakes_refused",
            "Connections that did not, by reason (unstable)",
            metrics.handshakes_refused.clone(),
        );
        registry.register(
            "streams_refused",
            "Streams of proxies refused for who they are, by reason (unstable)",
            metrics.streams_refused.clone(),
        );
        metrics
    }

    pub(crate) fn authenticated(&self, found: Result<Proof, &Unknown>) {
        let by = match found {
            Ok(Proof::Certificate) => By::Certificate,
            Ok(Proof::KubernetesToken) => By::KubernetesToken,
            Ok(Proof::FileToken) => By::FileToken,
            Err(Unknown::Nobody(_)) => By::Nothing,
            Err(Unknown::Later(_)) => By::Unavailable,
        };
        self.authentications.get_or_create(&Known { by }).inc();
    }

    /// What signs now, until when, and until when what is trusted is.
    pub(crate) fn standing(&self, phase: &Phase, signer: Time, root: Option<Time>) {
        self.phase.set(match phase {
            Phase::Steady { .. } => 0,
            Phase::Distributing { .. } => 1,
            Phase::Renewing { .. } => 2,
            Phase::Retiring { .. } => 3,
        });
        self.signer_not_after.set(seconds(signer));
        if let Some(root) = root {
            self.root_not_after.set(seconds(root));
        }
    }

    pub(crate) fn serving(&self, not_after: Time) {
        self.serving_not_after.set(seconds(not_after));
    }

    pub(crate) fn serving_failed(&self) {
        self.serving_failures.inc();
    }

    pub(crate) fn material_refused(&self) {
        self.refused_material.inc();
    }

    pub(crate) fn keeping_failed(&self) {
        self.keep_failures.inc();
    }

    pub(crate) fn connected(&self) {
        self.connections.inc();
    }

    pub(crate) fn handshake_refused(&self, reason: HandshakeRefused) {
        self.handshakes_refused.get_or_create(&OfHandshake { reason }).inc();
    }

    pub(crate) fn stream_refused(&self, reason: StreamRefused) {
        self.streams_refused.get_or_create(&OfStream { reason }).inc();
    }
}

impl Observe for IdentityMetrics {
    fn answered(&self, code: Code, took: Duration) {
        self.certificates.get_or_create(&Answer { code: format!("{code:?}") }).inc();
        self.issue.observe(took.as_secs_f64());
    }
}

fn seconds(time: Time) -> i64 {
    i64::try_from(time.unix()).unwrap_or(i64::MAX)
}
