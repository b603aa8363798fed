//! Telemetry: which objects are for a workload, and what they come to.
//!
//! Knows: Istio's levels, and how rules override each other (Istio: pilot/pkg/model/telemetry.go). Must not know: Envoy's messages, where a
//! provider's service is.   Start at [`of_workload`] (which objects) and [`InForce`] (what they say together).
//! Invariant: where the mesh has no Telemetry, one index entry is read and nothing else.

mod logging;
mod metrics;
mod tracing;

use std::sync::Arc;

use meltemi_api::target_ref::targets;
use meltemi_api::telemetry::WorkloadMode;
use meltemi_memo::Question;
use meltemi_names::{Labels, Namespace, ObjectKey};

pub use self::logging::{Log, Logging};
pub use self::metrics::{Metrics, Tags};
pub use self::tracing::{Tags as CustomTags, Tracing};

use crate::entry::IndexKey;
use crate::mesh::Mesh;
use crate::peer::root;
use crate::read::{self, Read, filed, none_filed};
use crate::service::Age;
use crate::settings::settings;

/// Which side of a call a listener is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The caller's.
    Client,
    /// That of who is called.
    Server,
}

impl Side {
    /// Whether a rule of that mode is for it.
    pub fn is_of(self, mode: WorkloadMode) -> bool {
        match self {
            Self::Client => mode.has_client(),
            Self::Server => mode.has_server(),
        }
    }
}

/// The Telemetries that are for a workload: the oldest for the mesh, the oldest for its namespace, then all that select it, oldest first.
pub fn of_workload(read: &Read<'_>, namespace: &Namespace, labels: &Labels) -> Arc<[ObjectKey]> {
    if !*read.ask(AnyTelemetry) {
        return Arc::default();
    }
    let root = root(read);
    let general = std::iter::once(&root).chain(Some(namespace).filter(|namespace| **namespace != root));
    let general = general.filter_map(|namespace| (*read.ask(GeneralTelemetry(namespace.clone()))).clone());
    let candidates = labels.iter().flat_map(|(key, value)| {
        filed(read, IndexKey::TelemetriesSelecting(namespace.clone(), key.into(), value.into()))
    });
    let mut selecting: Vec<(Age, ObjectKey)> = candidates
        .filter_map(|key| {
            let (meta, telemetry) = read::telemetry(read, key)?;
            let selects = telemetry.labels().is_some_and(|selector| selector.selects(labels));
            (selects || targets(telemetry.targets(), labels)).then(|| (Age::of(meta), key.clone()))
        })
        .collect();
    selecting.sort_unstable();
    general.chain(selecting.into_iter().map(|(_, key)| key)).collect()
}

/// Whether there is any Telemetry; while there is none, nothing is asked about a workload's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AnyTelemetry;

impl Question for AnyTelemetry {
    type World = Mesh;
    type Answer = bool;
    const NAME: &'static str = "any telemetry";

    fn answer(&self, read: &Read<'_>) -> bool {
        !none_filed(read, IndexKey::Telemetries)
    }
}

/// The Telemetry for all of a namespace, or, of the root namespace, for all of the mesh: the oldest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GeneralTelemetry(pub Namespace);

impl Question for GeneralTelemetry {
    type World = Mesh;
    type Answer = Option<ObjectKey>;
    const NAME: &'static str = "general telemetry of a namespace";

    fn answer(&self, read: &Read<'_>) -> Option<ObjectKey> {
        let all = filed(read, IndexKey::GeneralTelemetries(self.0.clone()));
        let aged = all.filter_map(|key| Some((Age::of(read::telemetry(read, key)?.0), key.clone())));
        aged.min().map(|(_, key)| key)
    }
}

/// What Telemetries, the most general first, say together to one side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InForce {
    /// As [`of_workload`] answers.
    pub objects: Arc<[ObjectKey]>,
    /// To which side.
    pub side: Side,
}

/// The answer of [`InForce`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Who takes the access log; none: nobody says, and `accessLogFile` decides.
    pub logging: Option<Logging>,
    /// What is traced; none: nobody says, and `defaultConfig` decides.
    pub tracing: Option<Tracing>,
    /// What is counted.
    pub metrics: Metrics,
}

impl Question for InForce {
    type World = Mesh;
    type Answer = Said;
    const NAME: &'static str = "telemetry in force";

    fn answer(&self, read: &Read<'_>) -> Said {
        let objects = self.objects.iter().filter_map(|key| Some(read::telemetry(read, key)?.1));
        let objects: Vec<_> = objects.collect();
        let mesh = settings(read);
        Said {
            logging: logging::merge(&objects, &mesh.default_providers.access_logging, self.side),
            tracing: tracing::merge(&objects, &mesh.default_providers.tracing, self.side),
            metrics: metrics::merge(&objects, &mesh, self.side),
        }
    }
}

#[cfg(test)]
mod tests;
