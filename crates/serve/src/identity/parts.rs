//! What differs between a state folder and a cluster: where signers are kept, whose tokens count, who the replicas are.
//!
//! Start at [`choose`], the one place where that is decided.

use std::sync::Arc;

use futures::future::BoxFuture;
use meltemi_ca::entitlement::{Caller, NoPods, Pods};
use meltemi_ca::server::Unknown;
use meltemi_ca::{Keep, Replicas};
use tokio::sync::watch;

use super::Given;
use super::clock::Clock;
use super::kube::{self, Around, KubeIdentityMetrics};
use super::state::State;
use crate::wire::Failure;

/// Says whose a bearer token is.
pub(crate) trait Tokens: Send + Sync {
    /// Who holds this token. A token that is none of this reviewer's is [`Unknown::Nobody`]; the next one is asked then.
    fn review<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, Unknown>>;
}

/// What one mode gives.
pub(crate) struct Parts {
    /// Where signers and their state are.
    pub(crate) keep: Arc<dyn Keep>,
    /// Whose tokens count, in the order in which they are asked.
    pub(crate) tokens: Vec<Arc<dyn Tokens>>,
    /// Who answers besides.
    pub(crate) replicas: Arc<dyn Replicas>,
    /// Who runs beside whom.
    pub(crate) pods: Arc<dyn Pods>,
    /// What is served in the state folder, where there is one.
    pub(crate) state: Option<State>,
}

/// Chooses by the configuration: the state folder where one is given. `epoch` is what this replica answers by, to be reported by
/// [`Replicas`]. None, and a word in the log, where there is nothing to keep signers in.
///
/// # Errors
/// When the state folder cannot be used.
pub(crate) async fn choose(
    given: &Given<'_>,
    epoch: &watch::Receiver<u64>,
    clock: &Arc<dyn Clock>,
    around: Option<&(&Around, KubeIdentityMetrics)>,
) -> Result<Option<Parts>, Failure> {
    let Some(folder) = &given.config.identity.state_dir else {
        if let Some((around, metrics)) = around {
            return Ok(Some(kube::parts(around, &given.config.own, given.domains.clone(), epoch, metrics)));
        }
        tracing::info!(
            "no certificate authority, and nothing listens at --secure-xds-address: give --state-dir DIR, where its keys are kept"
        );
        return Ok(None);
    };
    let state = State::open(folder.clone()).await?;
    Ok(Some(Parts {
        keep: state.keep(),
        tokens: vec![state.tokens(given.domains.clone(), Arc::clone(clock))],
        replicas: state.replicas(epoch.clone()),
        pods: Arc::new(NoPods),
        state: Some(state),
    }))
}
