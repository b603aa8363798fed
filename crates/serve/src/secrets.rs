//! What the proxy of a stream may have of its namespace's Secrets, for as long as the stream lives.
//!
//! Knows: identities, and what the API server says of accounts. Must not know: Secrets.   Start at [`Standing::of`]; [`task`] asks again.
//! Invariant: nobody gets a key who was not authenticated for its namespace, and, with a cluster, let by its API server.

pub(crate) mod task;

use std::sync::Arc;

use meltemi_model::proxy::{ProxyKind, SecretAccess};

use crate::identity::{Answer, Said};

/// What a proxy may have now, and why not more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) access: SecretAccess,
    /// Empty where there is nothing to say.
    pub(crate) why: Arc<str>,
}

impl Standing {
    /// Of a proxy whose identity was verified, or was not. Only gateways have Secrets.
    pub(crate) fn of(kind: ProxyKind, verified: bool) -> Self {
        let access = match (kind, verified) {
            (ProxyKind::Router, true) => SecretAccess::All,
            _ => SecretAccess::None,
        };
        Self { access, why: Arc::default() }
    }

    /// Of a gateway of a cluster.
    pub(crate) fn by(answer: &Answer) -> Self {
        match &answer.said {
            Said::May => Self { access: SecretAccess::All, why: Arc::default() },
            Said::MayNot(why) if why.is_empty() => {
                Self { access: SecretAccess::Roots, why: "no role lets its account list them".into() }
            }
            Said::MayNot(why) | Said::Unknown(why) => {
                Self { access: SecretAccess::Roots, why: Arc::clone(why) }
            }
        }
    }
}
