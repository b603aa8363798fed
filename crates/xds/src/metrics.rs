//! What is counted, and its names.
//!
//! Invariant: label values come from enums, never from a client.

use meltemi_catalog::Form;
use meltemi_names::TypeUrl;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::machine::CloseCode;

/// What one stream counted since it was last asked.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    types: [TypeTally; TypeUrl::ALL.len()],
    /// Requests for types that are not served.
    pub unknown_requests: u64,
}

/// Counts of one type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeTally {
    /// Requests, answers among them.
    pub requests: u64,
    /// Responses.
    pub responses: u64,
    /// Resources in them.
    pub resources: u64,
    /// Names told as removed.
    pub removed: u64,
    /// Bytes of the responses.
    pub bytes: u64,
    /// Responses accepted.
    pub acks: u64,
    /// Responses refused.
    pub nacks: u64,
    /// Answers to responses of another time or stream.
    pub stale: u64,
    /// Waits that ended without an answer.
    pub waits_ended: u64,
}

impl Tally {
    pub(crate) fn of(&mut self, type_url: TypeUrl) -> &mut TypeTally {
        &mut self.types[type_url as usize]
    }

    /// The counts of one type.
    pub fn get(&self, type_url: TypeUrl) -> TypeTally {
        self.types[type_url as usize]
    }
}

/// A resource type as a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: TypeValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct TypeValue(TypeUrl);

impl EncodeLabelValue for TypeValue {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0.short(), encoder)
    }
}

/// A counter for each type, found without asking the family: a step is counted for each stream.
#[derive(Clone, Debug)]
struct ByType {
    family: Family<TypeLabel, Counter>,
    counters: [Counter; TypeUrl::ALL.len()],
}

impl Default for ByType {
    fn default() -> Self {
        let family = Family::<TypeLabel, Counter>::default();
        let counter = |type_url| family.get_or_create(&TypeLabel { r#type: TypeValue(type_url) }).clone();
        Self { counters: TypeUrl::ALL.map(counter), family }
    }
}

impl ByType {
    fn of(&self, type_url: TypeUrl) -> &Counter {
        &self.counters[type_url as usize]
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FormLabel {
    form: FormValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FormValue(Form);

impl EncodeLabelValue for FormValue {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0.as_str(), encoder)
    }
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Ended {
    /// The client ended it, or the connection broke.
    Client,
    /// The client sent what no client should.
    Invalid,
    /// The client exceeded a bound.
    Exhausted,
    /// The client is to come back with its versions.
    Moved,
    /// The stream was refused by the directory (not ready, not allowed).
    Refused,
    /// The server drains.
    Drained,
    /// The stream was old enough.
    Aged,
}

impl From<CloseCode> for Ended {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::InvalidArgument => Self::Invalid,
            CloseCode::ResourceExhausted => Self::Exhausted,
            CloseCode::Unavailable => Self::Moved,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndedLabel {
    reason: Ended,
}

/// The counters of all streams.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    streams: Family<FormLabel, Gauge>,
    ended: Family<EndedLabel, Counter>,
    requests: ByType,
    unknown_requests: Counter,
    responses: ByType,
    resources: ByType,
    removed: ByType,
    bytes: ByType,
    acks: ByType,
    nacks: ByType,
    stale: ByType,
    waits_ended: ByType,
    pub(crate) answers: Room,
    pub(crate) introductions: Room,
}

/// What is told of room that is shared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room {
    /// Who waits for it.
    pub(crate) waiting: Gauge,
    /// Bytes of it that are taken.
    pub(crate) taken: Gauge,
    /// Who kept it too long, and lost it.
    pub(crate) slow: Counter,
}

impl Metrics {
    /// Puts all of them into `registry`, under their full names.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("meltemi_xds");
        registry.register("streams", "Live streams (unstable)", self.streams.clone());
        registry.register("streams_ended", "Streams that ended, by reason (unstable)", self.ended.clone());
        registry.register(
            "requests",
            "Requests, answers among them (unstable)",
            self.requests.family.clone(),
        );
        registry.register(
            "unknown_requests",
            "Requests for types that are not served (unstable)",
            self.unknown_requests.clone(),
        );
        registry.register("responses", "Responses sent (unstable)", self.responses.family.clone());
        registry.register(
            "resources_sent",
            "Resources in responses (unstable)",
            self.resources.family.clone(),
        );
        registry.register(
            "resources_removed",
            "Names told as removed (unstable)",
            self.removed.family.clone(),
        );
        registry.register("sent_bytes", "Bytes of responses (unstable)", self.bytes.family.clone());
        registry.register("acks", "Responses accepted (unstable)", self.acks.family.clone());
        registry.register("nacks", "Responses refused (unstable)", self.nacks.family.clone());
        registry.register(
            "stale_nonces",
            "Answers to superseded or foreign responses, ignored (unstable)",
            self.stale.family.clone(),
        );
        registry.register(
            "waits_ended",
            "Waits for an answer that ended by their limit (unstable)",
            self.waits_ended.family.clone(),
        );
        registry.register(
            "first_answers_waiting",
            "First answers that wait for room (unstable)",
            self.answers.waiting.clone(),
        );
        registry.register(
            "first_answers_bytes",
            "Bytes of first answers in flight (unstable)",
            self.answers.taken.clone(),
        );
        registry.register(
            "first_answers_slow",
            "First answers that a client did not take in time, whose room went to others (unstable)",
            self.answers.slow.clone(),
        );
        registry.register(
            "introductions_waiting",
            "New streams whose first request waits to be read (unstable)",
            self.introductions.waiting.clone(),
        );
    }

    /// How many streams are live.
    pub fn streams(&self) -> i64 {
        let of =
            |form| self.streams.get(&FormLabel { form: FormValue(form) }).map_or(0, |streams| streams.get());
        [Form::Delta, Form::Sotw].into_iter().map(of).sum()
    }

    /// How many responses of a type were sent.
    pub fn responses(&self, type_url: TypeUrl) -> u64 {
        self.responses.of(type_url).get()
    }

    /// How many of them were refused.
    pub fn nacks(&self, type_url: TypeUrl) -> u64 {
        self.nacks.of(type_url).get()
    }

    /// How many answers were to responses of another time.
    pub fn stale(&self, type_url: TypeUrl) -> u64 {
        self.stale.of(type_url).get()
    }

    pub(crate) fn opened(&self, form: Form) {
        self.streams.get_or_create(&FormLabel { form: FormValue(form) }).inc();
    }

    pub(crate) fn ended(&self, form: Form, reason: Ended) {
        self.streams.get_or_create(&FormLabel { form: FormValue(form) }).dec();
        self.ended.get_or_create(&EndedLabel { reason }).inc();
    }

    /// Adds what a stream counted.
    pub(crate) fn add(&self, tally: &Tally) {
        self.unknown_requests.inc_by(tally.unknown_requests);
        for type_url in TypeUrl::ALL {
            let counts = tally.get(type_url);
            if counts == TypeTally::default() {
                continue;
            }
            let pairs = [
                (&self.requests, counts.requests),
                (&self.responses, counts.responses),
                (&self.resources, counts.resources),
                (&self.removed, counts.removed),
                (&self.bytes, counts.bytes),
                (&self.acks, counts.acks),
                (&self.nacks, counts.nacks),
                (&self.stale, counts.stale),
                (&self.waits_ended, counts.waits_ended),
            ];
            for (counters, count) in pairs {
                if count > 0 {
                    counters.of(type_url).inc_by(count);
                }
            }
        }
    }
}
