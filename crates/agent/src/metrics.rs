//! What the agent counts, and its names.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// How asking for a certificate went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Outcome {
    /// A certificate came.
    Issued,
    /// None came.
    Failed,
    /// One came that was not what was asked for.
    Wrong,
}

/// How a client of the secrets took what it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Taken {
    /// It was accepted.
    Ack,
    /// It was refused.
    Nack,
}

/// Of whom metrics are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Part {
    /// Envoy's own.
    Envoy,
    /// The workload's.
    App,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TakenLabel {
    taken: Taken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabel {
    part: Part,
}

/// The agent's metrics. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    certificates: Family<OutcomeLabel, Counter>,
    expires: Gauge<i64, AtomicI64>,
    secrets: Counter,
    answers: Family<TakenLabel, Counter>,
    streams: Gauge<i64, AtomicI64>,
    starts: Counter<u64, AtomicU64>,
    running: Gauge<i64, AtomicI64>,
    scrapes: Family<PartLabel, Counter>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut root = Registry::default();
        let registry = root.sub_registry_with_prefix("meltemi_agent");
        let certificates = Family::default();
        registry.register("certificates", "Attempts to get a certificate", certificates.clone());
        let expires = Gauge::default();
        registry.register(
            "certificate_expiry_seconds",
            "When the certificate ends, in seconds since 1970",
            expires.clone(),
        );
        let secrets = Counter::default();
        registry.register("sds_responses", "Responses with secrets that were sent", secrets.clone());
        let answers = Family::default();
        registry.register("sds_answers", "How clients took the secrets", answers.clone());
        let streams = Gauge::default();
        registry.register("sds_streams", "Open streams of clients of the secrets", streams.clone());
        let starts = Counter::default();
        registry.register("envoy_starts", "How often Envoy was started", starts.clone());
        let running = Gauge::default();
        registry.register("envoy_running", "Whether Envoy runs", running.clone());
        let scrapes = Family::default();
        registry.register("scrape_failures", "Metrics of others that could not be had", scrapes.clone());
        Self {
            registry: Arc::new(root),
            certificates,
            expires,
            secrets,
            answers,
            streams,
            starts,
            running,
            scrapes,
        }
    }

    pub(crate) fn asked(&self, outcome: Outcome) {
        self.certificates.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    pub(crate) fn expires(&self, unix: u64) {
        self.expires.set(i64::try_from(unix).unwrap_or(i64::MAX));
    }

    pub(crate) fn sent(&self) {
        self.secrets.inc();
    }

    pub(crate) fn answered(&self, taken: Taken) {
        self.answers.get_or_create(&TakenLabel { taken }).inc();
    }

    pub(crate) fn streams(&self, open: usize) {
        self.streams.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    pub(crate) fn started(&self) {
        self.starts.inc();
        self.running.set(1);
    }

    pub(crate) fn ended(&self) {
        self.running.set(0);
    }

    pub(crate) fn not_scraped(&self, part: Part) {
        self.scrapes.get_or_create(&PartLabel { part }).inc();
    }

    /// All of them, in Prometheus' text form.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string fails only if a label cannot be written, and ours are words.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}
