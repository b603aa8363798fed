//! Which objects count: those of selected namespaces (mesh setting `discoverySelectors`), and of configuration those of this
//! control plane's revision (label `istio.io/rev`).
//!
//! Knows: the two filters, and the objects that they keep out. Must not know: indexes, what objects mean.   Start at
//! [`Filters::admits`].
//! Invariant: what is kept aside is just what the filters do not admit, so that selecting a namespace brings back all that it has.

use std::sync::Arc;

use imbl::OrdMap;
use meltemi_api::value::LabelSelector;
use meltemi_api::{MeshConfig, Object};
use meltemi_names::{Kind, Labels, Namespace, ObjectKey};

use crate::mesh::Mesh;

/// The label by which an object says for which revision of the control plane it is.
const REVISION_LABEL: &str = "istio.io/rev";

/// The label that the API server gives every namespace; in a folder it goes without saying.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// What decides whether an object counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters {
    /// Empty: objects of every revision count.
    revision: Arc<str>,
    /// Of namespaces; any of them. None: all namespaces count.
    selectors: Arc<[LabelSelector]>,
}

impl Filters {
    pub(crate) fn of_revision(revision: &str) -> Self {
        Self { revision: revision.into(), selectors: Arc::default() }
    }

    /// Takes the selectors that are in force now; true if they are others.
    pub(crate) fn follow(&mut self, mesh: &Mesh) -> bool {
        let wanted = &in_force(mesh).discovery_selectors;
        let differs = *self.selectors != **wanted;
        if differs {
            self.selectors = wanted.as_slice().into();
        }
        differs
    }

    /// Whether an object counts in a mesh of these namespaces.
    pub(crate) fn admits(&self, object: &Object, mesh: &Mesh) -> bool {
        self.is_of_revision(object) && self.selects(&object.meta.key, mesh)
    }

    /// Objects without the label are for every revision; a control plane without a revision reads all (Istio: pkg/config/model.go).
    pub(crate) fn is_of_revision(&self, object: &Object) -> bool {
        self.revision.is_empty()
            || !object.meta.key.kind.is_configuration()
            || object.meta.labels.value(REVISION_LABEL).is_none_or(|revision| *revision == *self.revision)
    }

    /// Whether objects of the key's namespace count. Namespaces and nodes always do, and so do the mesh's own settings (Istio:
    /// pkg/kube/namespace/filter.go).
    pub(crate) fn selects(&self, key: &ObjectKey, mesh: &Mesh) -> bool {
        key.namespace.as_str().is_empty() || is_settings(key) || self.selects_namespace(&key.namespace, mesh)
    }

    pub(crate) fn selects_namespace(&self, namespace: &Namespace, mesh: &Mesh) -> bool {
        if self.selectors.is_empty() {
            return true;
        }
        let key = ObjectKey::new(Kind::Namespace, "", namespace.as_str());
        let written = mesh.objects.get(&key).map(|object| &object.meta.labels);
        let labels = match written {
            Some(labels) if labels.value(NAME_LABEL).is_some() => labels.clone(),
            written => {
                let own = written.into_iter().flat_map(Labels::iter);
                own.chain([(NAME_LABEL, namespace.as_str())]).collect()
            }
        };
        self.selectors.iter().any(|selector| selector.selects(&labels))
    }
}

/// Whether a key is of a ConfigMap with the mesh's settings.
pub fn is_settings(key: &ObjectKey) -> bool {
    key.kind == Kind::ConfigMap && key.name.as_str() == "istio"
}

/// The settings in force; [`crate::settings::Settings`] is the same for an answer that is remembered.
fn in_force(mesh: &Mesh) -> &MeshConfig {
    let config = mesh.filed(&crate::entry::IndexKey::Settings).next().and_then(|key| mesh.objects.get(key));
    match config.map(|object| &object.spec) {
        Some(meltemi_api::Spec::ConfigMap(config)) => &config.mesh,
        _ => &mesh.defaults,
    }
}

/// What is there and does not count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aside {
    pub(crate) objects: OrdMap<ObjectKey, Arc<Object>>,
    /// Of namespaces that are not selected; with the reason.
    pub(crate) rejected: OrdMap<ObjectKey, Arc<str>>,
}

/// The keys of a namespace among those of a map: of each kind a range, so that other namespaces cost nothing.
pub(crate) fn of_namespace<V>(map: &OrdMap<ObjectKey, V>, namespace: &Namespace) -> Vec<ObjectKey> {
    let mut keys = Vec::new();
    for kind in Kind::ALL {
        let from = ObjectKey::new(kind, namespace.clone(), "");
        let own = map.range(from..).map(|(key, _)| key);
        keys.extend(own.take_while(|key| key.kind == kind && key.namespace == *namespace).cloned());
    }
    keys
}
