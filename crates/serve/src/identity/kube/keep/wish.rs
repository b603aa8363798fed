//! What an operator wishes of the change of signers: annotations of the Secret, which `meltemi ca` writes. Pure.
//!
//! A wish names the epoch of the state that it is about, so that it is granted once, by whichever replica sees it first. The new key is
//! made here, in the cluster: it is in no hand but the Secret's.

use std::collections::BTreeMap;

use meltemi_ca::keep::Kept;
use meltemi_ca::rotate::{Phase, World};
use meltemi_ca::{Material, ROOT_LIFE, Refused, SignerId, Time};

/// A change of signers is to begin.
pub(crate) const ROTATE: &str = "meltemi.io/rotate";

/// The next step is to be done, whatever it waits for.
pub(crate) const FORCE: &str = "meltemi.io/force-rotation";

/// What is wished for of that state; nothing of what was granted already.
fn is_for(annotations: &BTreeMap<String, String>, name: &str, kept: &Kept) -> bool {
    annotations.get(name).is_some_and(|epoch| *epoch == kept.rotation.epoch().to_string())
}

/// The state in which the wish is granted; none where there is no wish.
///
/// # Errors
/// When no key can be made.
pub(super) fn granted(
    annotations: &BTreeMap<String, String>,
    kept: &Kept,
    trust_domain: &str,
    now: Time,
) -> Result<Option<Kept>, Refused> {
    let is_steady = matches!(kept.rotation.phase(), Phase::Steady { .. });
    let mut signers = kept.signers.clone();
    let rotation = if is_steady && is_for(annotations, ROTATE, kept) {
        let material = Material::generate(trust_domain, ROOT_LIFE, now)?;
        let id = material.id()?;
        signers.insert(id.clone(), material);
        let Ok(rotation) = kept.rotation.begin(id) else { return Ok(None) };
        rotation
    } else if !is_steady && is_for(annotations, FORCE, kept) {
        kept.rotation.force(now, &World::new()).0
    } else {
        return Ok(None);
    };
    let trusted: Vec<SignerId> = rotation.trusted().into_iter().cloned().collect();
    signers.retain(|id, _| trusted.contains(id));
    Ok(Some(Kept { rotation, signers }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_ca::Rotation;
    use std::time::Duration;

    fn now() -> Time {
        Time::from_unix(1_800_000_000)
    }

    fn wish(name: &str, kept: &Kept) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), kept.rotation.epoch().to_string())])
    }

    #[test]
    fn a_wish_is_granted_once_and_step_by_step() {
        let root = Material::generate("cluster.local", Duration::from_secs(86_400), now()).unwrap();
        let id = root.id().unwrap();
        let first =
            Kept { rotation: Rotation::steady(id.clone()), signers: BTreeMap::from([(id.clone(), root)]) };
        assert!(granted(&wish(FORCE, &first), &first, "t", now()).unwrap().is_none(), "nothing to force");
        let asked = wish(ROTATE, &first);
        let begun = granted(&asked, &first, "t", now()).unwrap().unwrap();
        assert!(matches!(begun.rotation.phase(), Phase::Distributing { old, .. } if *old == id));
        assert_eq!(begun.signers.len(), 2);
        assert!(granted(&asked, &begun, "t", now()).unwrap().is_none(), "it was granted");
        let mut kept = begun;
        for left in [2, 2, 1] {
            kept = granted(&wish(FORCE, &kept), &kept, "t", now()).unwrap().unwrap();
            assert_eq!(kept.signers.len(), left);
        }
        assert!(matches!(kept.rotation.phase(), Phase::Steady { signer } if *signer != id));
        assert!(granted(&wish(FORCE, &first), &kept, "t", now()).unwrap().is_none());
    }
}
