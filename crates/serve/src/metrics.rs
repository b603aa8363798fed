//! Serve's own metrics; those of the streams are in `xds`.

use std::time::Duration;

use meltemi_catalog::Generation;
use meltemi_memo::Cost;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Counters of the mesh's task.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    publish: Histogram,
    generation: Gauge,
    layers: Gauge,
    answers: Counter,
    entries: Counter,
}

impl Metrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            // 10 µs, which is a lone weight change, to 10 s, the start of a large mesh.
            publish: Histogram::new(exponential_buckets(0.000_01, 4.0, 11)),
            generation: Gauge::default(),
            layers: Gauge::default(),
            answers: Counter::default(),
            entries: Counter::default(),
        };
        let registry = registry.sub_registry_with_prefix("meltemi_serve");
        registry.register_with_unit(
            "publish_duration",
            "From a batch of changes to new views (unstable)",
            Unit::Seconds,
            metrics.publish.clone(),
        );
        registry.register(
            "generation",
            "State of the mesh that is served (unstable)",
            metrics.generation.clone(),
        );
        registry.register(
            "layers",
            "Sets of resources that proxies share (unstable)",
            metrics.layers.clone(),
        );
        registry.register(
            "answers_made",
            "Answers of translation that were made (unstable)",
            metrics.answers.clone(),
        );
        registry.register(
            "entries_read",
            "Entries of the mesh read for that (unstable)",
            metrics.entries.clone(),
        );
        metrics
    }

    pub(crate) fn published(&self, took: Duration, generation: Generation, cost: &Cost) {
        self.publish.observe(took.as_secs_f64());
        self.generation.set(i64::try_from(generation.0).unwrap_or(i64::MAX));
        self.answers.inc_by(cost.made.values().sum::<usize>() as u64);
        self.entries.inc_by(cost.entries_read as u64);
    }

    pub(crate) fn layers(&self, count: usize) {
        self.layers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// Counters of the status writer.
#[derive(Clone, Debug)]
pub(crate) struct StatusMetrics {
    writes: Counter,
    failures: Counter,
}

impl StatusMetrics {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let metrics = Self { writes: Counter::default(), failures: Counter::default() };
        let registry = registry.sub_registry_with_prefix("meltemi_serve");
        registry.register(
            "status_writes",
            "Statuses of objects that were written (unstable)",
            metrics.writes.clone(),
        );
        registry.register(
            "status_failures",
            "Statuses of objects that could not be written, each try (unstable)",
            metrics.failures.clone(),
        );
        metrics
    }

    pub(crate) fn written(&self) {
        self.writes.inc();
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
    }
}
