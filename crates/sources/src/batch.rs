//! What a source says changed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use imbl::OrdMap;
use meltemi_api::{FieldPath, Finding, Place, Places, Severity};
use meltemi_model::Event;
use meltemi_names::ObjectKey;

use crate::kube::Written;

/// One change: what one save, one turn of the API server's watches, or all of the first reading, changed.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What changed, for [`meltemi_model::Store::apply`]; empty when only findings or places did.
    pub events: Vec<Event>,
    /// All findings of the source as they are now, sorted.
    pub findings: Arc<[Finding]>,
    /// Where each object stands now.
    pub places: PlaceIndex,
    /// What the API server has beside the spec of these objects now; none: the object is gone.
    pub written: Vec<(ObjectKey, Option<Written>)>,
    /// How much there is.
    pub status: Status,
}

/// How much was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Files that hold something, readable or not.
    pub files: usize,
    /// Documents of the mesh's kinds in them, items of lists counted singly.
    pub documents: usize,
    /// Objects in force.
    pub objects: usize,
    /// Objects whose present text is refused; their last good ones are among `objects`.
    pub rejected: usize,
    /// Objects of kinds that are none of the mesh's, by kind.
    pub skipped: BTreeMap<String, usize>,
    /// When the batch was made.
    pub at: Option<SystemTime>,
}

/// Where objects stand in their files. A copy shares all.
#[derive(Clone, Debug, Default)]
pub struct PlaceIndex(pub(crate) OrdMap<ObjectKey, Places>);

impl PlaceIndex {
    /// Whether both are one index, by pointer.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }

    /// The places of an object's fields; none for an object that comes from no file.
    pub fn of(&self, key: &ObjectKey) -> Option<&Places> {
        self.0.get(key)
    }

    /// Where a field stands, or the nearest field around it.
    pub fn place(&self, key: &ObjectKey, field: &FieldPath) -> Option<Place> {
        self.of(key)?.value(field)
    }

    /// The finding with the place of its object and field, unless it has one already.
    #[must_use]
    pub fn locate(&self, finding: Finding) -> Finding {
        match finding.key.as_ref().and_then(|key| self.of(key)) {
            Some(places) => places.locate(finding),
            None => finding,
        }
    }
}

/// Why an object with these findings is refused, for the list of refused objects: the first error. Without its place: a moved line is no
/// change.
pub(crate) fn reason(findings: &[Finding]) -> Arc<str> {
    match findings.iter().find(|finding| finding.severity == Severity::Error) {
        Some(finding) if finding.field.is_empty() => finding.message.as_str().into(),
        Some(finding) => format!("{}: {}", finding.field, finding.message).into(),
        None => "it cannot be read".into(),
    }
}
