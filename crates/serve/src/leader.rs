//! Who of the replicas writes status: an election by a Lease.
//!
//! Knows: what a Lease says, and for how long it is believed. Must not know: what the leader does.   Start at [`election::Election`] (decides,
//! given `now`); [`task`] asks the API server what it decides.
//! Invariant: a replica that cannot renew gives up before another one may take over.

mod election;
mod task;

pub(crate) use task::{Candidate, spawn};
