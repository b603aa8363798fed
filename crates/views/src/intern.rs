//! Equal resources exist once, however many layers came to them by different ways: a whole route configuration that two namespaces
//! see alike, a cluster that two rules make alike.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use meltemi_catalog::{Resource, ResourceName};
use meltemi_names::{TypeUrl, Version};

/// The resources that some layer holds. Keeps none of them alive.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    known: HashMap<(TypeUrl, ResourceName, Version), Weak<Resource>>,
    /// Swept at the last count of this many.
    swept: usize,
}

impl Interner {
    /// The resource itself, or an equal one that is there already.
    pub(crate) fn intern(&mut self, resource: Arc<Resource>) -> Arc<Resource> {
        let key = (resource.type_url(), resource.name().clone(), resource.version());
        match self.known.get(&key).and_then(Weak::upgrade) {
            // Equal bytes under one name may be made from other objects; those are told apart where a refusal is traced.
            Some(known) if *known == *resource => known,
            _ => {
                self.known.insert(key, Arc::downgrade(&resource));
                resource
            }
        }
    }

    /// Forgets what nobody holds any more; looks only when there may be as much of it as of the rest.
    pub(crate) fn sweep(&mut self) {
        if self.known.len() > 2 * self.swept + 64 {
            self.known.retain(|_, resource| resource.strong_count() > 0);
            self.swept = self.known.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Interner;
    use meltemi_catalog::Resource;
    use meltemi_names::{TypeUrl, Version};
    use std::sync::Arc;

    fn resource(bytes: &str) -> Arc<Resource> {
        let body = bytes.as_bytes().to_vec();
        Arc::new(Resource::new(TypeUrl::Route, "80".into(), Version::of(&body), body.into()))
    }

    #[test]
    fn equal_resources_become_one() {
        let mut interner = Interner::default();
        let first = interner.intern(resource("a"));
        assert!(Arc::ptr_eq(&first, &interner.intern(resource("a"))));
        assert!(!Arc::ptr_eq(&first, &interner.intern(resource("b"))));
    }

    #[test]
    fn what_nobody_holds_is_forgotten() {
        let mut interner = Interner::default();
        let kept = interner.intern(resource("kept"));
        for index in 0..1_000 {
            interner.intern(resource(&index.to_string()));
            interner.sweep();
        }
        assert!(interner.known.len() < 200, "{}", interner.known.len());
        assert!(Arc::ptr_eq(&kept, &interner.intern(resource("kept"))));
    }
}
