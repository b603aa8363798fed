//! Answers to responses: accepted, refused, or of another time.

use std::collections::BTreeSet;
use std::time::Instant;

use meltemi_catalog::{ResourceName, View};
use meltemi_names::{TypeUrl, Version};

use super::Machine;
use crate::flight::Entry;
use crate::missing::missing;
use crate::nack::Outcome;
use crate::request::ErrorDetail;
use crate::status::Refusal;
use crate::watch::Answered;

impl Machine {
    /// Takes the answer to an earlier response; false if the nonce is none of this stream's last.
    pub(super) fn answered(
        &mut self,
        type_url: TypeUrl,
        nonce: &str,
        error: Option<ErrorDetail>,
        view: &View,
        now: Instant,
    ) -> Answered {
        let nonce = self.nonce_of(nonce);
        let Some(watch) = self.watches[type_url as usize].as_deref_mut() else { return Answered::Stale };
        let answered = nonce.map_or(Answered::Stale, |nonce| watch.answered_by(nonce));
        match answered {
            Answered::Before => {}
            Answered::Stale => self.tally.of(type_url).stale += 1,
            Answered::Flight(position) => {
                let Some(flight) = watch.take(position) else { return Answered::Stale };
                match error {
                    None => {
                        watch.apply(&flight);
                        self.tally.of(type_url).acks += 1;
                        watch.acked = Some(flight.generation);
                        watch.acked_nonce = flight.nonce;
                        watch.acked_at = Some(now);
                        if flight.carried.has_resources() {
                            watch.accepted();
                        }
                        watch.try_again();
                        if watch.aside.is_empty() && watch.batches.is_empty() {
                            self.errors.remove(&type_url);
                        }
                        self.expect_requests(type_url, &flight, view, now);
                    }
                    Some(error) => self.refused(type_url, flight.carried.into_entries(), error, view, now),
                }
            }
        }
        answered
    }

    fn refused(
        &mut self,
        type_url: TypeUrl,
        entries: Vec<Entry>,
        error: ErrorDetail,
        view: &View,
        now: Instant,
    ) {
        self.tally.of(type_url).nacks += 1;
        let Some(watch) = self.watches[type_url as usize].as_deref_mut() else { return };
        let refused: Vec<(ResourceName, Version)> =
            entries.iter().filter_map(|entry| Some((entry.name.clone(), entry.version?))).collect();
        let outcome = watch.refuse(entries, &error.message, |name| present_version(type_url, name, view));
        watch.try_again();
        let origins = refused
            .iter()
            .take(Refusal::NAMES)
            .filter_map(|(name, version)| {
                view.find(type_url, name.as_str()).filter(|live| live.resource.version() == *version)
            })
            .flat_map(|live| live.resource.blamed().cloned())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let refusal = Refusal {
            type_url,
            alone: outcome == Outcome::Alone,
            count: refused.len(),
            resources: refused.into_iter().take(Refusal::NAMES).collect(),
            origins,
            code: error.code,
            message: error.message,
            at: now,
        };
        self.errors.insert(type_url, refusal.clone());
        self.refusals.push(refusal);
    }
}

/// The version of what a request for that name would be answered with.
pub(super) fn present_version(type_url: TypeUrl, name: &ResourceName, view: &View) -> Option<Version> {
    match view.find(type_url, name.as_str()) {
        Some(live) => Some(live.resource.version()),
        None => missing(type_url, name).map(|resource| resource.version()),
    }
}
