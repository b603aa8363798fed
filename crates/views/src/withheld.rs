//! What the mesh asks for and a layer does not have: held, kept or set aside.
//!
//! Knows: what a layer would have, and what it has. Must not know: who is served from it.

use std::collections::BTreeMap;

use meltemi_catalog::{Generation, LayerId, ResourceName};
use meltemi_names::{ObjectKey, TypeUrl};

/// A resource whose state in a layer is not what the mesh asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// Its type.
    pub type_url: TypeUrl,
    /// Its name.
    pub name: ResourceName,
    /// The first generation that is not in force for it; what was asked for before is.
    pub since: Generation,
    /// The objects that it is made from.
    pub origin: Vec<ObjectKey>,
    /// Why.
    pub why: Withholding,
}

/// Why something is withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withholding {
    /// It keeps its last good state, since these clusters do not exist.
    Missing(Vec<ResourceName>),
    /// It is to go, and a route in force needs it.
    Needed,
    /// Proxies of one build refuse it; they are served its last good state.
    Refused,
}

/// What is withheld in each layer; layers that withhold nothing are not in it.
pub type WithheldByLayer = BTreeMap<LayerId, Vec<Withheld>>;
