//! What following the API server costs, and how often it fails.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    kind: &'static str,
    reason: &'static str,
}

/// Counters of all followers.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    lists: Family<OfKind, Counter>,
    changes: Family<OfKind, Counter>,
    failures: Family<Failure, Counter>,
}

impl Metrics {
    /// Lets them be read.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("meltemi_sources_kube");
        registry.register(
            "lists",
            "Lists asked of the API server; more than one of a kind means that its watch lost the thread (unstable)",
            self.lists.clone(),
        );
        registry.register("changes", "Objects that the API server told of (unstable)", self.changes.clone());
        registry.register(
            "failures",
            "Requests to the API server without a usable answer, by the code of the finding (unstable)",
            self.failures.clone(),
        );
    }

    pub(super) fn listed(&self, kind: &'static str) {
        self.lists.get_or_create(&OfKind { kind }).inc();
    }

    pub(super) fn changed(&self, kind: &'static str, count: usize) {
        self.changes.get_or_create(&OfKind { kind }).inc_by(count as u64);
    }

    pub(super) fn failed(&self, kind: &'static str, reason: &'static str) {
        self.failures.get_or_create(&Failure { kind, reason }).inc();
    }
}
