//! What signs, kept in a Secret that Istio would understand, too; and the operator's own intermediate, where one is plugged in.
//!
//! Knows: Istio's Secrets and their keys. Must not know: when what signs is changed (`meltemi_ca::rotate` does).   Start at
//! [`client::SecretKeep`]; [`secret`] is the Secret's form, [`cacerts`] that of what is plugged in, [`plug`] what follows from the latter,
//! [`wish`] what an operator asks for.
//! Invariant: a write names the version that was read, so that of two replicas one wins and the other reads again; what others keep in
//! the Secret stays.

pub(super) mod cacerts;
pub(super) mod client;
mod plug;
pub(super) mod secret;
pub(super) mod wish;
