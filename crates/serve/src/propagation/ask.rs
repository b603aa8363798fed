//! What is asked: an object, and which state of it.

use std::time::Duration;

use meltemi_api::Object;
use meltemi_names::{ObjectKey, Version};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// About which object.
    pub object: ObjectKey,
    /// Which state of it.
    pub want: Want,
    /// For how long to wait until it is so; none: as it is now.
    pub timeout: Option<Duration>,
    /// Who is asked.
    pub scope: Scope,
}

/// Which state of an object is to be in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// The latest that was read.
    Latest,
    /// That `metadata.generation`, or a later one.
    Generation(i64),
    /// That content.
    Content(String),
    /// None: the object is to be gone, and all that was made from it.
    Deleted,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The replica that hears the question, about its own proxies.
    Replica,
    /// All replicas.
    Mesh,
}

impl Ask {
    /// Where the latest state of the object stands on this replica now.
    pub fn latest(object: ObjectKey) -> Self {
        Self { object, want: Want::Latest, timeout: None, scope: Scope::Replica }
    }
}

/// What tells this state of an object from any other, alike in every process of this version.
pub fn content_of(object: &Object) -> String {
    // Its maps are sorted, so that equal objects are written alike.
    Version::of(format!("{object:?}").as_bytes()).to_string()
}
