//! What one client may have.

use std::sync::Arc;

use meltemi_names::TypeUrl;
use smallvec::SmallVec;

use crate::derived::Summary;
use crate::layer::{Change, Generation, Layer, LayerId, Live};

/// The layers that one client is served from: what it shares with its namespace, what it shares with its workload. Layers
/// hold disjoint names.
#[derive(Clone, Debug, Default)]
pub struct View {
    layers: SmallVec<[Arc<Layer>; 2]>,
    left: Option<Arc<View>>,
}

impl View {
    /// A view of these layers.
    pub fn new(layers: impl IntoIterator<Item = Arc<Layer>>) -> Self {
        Self { layers: layers.into_iter().collect(), left: None }
    }

    /// States which view the client was served from until now, when this one has other layers: the client can then be told
    /// what differs, and need not come back with its versions. Only in the first view after the move, since it keeps the old
    /// layers alive.
    #[must_use]
    pub fn coming_from(mut self, left: View) -> Self {
        self.left = Some(Arc::new(View { left: None, ..left }));
        self
    }

    /// The view that the client was served from before it was moved to this one.
    pub fn left(&self) -> Option<&View> {
        self.left.as_deref()
    }

    /// The layers.
    pub fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    /// The latest generation of any layer.
    pub fn generation(&self) -> Generation {
        self.layers.iter().map(|layer| layer.generation()).max().unwrap_or_default()
    }

    /// The generation of the last change to any resource of that type.
    pub fn changed(&self, type_url: TypeUrl) -> Generation {
        self.layers.iter().map(|layer| layer.changed(type_url)).max().unwrap_or_default()
    }

    /// The resource of that name.
    pub fn find(&self, type_url: TypeUrl, name: &str) -> Option<&Live> {
        self.layers.iter().find_map(|layer| layer.find(type_url, name))
    }

    /// All resources of a type; by name within a layer.
    pub fn all(&self, type_url: TypeUrl) -> impl Iterator<Item = &Live> {
        self.layers.iter().flat_map(move |layer| layer.all(type_url))
    }

    /// How many resources of a type.
    pub fn count(&self, type_url: TypeUrl) -> usize {
        self.layers.iter().map(|layer| layer.count(type_url)).sum()
    }

    /// The sums of all resources of a type.
    pub fn summary(&self, type_url: TypeUrl) -> Summary {
        let mut summary = Summary::EMPTY;
        self.layers.iter().for_each(|layer| summary.join(layer.summary(type_url)));
        summary
    }

    /// Where each layer's history stands.
    pub fn position(&self) -> Position {
        Position(self.layers.iter().map(|layer| (layer.id(), layer.generation())).collect())
    }

    /// Whether this view continues the histories at `position`, so that [`View::changes_since`] tells all that differs. If
    /// not (another layer, or removals forgotten since), who stood there must compare what it holds.
    pub fn continues(&self, position: &Position) -> bool {
        self.layers.len() == position.0.len()
            && self.layers.iter().zip(&position.0).all(|(layer, &(id, generation))| {
                layer.id() == id && layer.generation() >= generation && layer.horizon() <= generation
            })
    }

    /// What changed after `position` in any layer, each name once; oldest first within a layer. Complete only if this view
    /// [continues](View::continues) it.
    pub fn changes_since<'a>(
        &'a self,
        type_url: TypeUrl,
        position: &'a Position,
    ) -> impl Iterator<Item = (Generation, &'a Change)> + 'a {
        self.layers
            .iter()
            .zip(&position.0)
            // Of eight types one has changed, and beginning to look costs more than not to.
            .filter(move |(layer, (_, generation))| layer.changed(type_url) > *generation)
            .flat_map(move |(layer, &(_, generation))| layer.changes_since(type_url, generation))
    }

    /// The generation of the last change to that name, its removal too; none if there never was one, or it is forgotten.
    pub fn touched(&self, type_url: TypeUrl, name: &str) -> Option<Generation> {
        self.layers.iter().filter_map(|layer| layer.touched(type_url, name)).max()
    }

    /// Whether that name changed after `position`, as far as can be told: yes if this view does not
    /// [continue](View::continues) it.
    pub fn touched_since(&self, position: &Position, type_url: TypeUrl, name: &str) -> bool {
        let mut layers = self.layers.iter().zip(&position.0);
        !self.continues(position)
            || layers.any(|(layer, &(_, generation))| {
                layer.touched(type_url, name).is_some_and(|touched| touched > generation)
            })
    }
}

/// Where a client stands: the generation of each of its layers. Small, so that a client that lags keeps no old resources
/// alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(SmallVec<[(LayerId, Generation); 2]>);
