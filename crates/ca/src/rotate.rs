//! How what signs is changed: trust both, until everybody does; sign with the new; trust the old until all that it signed
//! has expired.
//!
//! Knows: moments, as they are given, and what replicas report. Must not know: keys, certificates, where the state is kept.
//! Start at [`Rotation::advance`].
//! Invariant: whoever holds a certificate signed by a signer is trusted by everybody who was answered since, and whoever
//! verifies it trusts its signer. The state is one value; it is replaced by compare-and-set with [`Rotation::revision`], and
//! whoever loses reads it again. Nothing else is remembered, so a crash between any two steps loses nothing.
//!
//! Certificates are not counted. The state keeps one number for each signer: no certificate of it ends later. It is kept
//! *before* such a certificate is signed ([`Rotation::reserve`]), somewhat ahead, so that a write serves many of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::SignerId;
use crate::issue::CLOCK_SKEW;
use crate::time::Time;

/// How far a reservation may go beyond what is asked for: one write of the state an hour, at most, for certificates of one life.
pub const AHEAD: Duration = Duration::from_secs(3600);

/// Names a replica.
pub type Replica = String;

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    revision: u64,
    epoch: u64,
    phase: Phase,
    /// The last second of what each trusted signer may have signed.
    signed_until: BTreeMap<SignerId, Time>,
}

/// Where a change of signers stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "phase")]
pub enum Phase {
    /// One signs, and is trusted alone.
    Steady {
        /// It.
        signer: SignerId,
    },
    /// Both are trusted, the old one signs, and not every replica has been seen to answer with both.
    Distributing {
        /// What signs.
        old: SignerId,
        /// What will.
        new: SignerId,
    },
    /// Every replica answers with both; some workload may live on what it was answered before.
    Renewing {
        /// What signs.
        old: SignerId,
        /// What will.
        new: SignerId,
        /// Whatever was answered without the new root has expired then.
        until: Time,
    },
    /// The new one signs; the old one is trusted until all that it signed has expired.
    Retiring {
        /// What signed.
        old: SignerId,
        /// What signs.
        new: SignerId,
    },
}

impl Phase {
    /// Its name, as it is kept.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Steady { .. } => "steady",
            Self::Distributing { .. } => "distributing",
            Self::Renewing { .. } => "renewing",
            Self::Retiring { .. } => "retiring",
        }
    }

    /// From what to what, while a change is under way.
    pub fn change(&self) -> Option<(&SignerId, &SignerId)> {
        match self {
            Self::Steady { .. } => None,
            Self::Distributing { old, new }
            | Self::Renewing { old, new, .. }
            | Self::Retiring { old, new } => Some((old, new)),
        }
    }
}

/// What a replica says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The epoch of the state that it answers by.
    pub epoch: u64,
    /// How many identities that may still live have not asked since it answers with both roots. Only a replica that knows
    /// *all* of them may say so; without a number the certificates' own end decides.
    pub behind: Option<u64>,
}

/// The replicas that there are; those that are not heard of have no report.
pub type World = BTreeMap<Replica, Option<Report>>;

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing: no change is under way.
    Nothing,
    /// These replicas do not yet answer by this state.
    Replicas(Vec<Replica>),
    /// Workloads that have not asked since (how many, if it is known), at most until then.
    Workloads {
        /// How many.
        behind: Option<u64>,
        /// When the last one has asked, or its certificate has expired.
        until: Time,
    },
    /// The last of what the old one signed to expire.
    Expiry(Time),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing now.
    Wait(Waiting),
    /// Keep this state instead, if nobody else has changed it; then look again.
    Keep(Rotation),
}

/// Why a change cannot begin, or a reservation not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RotateError {
    /// One is under way.
    #[error("the signer is being changed from {old} to {new} already")]
    UnderWay {
        /// From.
        old: SignerId,
        /// To.
        new: SignerId,
    },
    /// It signs already.
    #[error("{0} is what signs now")]
    Same(SignerId),
    /// Another one signs by this state.
    #[error("{asked} does not sign, {signs} does")]
    DoesNotSign {
        /// Who wanted to.
        asked: SignerId,
        /// Who does.
        signs: SignerId,
    },
}

impl Rotation {
    /// With its first signer.
    pub fn steady(signer: SignerId) -> Self {
        Self { revision: 1, epoch: 1, phase: Phase::Steady { signer }, signed_until: BTreeMap::new() }
    }

    /// Counts changes of any sort; whoever replaces the state compares it.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Counts changes of what is trusted or signs; replicas report by which of them they answer.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where the change stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// What signs.
    pub fn signer(&self) -> &SignerId {
        match &self.phase {
            Phase::Steady { signer } => signer,
            Phase::Distributing { old, .. } | Phase::Renewing { old, .. } => old,
            Phase::Retiring { new, .. } => new,
        }
    }

    /// Whose roots are trusted, what signs first.
    pub fn trusted(&self) -> Vec<&SignerId> {
        match &self.phase {
            Phase::Steady { signer } => vec![signer],
            Phase::Distributing { old, new } | Phase::Renewing { old, new, .. } => vec![old, new],
            Phase::Retiring { old, new } => vec![new, old],
        }
    }

    /// The last second of what `signer` may have signed, if it is trusted and was ever asked.
    pub fn signed_until(&self, signer: &SignerId) -> Option<Time> {
        self.signed_until.get(signer).copied()
    }

    /// The state with which `signer` may sign a certificate that ends at `not_after`, and others that end up to `ahead`
    /// ([`AHEAD`] at most) later: none if it may already. What is reserved is waited for before the signer is forgotten, so
    /// that `ahead` is to be a small part of the certificates' life.
    ///
    /// # Errors
    /// When another one signs by this state: read what signs again.
    pub fn reserve(
        &self,
        signer: &SignerId,
        not_after: Time,
        ahead: Duration,
    ) -> Result<Option<Self>, RotateError> {
        if signer != self.signer() {
            return Err(RotateError::DoesNotSign { asked: signer.clone(), signs: self.signer().clone() });
        }
        if self.signed_until(signer).is_some_and(|until| not_after <= until) {
            return Ok(None);
        }
        let mut next = self.next(self.phase.clone());
        next.signed_until.insert(signer.clone(), not_after.after(ahead.min(AHEAD)));
        // What is trusted is as before: replicas need not say again that they know.
        next.epoch = self.epoch;
        Ok(Some(next))
    }

    /// The state in which a change to `new` has begun. Its key must be kept before.
    ///
    /// # Errors
    /// When one is under way, or it is no change.
    pub fn begin(&self, new: SignerId) -> Result<Self, RotateError> {
        match &self.phase {
            Phase::Steady { signer } if *signer == new => Err(RotateError::Same(new)),
            Phase::Steady { signer } => Ok(self.next(Phase::Distributing { old: signer.clone(), new })),
            Phase::Distributing { old, new }
            | Phase::Renewing { old, new, .. }
            | Phase::Retiring { old, new } => {
                Err(RotateError::UnderWay { old: old.clone(), new: new.clone() })
            }
        }
    }

    /// The state in which `new` is in the place of `old`, at once: only for what is trusted by whoever trusted `old` already, such as a
    /// new certificate of the same key, or another intermediate of the same root. A later state than this one in any case.
    #[must_use]
    pub fn replaced(&self, old: &SignerId, new: &SignerId) -> Self {
        let swap = |id: &SignerId| if id == old { new.clone() } else { id.clone() };
        let phase = match &self.phase {
            Phase::Steady { signer } => Phase::Steady { signer: swap(signer) },
            Phase::Distributing { old, new } => Phase::Distributing { old: swap(old), new: swap(new) },
            Phase::Renewing { old, new, until } => {
                Phase::Renewing { old: swap(old), new: swap(new), until: *until }
            }
            Phase::Retiring { old, new } => Phase::Retiring { old: swap(old), new: swap(new) },
        };
        let mut next = self.next(phase);
        next.signed_until = self.signed_until.iter().map(|(id, until)| (swap(id), *until)).collect();
        next
    }

    /// What is to be done at `now`, given what replicas report.
    pub fn advance(&self, now: Time, world: &World) -> Step {
        match self.waiting(now, world) {
            Waiting::Nothing => match &self.phase {
                Phase::Steady { .. } => Step::Wait(Waiting::Nothing),
                _ => Step::Keep(self.stepped(now)),
            },
            waiting => Step::Wait(waiting),
        }
    }

    /// The next state whatever is waited for, for an operator who insists; with what would have been waited for: those are
    /// the replicas or workloads that lose their peers.
    pub fn force(&self, now: Time, world: &World) -> (Self, Waiting) {
        (self.stepped(now), self.waiting(now, world))
    }

    fn waiting(&self, now: Time, world: &World) -> Waiting {
        let late = || -> Vec<Replica> {
            let knows = |report: &Option<Report>| report.is_some_and(|report| report.epoch >= self.epoch);
            world.iter().filter(|(_, report)| !knows(report)).map(|(name, _)| name.clone()).collect()
        };
        // Clocks that are behind still take what has expired by ours.
        let over = |until: Time| until.after(CLOCK_SKEW) < now;
        match &self.phase {
            Phase::Steady { .. } => Waiting::Nothing,
            // Without any replica nobody has said anything: that is no consent.
            Phase::Distributing { .. } if world.is_empty() || !late().is_empty() => Waiting::Replicas(late()),
            Phase::Distributing { .. } => Waiting::Nothing,
            // A replica that came or came back meanwhile counts as well.
            Phase::Renewing { .. } if world.is_empty() || !late().is_empty() => Waiting::Replicas(late()),
            Phase::Renewing { until, .. } => {
                let behind = world.values().map(|report| report.and_then(|report| report.behind)).sum();
                if over(*until) || behind == Some(0) {
                    Waiting::Nothing
                } else {
                    Waiting::Workloads { behind, until: *until }
                }
            }
            Phase::Retiring { old, .. } => match self.signed_until(old) {
                Some(until) if !over(until) => Waiting::Expiry(until),
                _ => Waiting::Nothing,
            },
        }
    }

    fn stepped(&self, now: Time) -> Self {
        match &self.phase {
            Phase::Steady { .. } => self.clone(),
            Phase::Distributing { old, new } => {
                // Whoever was answered before has a certificate that ends by then, or has asked again.
                let until = self.signed_until(old).unwrap_or(now);
                self.next(Phase::Renewing { old: old.clone(), new: new.clone(), until })
            }
            Phase::Renewing { old, new, .. } => {
                self.next(Phase::Retiring { old: old.clone(), new: new.clone() })
            }
            Phase::Retiring { old, new } => {
                let mut next = self.next(Phase::Steady { signer: new.clone() });
                next.signed_until.remove(old);
                next
            }
        }
    }

    fn next(&self, phase: Phase) -> Self {
        Self {
            revision: self.revision.saturating_add(1),
            epoch: self.epoch.saturating_add(1),
            phase,
            signed_until: self.signed_until.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
