//! What became of an object, written into the object: accepted, its references found, in force.
//!
//! Knows: findings, where an object stands, what the API server has of its status. Must not know: what an object means.   Start at
//! [`plan::plan`] (pure: what is to be written); `ledger` collects, `queue` orders, `task` carries.
//! Invariants: only conditions of our own types are replaced, against the version of the object that was seen, never by force; nothing is
//! written without a change; only the leader writes.

mod ledger;
mod plan;
mod queue;
mod task;

pub(crate) use ledger::Ledger;
pub(crate) use task::{Writer, spawn};
