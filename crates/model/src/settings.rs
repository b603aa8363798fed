//! The mesh's settings: the ConfigMap `istio` over what was given at start.

use std::sync::Arc;

use meltemi_api::{MeshConfig, Spec};
use meltemi_memo::Question;

use crate::entry::{Entry, IndexKey};
use crate::mesh::Mesh;
use crate::read::{Read, filed, object};

/// The settings in force. Where a change of a field that is not read should cost nothing, a question that answers just the fields that
/// are read stands between.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings;

impl Question for Settings {
    type World = Mesh;
    type Answer = Arc<MeshConfig>;
    const NAME: &'static str = "settings";

    fn answer(&self, read: &Read<'_>) -> Arc<MeshConfig> {
        // There is one such ConfigMap in a cluster; in a folder the first by namespace counts, the others are findings.
        let config = filed(read, IndexKey::Settings).next().and_then(|key| object(read, key));
        match config.map(|object| &object.spec) {
            Some(Spec::ConfigMap(config)) => Arc::clone(&config.mesh),
            _ => Arc::clone(&read.world_at(Entry::Defaults).defaults),
        }
    }
}

/// The settings in force.
pub fn settings(read: &Read<'_>) -> Arc<MeshConfig> {
    Arc::clone(&*read.ask(Settings))
}
