//! A patch as it is written, read once.

use std::sync::Arc;

use bytes::Bytes;
use meltemi_api::envoy_filter::{ApplyTo, ListenerMatch, Operation, PatchMatch};
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::read::{self, Read};
use meltemi_names::ObjectKey;

/// One patch, ready to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The EnvoyFilter that it is of.
    pub object: ObjectKey,
    /// What it is applied to.
    pub apply_to: ApplyTo,
    /// How.
    pub operation: Operation,
    /// To which of them.
    pub matching: PatchMatch,
    /// Its value: a message of the type that `apply_to` names; empty for a removal.
    pub value: Bytes,
}

impl Written {
    pub(super) fn listener(&self) -> Option<&ListenerMatch> {
        self.matching.listener.as_ref()
    }

    /// The value as a message.
    pub(crate) fn message<M: prost::Message + Default>(&self) -> Option<M> {
        M::decode(self.value.clone()).ok()
    }

    /// Merges, in either way.
    pub(super) fn merges(&self) -> bool {
        matches!(self.operation, Operation::Merge | Operation::MergeAndReplaceList)
    }
}

/// One patch of an EnvoyFilter; none for one that is left out, which a finding on the object says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PatchOf {
    /// The object.
    pub object: ObjectKey,
    /// Its place in `configPatches`.
    pub patch: usize,
}

impl Question for PatchOf {
    type World = Mesh;
    type Answer = Option<Arc<Written>>;
    const NAME: &'static str = "patch";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let (_, filter) = read::envoy_filter(read, &self.object)?;
        let written = filter.config_patches.get(self.patch)?;
        let value = written.message().ok()?;
        Some(Arc::new(Written {
            object: self.object.clone(),
            apply_to: written.apply_to,
            operation: written.operation(),
            matching: written.matching.clone(),
            value: value.into(),
        }))
    }
}
