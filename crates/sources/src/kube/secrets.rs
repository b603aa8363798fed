//! Which Secrets of a cluster are followed: where, and of which types.
//!
//! All that may be a certificate, and not only those that some Gateway names: which name a gateway means is known once its pods are, and
//! a watch for each name would be begun and ended by what was read. Where they are followed is for the operator, whose roles say the same.
//! Must not know: what a Secret holds ([`meltemi_api::Credential`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_names::Namespace;

/// In which namespaces the Secrets of gateways' certificates are followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Secrets {
    /// In none.
    #[default]
    Nowhere,
    /// In each, by one list and one watch.
    Everywhere,
    /// In these, by a list and a watch in each: a role in each of them is enough.
    In(BTreeSet<Namespace>),
}

impl Secrets {
    /// Whether any are followed.
    pub fn any(&self) -> bool {
        !self.namespaces().is_empty()
    }

    /// For each follower its namespace; none: all of them.
    pub(super) fn namespaces(&self) -> Vec<Option<Arc<str>>> {
        match self {
            Self::Nowhere => Vec::new(),
            Self::Everywhere => vec![None],
            Self::In(namespaces) => namespaces.iter().map(|name| Some(name.as_str().into())).collect(),
        }
    }
}

/// The field selector of those that may be certificates: the API server keeps to itself what is of another type. Any other type may be one,
/// as in Istio (pilot/pkg/credentials/kube, `SecretsFieldSelector`).
pub(super) fn fields() -> String {
    let others: Vec<String> =
        meltemi_api::NO_CREDENTIALS.iter().map(|other| format!("type!={other}")).collect();
    others.join(",")
}

#[cfg(test)]
mod tests {
    use super::Secrets;

    #[test]
    fn each_namespace_is_followed_by_itself_and_all_of_them_at_once() {
        assert!(!Secrets::default().any());
        assert_eq!(Secrets::Everywhere.namespaces(), [None]);
        let some = Secrets::In(["a".into(), "b".into()].into());
        assert_eq!(some.namespaces(), [Some("a".into()), Some("b".into())]);
    }
}
