//! Who runs beside whom, for a node's proxy that asks for the identities of the pods of its node.
//!
//! Knows: the pods of the mesh as it was published last. Must not know: who may speak for others (`meltemi_ca::entitlement`).   Start at
//! [`PodsOfMesh`].   Source of the rules: istio: security/pkg/server/ca/node_auth.go.

use std::sync::Arc;

use meltemi_api::pod::Phase;
use meltemi_api::{Pod, Spec};
use meltemi_ca::entitlement::{PodRef, Pods};
use meltemi_model::Mesh;
use meltemi_names::{Kind, ObjectKey, SpiffeId};
use tokio::sync::watch;

/// The pods of the mesh; none of namespaces that do not count.
#[derive(Debug)]
pub(crate) struct PodsOfMesh {
    mesh: watch::Receiver<Arc<Mesh>>,
}

impl PodsOfMesh {
    pub(super) fn new(mesh: watch::Receiver<Arc<Mesh>>) -> Self {
        Self { mesh }
    }
}

impl Pods for PodsOfMesh {
    fn beside(&self, caller: &SpiffeId, pod: &PodRef, wanted: &SpiffeId) -> bool {
        let mesh = Arc::clone(&self.mesh.borrow());
        let own = mesh.object(&ObjectKey::new(Kind::Pod, caller.namespace(), &*pod.name));
        let Some(Spec::Pod(own)) = own.map(|object| &object.spec) else { return false };
        if own.uid.as_deref() != Some(&pod.uid) || *own.service_account != *caller.service_account() {
            return false;
        }
        let Some(node) = &own.node_name else { return false };
        let runs_there = |found: &Pod| {
            found.node_name.as_ref() == Some(node)
                && *found.service_account == *wanted.service_account()
                && found.phase != Phase::Failed
        };
        mesh.within(Kind::Pod, wanted.namespace()).any(|object| match &object.spec {
            Spec::Pod(found) => runs_there(found),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_model::{Event, Store};

    fn mesh(pods: &[(&str, &str, &str, &str, &str, &str)]) -> PodsOfMesh {
        let mut store = Store::new();
        for (namespace, name, uid, account, node, phase) in pods {
            let yaml = format!(
                "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}, uid: {uid}}}, \
                 spec: {{serviceAccountName: {account}, nodeName: {node}}}, status: {{phase: {phase}}}}}"
            );
            let objects = meltemi_api::parse_all(&yaml).unwrap();
            store.apply(objects.into_iter().map(|object| Event::Upsert(Arc::new(object))));
        }
        PodsOfMesh::new(watch::channel(Arc::new(store.mesh().clone())).1)
    }

    fn id(namespace: &str, account: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://cluster.local/ns/{namespace}/sa/{account}")).unwrap()
    }

    #[test]
    fn a_node_s_proxy_speaks_for_those_that_run_on_its_node() {
        let pods = mesh(&[
            ("istio-system", "ztunnel-a", "u1", "ztunnel", "east", "Running"),
            ("shop", "cart-1", "u2", "cart", "east", "Running"),
            ("shop", "bank-1", "u3", "bank", "west", "Running"),
            ("shop", "gone-1", "u4", "gone", "east", "Failed"),
            ("shop-2", "late-1", "u5", "late", "east", "Pending"),
        ]);
        let proxy = id("istio-system", "ztunnel");
        let pod = |name: &str, uid: &str| PodRef { name: name.to_owned(), uid: uid.to_owned() };
        let own = pod("ztunnel-a", "u1");
        assert!(pods.beside(&proxy, &own, &id("shop", "cart")));
        assert!(pods.beside(&proxy, &own, &id("shop-2", "late")));
        for (namespace, account) in [("shop", "bank"), ("shop", "gone"), ("shop", "late"), ("none", "cart")] {
            assert!(!pods.beside(&proxy, &own, &id(namespace, account)), "{namespace}/{account}");
        }
        // Another pod of that name, another account in it, and one that is not there.
        assert!(!pods.beside(&proxy, &pod("ztunnel-a", "u9"), &id("shop", "cart")));
        assert!(!pods.beside(&id("istio-system", "other"), &own, &id("shop", "cart")));
        assert!(!pods.beside(&proxy, &pod("ztunnel-b", "u1"), &id("shop", "cart")));
    }
}
