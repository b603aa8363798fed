//! What follows when an intermediate is plugged in: it signs at once where everybody trusts it already, else by a change of signers. Pure,
//! given `now`.
//!
//! It is copied into the Secret of the state, so that one that is spoilt or taken away later does not stop what is in force.

use std::collections::BTreeMap;

use meltemi_ca::keep::Kept;
use meltemi_ca::rotate::Phase;
use meltemi_ca::{Authority, Material, Refused, Rotation, SignerId, Time};

/// What is to be done.
#[derive(Debug)]
pub(super) enum Act {
    /// Nothing: it is what signs, or what is being changed to.
    Nothing,
    /// This is to be kept instead.
    Keep(Kept),
    /// A change to another signer is under way: after it.
    Wait {
        /// To which.
        new: SignerId,
    },
}

/// Decides.
///
/// # Errors
/// When the material cannot sign; what is kept stays in force.
pub(super) fn act(kept: Option<&Kept>, plugged: &Material, now: Time) -> Result<Act, Refused> {
    let authority = Authority::load(plugged, now)?;
    let id = authority.id().clone();
    let Some(kept) = kept else {
        let signers = BTreeMap::from([(id.clone(), plugged.clone())]);
        return Ok(Act::Keep(Kept { rotation: Rotation::steady(id), signers }));
    };
    if let Some(known) = kept.signers.get(&id) {
        if is_same(known, plugged) {
            return Ok(Act::Nothing);
        }
        // The same certificate with other roots, another chain or list.
        let mut next = Kept { rotation: kept.rotation.replaced(&id, &id), signers: kept.signers.clone() };
        next.signers.insert(id, plugged.clone());
        return Ok(Act::Keep(next));
    }
    let signer = match kept.rotation.phase() {
        Phase::Steady { signer } => signer,
        Phase::Distributing { new, .. } | Phase::Renewing { new, .. } | Phase::Retiring { new, .. } => {
            return Ok(Act::Wait { new: new.clone() });
        }
    };
    let mut signers = kept.signers.clone();
    signers.insert(id.clone(), plugged.clone());
    let is_trusted = signers.get(signer).is_some_and(|present| trust_each_other(present, plugged, now));
    if is_trusted {
        let rotation = kept.rotation.replaced(signer, &id);
        signers.remove(signer);
        return Ok(Act::Keep(Kept { rotation, signers }));
    }
    match kept.rotation.begin(id) {
        Ok(rotation) => Ok(Act::Keep(Kept { rotation, signers })),
        // It is steady, and another signer: there is nothing that could stand against it.
        Err(_) => Ok(Act::Nothing),
    }
}

fn is_same(one: &Material, other: &Material) -> bool {
    let pieces = |of: &Material| {
        [of.chain.clone(), of.roots.clone(), of.crl.clone()].map(|piece| piece.trim_ascii().to_vec())
    };
    one.key == other.key && pieces(one) == pieces(other)
}

/// Whether what each of them signs verifies to the other's roots.
fn trust_each_other(one: &Material, other: &Material, now: Time) -> bool {
    let roots = |of: &Material| {
        if of.roots.trim_ascii().is_empty() { of.certificate.clone() } else { of.roots.clone() }
    };
    let loads = |of: &Material, by: &Material| {
        let tried = Material { roots: roots(by), crl: Vec::new(), ..of.clone() };
        Authority::load(&tried, now).is_ok()
    };
    loads(one, other) && loads(other, one)
}

#[cfg(test)]
mod tests;
