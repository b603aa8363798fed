//! Whether workloads take plain text from their callers: PeerAuthentication, from the mesh's down to a port's.
//!
//! Knows: Istio's levels, and which policy counts of several. Must not know: filter chains, clusters.   Start at [`ModesOf`]; a
//! workload's own policy is [`WorkloadPolicy`].
//! Invariant: a policy for some workloads is read for those alone whose labels have the first that it asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_api::PeerAuthentication;
use meltemi_api::peer_authentication::{Mtls, MtlsMode};
use meltemi_memo::Question;
use meltemi_names::{Labels, Namespace, ObjectKey, Port};

use crate::entry::IndexKey;
use crate::mesh::Mesh;
use crate::read::{self, Read, filed};
use crate::service::Age;
use crate::settings::settings;

/// What a workload takes from its callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Plain text.
    Disable,
    /// Mutual TLS from those who offer it, else as they come. What holds where nothing is written.
    #[default]
    Permissive,
    /// Mutual TLS.
    Strict,
}

impl Mode {
    /// The mode that is written; none where the level above decides.
    fn written(mtls: Mtls) -> Option<Self> {
        match mtls.mode {
            MtlsMode::Unset => None,
            MtlsMode::Disable => Some(Self::Disable),
            MtlsMode::Permissive => Some(Self::Permissive),
            MtlsMode::Strict => Some(Self::Strict),
        }
    }
}

/// A mode for all ports but some.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortModes {
    /// Of every port that is not listed.
    pub rest: Mode,
    /// The ports of another mode, sorted.
    pub ports: Arc<[(Port, Mode)]>,
}

impl PortModes {
    /// The mode of a port of the workload.
    pub fn of(&self, port: Port) -> Mode {
        let found = self.ports.iter().find(|(listed, _)| *listed == port);
        found.map_or(self.rest, |(_, mode)| *mode)
    }

    /// The same after `change`: ports that come to the mode of the rest are listed no more.
    #[must_use]
    pub fn map(&self, change: impl Fn(Mode) -> Mode) -> Self {
        let rest = change(self.rest);
        let ports = self.ports.iter().map(|(port, mode)| (*port, change(*mode)));
        Self { rest, ports: ports.filter(|(_, mode)| *mode != rest).collect() }
    }
}

/// The modes of a workload, and the policies that say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// By port.
    pub modes: PortModes,
    /// The policies that decide; none where the default holds.
    pub decided_by: Vec<ObjectKey>,
}

/// The modes of the workloads of a namespace that have that policy of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ModesOf {
    /// Theirs.
    pub namespace: Namespace,
    /// As [`WorkloadPolicy`] answers.
    pub policy: Option<ObjectKey>,
}

impl Question for ModesOf {
    type World = Mesh;
    type Answer = Modes;
    const NAME: &'static str = "modes of a workload";

    fn answer(&self, read: &Read<'_>) -> Modes {
        let general = read.ask(NamespaceMode(self.namespace.clone()));
        let own = self.policy.as_ref().and_then(|key| Some((key, read::peer_authentication(read, key)?.1)));
        let Some((key, policy)) = own else { return general.modes() };
        let written = Mode::written(policy.mtls);
        let rest = written.unwrap_or(general.mode);
        let ports: BTreeMap<Port, Mode> = policy
            .port_level_mtls
            .iter()
            .flatten()
            .filter_map(|(port, mtls)| Some((*port, Mode::written(*mtls)?)))
            .collect();
        let decides = written.is_some() || !ports.is_empty();
        let above = general.decided_by.iter().filter(|_| written.is_none());
        Modes {
            modes: PortModes { rest, ports: ports.into_iter().filter(|(_, mode)| *mode != rest).collect() },
            decided_by: above.chain(decides.then_some(key)).cloned().collect(),
        }
    }
}

/// The mode of the workloads of a namespace that have no policy of their own, as clients see its services too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamespaceMode(pub Namespace);

/// The answer of [`NamespaceMode`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeneralMode {
    /// The mode.
    pub mode: Mode,
    /// The policy that says so.
    pub decided_by: Option<ObjectKey>,
}

impl GeneralMode {
    fn modes(&self) -> Modes {
        Modes {
            modes: PortModes { rest: self.mode, ports: Arc::default() },
            decided_by: self.decided_by.iter().cloned().collect(),
        }
    }
}

impl Question for NamespaceMode {
    type World = Mesh;
    type Answer = GeneralMode;
    const NAME: &'static str = "mode of a namespace";

    fn answer(&self, read: &Read<'_>) -> GeneralMode {
        let root = root(read);
        let levels = std::iter::once(&self.0).chain(Some(&root).filter(|root| **root != self.0));
        for namespace in levels {
            let Some(key) = (*read.ask(GeneralPolicy(namespace.clone()))).clone() else { continue };
            let written =
                read::peer_authentication(read, &key).and_then(|(_, policy)| Mode::written(policy.mtls));
            if let Some(mode) = written {
                return GeneralMode { mode, decided_by: Some(key) };
            }
        }
        GeneralMode::default()
    }
}

/// The policy for all of a namespace, or, of the root namespace, for all of the mesh: the oldest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GeneralPolicy(pub Namespace);

impl Question for GeneralPolicy {
    type World = Mesh;
    type Answer = Option<ObjectKey>;
    const NAME: &'static str = "general policy of a namespace";

    fn answer(&self, read: &Read<'_>) -> Option<ObjectKey> {
        oldest(read, filed(read, IndexKey::GeneralPeerAuthentications(self.0.clone())), |_| true)
    }
}

/// The policy that selects a workload of these labels: the oldest of those that do. In the root namespace none does (Istio:
/// pilot/pkg/model/authentication.go).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkloadPolicy {
    /// The workload's.
    pub namespace: Namespace,
    /// The workload's.
    pub labels: Labels,
}

impl Question for WorkloadPolicy {
    type World = Mesh;
    type Answer = Option<ObjectKey>;
    const NAME: &'static str = "policy of a workload";

    fn answer(&self, read: &Read<'_>) -> Option<ObjectKey> {
        if *read.ask(IsRoot(self.namespace.clone())) {
            return None;
        }
        let candidates = self.labels.iter().flat_map(|(key, value)| {
            let (key, value): (Arc<str>, Arc<str>) = (key.into(), value.into());
            filed(read, IndexKey::PeerAuthenticationsSelecting(self.namespace.clone(), key, value))
        });
        oldest(read, candidates, |policy| {
            policy.labels().is_some_and(|selector| selector.selects(&self.labels))
        })
    }
}

/// Istio's order (pilot/pkg/model/authentication.go): creation time, name, namespace.
fn oldest<'a>(
    read: &Read<'_>,
    keys: impl Iterator<Item = &'a ObjectKey>,
    counts: impl Fn(&PeerAuthentication) -> bool,
) -> Option<ObjectKey> {
    let found = keys.filter_map(|key| {
        let (meta, policy) = read::peer_authentication(read, key)?;
        counts(policy).then(|| (Age::of(meta), key.clone()))
    });
    found.min().map(|(_, key)| key)
}

/// Whether a namespace is the one whose resources are for the whole mesh: that the mesh has another one ends here for all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IsRoot(pub Namespace);

impl Question for IsRoot {
    type World = Mesh;
    type Answer = bool;
    const NAME: &'static str = "root namespace";

    fn answer(&self, read: &Read<'_>) -> bool {
        root(read) == self.0
    }
}

pub(crate) fn root(read: &Read<'_>) -> Namespace {
    (*read.ask(RootNamespace)).clone()
}

/// The namespace whose resources are for the whole mesh.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct RootNamespace;

impl Question for RootNamespace {
    type World = Mesh;
    type Answer = Namespace;
    const NAME: &'static str = "name of the root namespace";

    fn answer(&self, read: &Read<'_>) -> Namespace {
        settings(read).root_namespace.as_str().into()
    }
}

/// On which of its ports a workload takes the mesh's mutual TLS: on all but some, or on none but some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsPorts {
    rest: bool,
    /// Sorted.
    others: Arc<[Port]>,
}

impl TlsPorts {
    /// Of a workload that can: everywhere but where its policy says plain text.
    pub(crate) fn of(modes: &PortModes) -> Self {
        let rest = modes.rest != Mode::Disable;
        let others = modes.ports.iter().filter(|(_, mode)| (*mode != Mode::Disable) != rest);
        Self { rest, others: others.map(|(port, _)| *port).collect() }
    }

    /// Whether it does on that port of its own.
    pub fn has(&self, port: Port) -> bool {
        self.rest != self.others.contains(&port)
    }
}

/// Whether the workload's proxy takes the mesh's mutual TLS at all: a label that injection sets.
pub(crate) const TLS_MODE_LABEL: &str = "security.istio.io/tlsMode";
/// Its value where it does.
pub(crate) const TLS_MODE_ISTIO: &str = "istio";

/// On which ports a workload of these labels takes the mesh's mutual TLS; `can`: its proxy does at all.
pub(crate) fn tls_ports(read: &Read<'_>, namespace: &Namespace, labels: &Labels, can: bool) -> TlsPorts {
    if !can {
        return TlsPorts::default();
    }
    let policy = read.ask(WorkloadPolicy { namespace: namespace.clone(), labels: labels.clone() });
    let modes = read.ask(ModesOf { namespace: namespace.clone(), policy: (*policy).clone() });
    TlsPorts::of(&modes.modes)
}

#[cfg(test)]
mod tests;
