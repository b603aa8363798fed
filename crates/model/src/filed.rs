//! The objects filed under one index key: in a large mesh mostly one, which costs no set.

use imbl::OrdSet;
use meltemi_names::ObjectKey;

/// Objects, sorted; never none, and of one only ever [`Filed::One`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Filed {
    One(ObjectKey),
    Many(OrdSet<ObjectKey>),
}

impl Filed {
    pub(crate) fn insert(&mut self, key: &ObjectKey) {
        match self {
            Self::One(only) if only == key => {}
            Self::One(only) => *self = Self::Many([only.clone(), key.clone()].into_iter().collect()),
            Self::Many(all) => {
                all.insert(key.clone());
            }
        }
    }

    /// What is left without `key`; none if that is nothing.
    pub(crate) fn without(&self, key: &ObjectKey) -> Option<Self> {
        match self {
            Self::One(only) => (only != key).then(|| self.clone()),
            Self::Many(all) => {
                let rest = all.without(key);
                match rest.len() {
                    0 => None,
                    1 => rest.get_min().cloned().map(Self::One),
                    _ => Some(Self::Many(rest)),
                }
            }
        }
    }
}

impl<'a> IntoIterator for &'a Filed {
    type Item = &'a ObjectKey;
    type IntoIter = std::iter::Chain<
        std::option::IntoIter<&'a ObjectKey>,
        std::iter::Flatten<std::option::IntoIter<&'a OrdSet<ObjectKey>>>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            Filed::One(only) => (Some(only), None),
            Filed::Many(all) => (None, Some(all)),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::Filed;
    use meltemi_names::{Kind, ObjectKey};

    #[test]
    fn what_is_filed_is_sorted_and_gone_when_it_goes() {
        let key = |name: &str| ObjectKey::new(Kind::Service, "shop", name);
        let names = |filed: &Filed| filed.into_iter().map(|key| key.name.to_string()).collect::<Vec<_>>();
        let mut filed = Filed::One(key("b"));
        for name in ["b", "c", "a", "c"] {
            filed.insert(&key(name));
        }
        assert_eq!(names(&filed), ["a", "b", "c"]);
        let filed = filed.without(&key("b")).unwrap().without(&key("x")).unwrap();
        let filed = filed.without(&key("a")).unwrap();
        assert_eq!(names(&filed), ["c"]);
        assert!(filed.without(&key("c")).is_none());
    }
}
