//! What is answered: the schema that scripts and delivery tools read (docs/propagation.md). Stable: fields and words are added, never
//! changed.

use meltemi_names::ObjectKey;
use serde::{Deserialize, Serialize};

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InForce {
    /// The object.
    pub object: ObjectName,
    /// What was asked for is so. The only field that a script must read.
    pub met: bool,
    /// Where it stands.
    pub state: State,
    /// `metadata.generation` of the latest state that was read; objects from files have none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub generation: Option<i64>,
    /// Tells the latest state that was read from any other, alike on all replicas of one version.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content: Option<String>,
    /// The state of the mesh, as this replica counts them, that brought the object's last change to the proxies; 0 if none has yet.
    pub published: u64,
    /// How many proxies have it.
    pub have: usize,
    /// How many proxies must have it: 0 if no connected proxy uses it.
    pub of: usize,
    /// How many of those that do not have it have just connected, and lack it for no other reason: a status that was reached once need not
    /// be taken back for them.
    #[serde(default)]
    pub starting: usize,
    /// Those that do not have it: the first of them, those that need help before those that are only late.
    #[serde(default)]
    pub lagging: Vec<Lagging>,
    /// One sentence for people.
    pub message: String,
    /// What each replica answered, this one first; only if all were asked.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub replicas: Vec<Replica>,
}

/// Names an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectName {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl From<&ObjectKey> for ObjectName {
    fn from(key: &ObjectKey) -> Self {
        Self {
            kind: key.kind.as_str().to_owned(),
            namespace: key.namespace.as_str().to_owned(),
            name: key.name.as_str().to_owned(),
        }
    }
}

/// Where an object stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Every proxy that must have it has it.
    InForce,
    /// It was given to the proxies, and not all have it.
    Propagating,
    /// It was read, and waits a moment for what it refers to.
    Waiting,
    /// It cannot be used; its last good state, if there is one, stays in force.
    Refused,
    /// It is gone, and every proxy has dropped what was made from it.
    Deleted,
    /// It, or the generation or content that was asked for, was not read yet.
    NotSeen,
    /// Not every replica could be asked.
    Unknown,
}

/// A proxy that does not have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lagging {
    /// `name.namespace`.
    pub proxy: String,
    /// Why.
    pub why: Why,
    /// What it lacks, by its name in Envoy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource: Option<String>,
    /// Why, for people; with Envoy's own words if it refused something.
    pub message: String,
    /// The replica that it is connected to; only if all were asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub replica: Option<String>,
}

/// Why a proxy does not have something. Those that need help come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Why {
    /// The proxy refuses it.
    Refused,
    /// Other proxies of its build refuse it, so it is not offered to this one.
    SetAside,
    /// It keeps its last good state: something that the new one refers to does not exist.
    Held,
    /// What is to go is still referred to by a route in force.
    Needed,
    /// It has just connected, and has not got all of its first configuration.
    Starting,
    /// It has not acknowledged it.
    NotAcknowledged,
}

/// What a replica answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// Its monitoring address; `self` for the one that was asked.
    pub address: String,
    /// Where the object stands there; unknown if it could not be asked.
    pub state: State,
    /// What was asked for is so there.
    pub met: bool,
    /// How many of its proxies have it.
    pub have: usize,
    /// How many of its proxies must have it.
    pub of: usize,
    /// One sentence for people.
    pub message: String,
}
