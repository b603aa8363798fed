//! What a replica goes by: what is kept, made into what signs and what is trusted. Pure.

use std::sync::Arc;

use meltemi_ca::rotate::{Phase, Waiting};
use meltemi_ca::{Authority, CLOCK_SKEW, Kept, SignerId, Time};

/// What this replica goes by now.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) kept: Arc<Kept>,
    pub(crate) authority: Arc<Authority>,
    /// What the change that is under way waits for.
    pub(crate) waiting: Waiting,
}

/// Makes what signs from what is kept, with the roots of all that is trusted.
///
/// # Errors
/// When what signs, or will, cannot be used: then what was in force before is to stay.
pub(crate) fn authority(kept: &Kept, now: Time) -> Result<Authority, String> {
    let load = |id: &SignerId| {
        let material = kept
            .signers
            .get(id)
            .ok_or_else(|| format!("signer {id} is named by the state, and is not there"))?;
        Authority::load(material, now).map_err(|error| format!("signer {id}: {error}"))
    };
    let rotation = &kept.rotation;
    let mut authority = load(rotation.signer())?;
    for id in rotation.trusted().into_iter().filter(|id| *id != rotation.signer()) {
        match load(id) {
            Ok(other) => authority = authority.trusting(other.bundle()),
            // It has expired, and with it all that it signed.
            Err(error) if matches!(rotation.phase(), Phase::Retiring { .. }) => {
                tracing::warn!(target: "ca", error, "what signed before is trusted no longer");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(authority)
}

/// When what is waited for is to be looked at again; none: when something changes.
pub(crate) fn look_again(waiting: &Waiting, now: Time) -> Option<Time> {
    use std::time::Duration;
    // As `ca` counts: a clock that is behind takes for valid what has expired here.
    let over = |until: Time| until.after(CLOCK_SKEW + Duration::from_secs(1));
    match waiting {
        Waiting::Nothing => None,
        Waiting::Replicas(_) => Some(now.after(Duration::from_secs(2))),
        Waiting::Workloads { behind: Some(_), until } => {
            Some(now.after(Duration::from_secs(5)).min(over(*until)))
        }
        // A replica may come meanwhile.
        Waiting::Workloads { behind: None, until } => {
            Some(now.after(Duration::from_secs(60)).min(over(*until)))
        }
        Waiting::Expiry(until) => Some(over(*until)),
    }
}
