//! The findings that only the sight of all files gives, and those of a file as a whole. Must not know: order, history.

use std::collections::BTreeMap;

use meltemi_api::{Finding, MeshConfig, Place, Severity};
use meltemi_names::ObjectKey;

use super::content::Claim;

/// Reads the bytes of the file of `--mesh-config`.
pub(super) fn read_settings(bytes: &[u8], shown: &str) -> (Option<MeshConfig>, Vec<Finding>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let (read, found) = meltemi_api::parse_mesh_config(text, shown);
            let found = found.into_iter().map(|finding| Finding {
                in_force: finding
                    .in_force
                    .or_else(|| read.is_none().then(|| "the settings as they were before".to_owned())),
                ..finding
            });
            (read.clone(), found.collect())
        }
        Err(error) => (None, vec![not_utf8(bytes, error, shown)]),
    }
}

/// The finding of a file that is no text.
pub(super) fn not_utf8(bytes: &[u8], error: std::str::Utf8Error, shown: &str) -> Finding {
    let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let place = Place { file: shown.into(), line: u32::try_from(line).unwrap_or(u32::MAX), column: 1 };
    Finding::error("not-utf8", "the file is no UTF-8 text")
        .in_force("what was read of it before")
        .hint("save it as UTF-8")
        .placed(Some(place))
}

/// The findings of the claim that counts.
pub(super) fn of_winner(claim: &Claim, has_last_good: bool) -> Vec<Finding> {
    let is_refused = claim.object.is_none();
    let in_force = if has_last_good { "its last good version" } else { "nothing: the object is left out" };
    let told = claim.findings.iter().cloned().map(|finding| {
        let is_cause = is_refused && finding.severity == Severity::Error;
        if is_cause { finding.in_force(in_force) } else { finding }
    });
    told.collect()
}

/// The finding of a claim to an object that an earlier file, or document, holds.
pub(super) fn of_loser(winner: &Claim, loser: &Claim) -> Finding {
    let there =
        winner.places.start().map_or_else(|| winner.places.file().to_owned(), |place| place.to_string());
    let is_same = winner.object.is_some() && winner.object == loser.object;
    let finding = if is_same {
        Finding::info("duplicate", format!("the same object stands at {there} too"))
    } else {
        Finding::error("duplicate", format!("another object of this kind and name stands at {there}"))
    };
    finding
        .about(&loser.key)
        .in_force("the one there, which is first in path order")
        .hint("delete one of the two, or give it another name")
        .placed(loser.places.start())
}

/// The finding of an object that may be what cannot be read.
pub(super) fn of_kept(key: &ObjectKey, cause: Option<&Finding>) -> Finding {
    let place = cause.and_then(|finding| finding.place.clone());
    Finding::warning(
        "kept",
        "its file held it before, does not now, and has a part that cannot be read and may be it",
    )
    .about(key)
    .in_force("its last good version")
    .hint("mend that part; if the object is to go, it goes then")
    .placed(place)
}

/// The one finding about everything that is none of the mesh's.
pub(super) fn of_skipped(kinds: &BTreeMap<String, usize>) -> Option<Finding> {
    let total: usize = kinds.values().sum();
    let list: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    (total > 0).then(|| {
        let what = if total == 1 { "1 object is" } else { &format!("{total} objects are") };
        Finding::info(
            "skipped-kinds",
            format!("{what} of kinds that are none of the mesh's: {}", list.join(", ")),
        )
        .in_force("they are passed over")
    })
}
