//! What identity costs at the API server, and what is wrong with what an operator gave.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Counters of the Kubernetes side of identity.
#[derive(Clone, Debug, Default)]
pub(crate) struct KubeIdentityMetrics {
    plugged_in_refused: Gauge,
    reviews: Family<Outcome, Counter>,
    readers: Family<Outcome, Counter>,
    writes: Counter,
    failures: Counter,
}

impl KubeIdentityMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("meltemi_identity");
        registry.register(
            "plugged_in_refused",
            "1 while Secret cacerts is there and cannot be used; what signed before stays in force",
            metrics.plugged_in_refused.clone(),
        );
        registry.register(
            "token_reviews",
            "Tokens that the API server was asked about, by outcome: accepted, refused, failed (unstable)",
            metrics.reviews.clone(),
        );
        registry.register(
            "secret_reviews",
            "Accounts of gateways that the API server was asked about, whether they may list Secrets, by outcome: allowed, refused, failed (unstable)",
            metrics.readers.clone(),
        );
        registry.register(
            "root_writes",
            "ConfigMaps with the roots that were written (unstable)",
            metrics.writes.clone(),
        );
        registry.register(
            "root_failures",
            "ConfigMaps with the roots that could not be written, each try (unstable)",
            metrics.failures.clone(),
        );
        metrics
    }

    pub(super) fn plugged_in_refused(&self, is: bool) {
        self.plugged_in_refused.set(i64::from(is));
    }

    pub(super) fn reviewed(&self, outcome: &'static str) {
        self.reviews.get_or_create(&Outcome { outcome }).inc();
    }

    pub(super) fn reader_reviewed(&self, outcome: &'static str) {
        self.readers.get_or_create(&Outcome { outcome }).inc();
    }

    pub(super) fn wrote(&self) {
        self.writes.inc();
    }

    pub(super) fn failed(&self) {
        self.failures.inc();
    }
}
