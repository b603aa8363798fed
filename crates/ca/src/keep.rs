//! Where signers and their state are kept between runs: one value, replaced by compare-and-set.
//!
//! Knows: what is kept, and how keeping may fail. Must not know: files, Kubernetes (whoever implements [`Keep`] does).
//! Start at [`Keep`]; [`file::Folder`] is the one for a single machine.
//! Invariant: the state names only signers that are kept with it.

use std::collections::BTreeMap;

use futures::future::BoxFuture;

use crate::authority::{Material, SignerId};
use crate::rotate::{self, Rotation};

pub mod file;

/// All that is kept: the rotation's state, and each signer that it names.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Which signer signs, which are trusted, and until when each has signed.
    pub rotation: Rotation,
    /// The signers that the state names, by their names.
    pub signers: BTreeMap<SignerId, Material>,
}

/// Why it cannot be read or replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// Somebody else replaced it: read it again, and decide anew.
    #[error("somebody else changed it meanwhile")]
    Conflict,
    /// Passes by itself; to be asked again.
    #[error("{0}")]
    Unavailable(String),
    /// Will not pass by itself: wrong or wide material. What was read before stays in force; the text says what to do.
    #[error("{0}")]
    Refused(String),
}

/// Keeps signers and their state.
pub trait Keep: Send + Sync {
    /// What is kept now; none where nothing was ever kept.
    fn load(&self) -> BoxFuture<'_, Result<Option<Kept>, KeepError>>;

    /// Replaces the state whose revision is `from` (none: there is no state yet) by compare-and-set. The signers that
    /// `kept` names are kept before its state is; those that it no longer names may be forgotten.
    fn swap<'a>(&'a self, from: Option<u64>, kept: &'a Kept) -> BoxFuture<'a, Result<(), KeepError>>;

    /// Done when what is kept may have been changed by somebody else. Never, where there is only one who writes.
    fn changed(&self) -> BoxFuture<'_, ()>;
}

/// Knows the replicas.
pub trait Replicas: Send + Sync {
    /// Every replica's report, this one's too.
    fn world(&self) -> BoxFuture<'_, rotate::World>;
}
