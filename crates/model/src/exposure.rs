//! Who may see an object: `exportTo`.

use std::collections::BTreeSet;

use meltemi_api::value::ExportTo;
use meltemi_names::Namespace;

/// To which namespaces an object is exported (Istio: pilot/pkg/model/push_context.go).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exposure {
    /// `*`, or nothing written and the mesh's default is `*`.
    Public,
    /// `.` and names, resolved; empty for `~`.
    To(BTreeSet<Namespace>),
}

impl Exposure {
    /// Resolves `exportTo` as written in an object of `own`; `default` is the mesh's, for objects that write none.
    pub fn resolve(written: &[ExportTo], default: &[ExportTo], own: &Namespace) -> Self {
        let targets = if written.is_empty() { default } else { written };
        if targets.is_empty() || targets.contains(&ExportTo::All) {
            return Self::Public;
        }
        let named = targets.iter().filter_map(|target| match target {
            ExportTo::Own => Some(own.clone()),
            ExportTo::Namespace(namespace) => Some(namespace.clone()),
            ExportTo::All | ExportTo::Nobody => None,
        });
        Self::To(named.collect())
    }

    /// Whether `namespace` may see the object.
    pub fn reaches(&self, namespace: &Namespace) -> bool {
        match self {
            Self::Public => true,
            Self::To(named) => named.contains(namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exposure;
    use meltemi_api::value::ExportTo::{All, Namespace, Nobody, Own};

    #[test]
    fn what_is_written_wins_over_the_default() {
        let own = "shop".into();
        assert_eq!(Exposure::resolve(&[], &[All], &own), Exposure::Public);
        assert!(Exposure::resolve(&[Own], &[All], &own).reaches(&own));
        assert!(!Exposure::resolve(&[Own], &[All], &own).reaches(&"other".into()));
        assert!(!Exposure::resolve(&[Nobody], &[All], &own).reaches(&own));
        assert!(!Exposure::resolve(&[], &[Own], &own).reaches(&"other".into()));
        assert_eq!(Exposure::resolve(&[Own, All], &[], &own), Exposure::Public);
        assert!(Exposure::resolve(&[Namespace("b".into())], &[], &own).reaches(&"b".into()));
    }
}
