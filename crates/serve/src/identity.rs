//! Who is who: what signs on this replica, whom it believes, and the TLS port where all of that is used.
//!
//! Knows: `ca`'s values, rustls. Must not know: what a proxy may have.   Start at [`start`]; [`parts`] chooses where signers are kept and
//! whose tokens count (a state folder, or a cluster); [`keeper`] is the one task that reads and replaces what signs; [`serving`] has the
//! certificate that the port shows; [`listen`] takes connections; [`authenticate`] says who is on one; [`gate`] whether a proxy is who it
//! says it is.
//! Invariant: nothing is signed before its end is kept, and nobody is somebody by what they say of themselves.

pub(crate) mod authenticate;
mod clock;
mod connection;
pub mod control;
pub(crate) mod gate;
mod keeper;
pub mod kube;
mod listen;
mod metrics;
mod names;
pub(crate) mod parts;
mod rules;
mod serving;
mod standing;
mod state;
mod verifier;

use std::path::PathBuf;
use std::sync::Arc;

use meltemi_ca::limits::Limits;
use meltemi_ca::server::{CertificateServer, Settings as CertificateSettings};
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use self::authenticate::Authenticator;
pub(crate) use self::clock::{Clock, Wall};
pub(crate) use self::gate::Gate;
pub(crate) use self::kube::{Answer, Readers, Said};
pub(crate) use self::listen::serve;
pub(crate) use self::metrics::IdentityMetrics;
pub(crate) use self::rules::Domains;
pub use self::state::{Failed as StateFailed, mint};
#[doc(no_inline)]
pub use meltemi_ca::Lifetimes;

use self::keeper::Keeper;
use self::parts::Parts;
use crate::config::Config;
use crate::wire::Failure;

/// What the authority is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where signers and the key of tokens are kept, without a cluster.
    pub state_dir: Option<PathBuf>,
    /// With a cluster and without a state folder: sign for it, with what is kept in its Secrets.
    pub in_cluster: bool,
    /// How long workloads' certificates live.
    pub lifetimes: Lifetimes,
    /// The accounts (namespace, name) that may ask for the identities of pods on their node (Istio: `CA_TRUSTED_NODE_ACCOUNTS`).
    pub node_accounts: Vec<(String, String)>,
    /// Names that clients call this control plane by, besides its own.
    pub custom_hosts: Vec<String>,
    /// Bounds of the certificate service.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state_dir: None,
            in_cluster: true,
            lifetimes: Lifetimes::default(),
            node_accounts: Vec::new(),
            custom_hosts: Vec::new(),
            limits: Limits { signing: signing(), ..Limits::default() },
        }
    }
}

/// How many requests sign at the same time: one core stays for pushes, where there is more than one.
fn signing() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}

/// The authority on this replica, running.
pub(crate) struct Identity {
    /// Says who is on a connection.
    pub(crate) authenticator: Arc<Authenticator>,
    /// The certificate service.
    pub(crate) certificates: CertificateServer,
    /// How connections are answered; none until there is a certificate to show.
    pub(crate) tls: watch::Receiver<Option<Arc<rustls::ServerConfig>>>,
    pub(crate) domains: watch::Receiver<Arc<meltemi_ca::entitlement::Rules>>,
    pub(crate) metrics: IdentityMetrics,
    /// What this replica goes by, for its page.
    pub(crate) shown: kube::Shown,
    /// Who may have the Secrets of a cluster; none: there are none, and whoever is verified may have those of folders.
    pub(crate) readers: Option<Readers>,
}

impl Identity {
    /// Lets streams in by it.
    pub(crate) fn gate(&self) -> Gate {
        Gate::new(Arc::clone(&self.authenticator), self.metrics.clone())
    }
}

/// What the authority is given by whoever starts it.
pub(crate) struct Given<'a> {
    pub(crate) config: &'a Config,
    /// Whose names there are: told by the mesh's task, and right once `ready` is true.
    pub(crate) domains: watch::Receiver<Arc<meltemi_ca::entitlement::Rules>>,
    pub(crate) ready: watch::Receiver<bool>,
    /// Becomes true when this replica is to stop.
    pub(crate) drained: watch::Receiver<bool>,
    /// The cluster, where there is one.
    pub(crate) cluster: Option<kube::Around>,
    /// The API server that says who may have Secrets, where some of a cluster are followed.
    pub(crate) says_readers: Option<::kube::Client>,
}

/// Starts the authority, if there is a place to keep it; its tasks are put among `tasks`.
///
/// # Errors
/// When the state folder cannot be used.
pub(crate) async fn start(
    given: Given<'_>,
    registry: &mut Registry,
    tasks: &mut JoinSet<Result<(), Failure>>,
) -> Result<Option<Identity>, Failure> {
    let settings = &given.config.identity;
    let metrics = IdentityMetrics::new(registry);
    let clock: Arc<dyn Clock> = Arc::new(Wall);
    // The epoch that this replica answers by, for those who report it.
    let (epoch_sender, epoch) = watch::channel(0);
    let kube_metrics =
        (given.cluster.is_some() || given.says_readers.is_some()).then(|| kube::metrics(registry));
    let around = given.cluster.as_ref().zip(kube_metrics.clone());
    let Some(parts) = parts::choose(&given, &epoch, &clock, around.as_ref()).await? else { return Ok(None) };
    let Parts { keep, tokens, replicas, pods, state } = parts;

    let keeper = Keeper::start(
        keeper::Task {
            keep,
            replicas,
            clock: Arc::clone(&clock),
            domains: given.domains.clone(),
            ready: given.ready.clone(),
            // A twenty-fourth of a life: one write an hour where certificates live for a day.
            ahead: settings.lifetimes.usual / 24,
            epoch: epoch_sender,
            metrics: metrics.clone(),
        },
        given.drained.clone(),
        tasks,
    );
    if let Some(state) = state {
        let roots = keeper.roots();
        state.serve(roots, Arc::clone(&keeper), given.domains.clone(), given.drained.clone(), tasks)?;
    }
    if let Some((around, metrics)) = &around {
        kube::tell_roots(around, metrics, keeper.authority(), given.drained.clone(), tasks);
    }
    let shown = kube::Shown::new(keeper.standing(), given.domains.clone());
    let tls = serving::start(
        serving::Task {
            keeper: Arc::clone(&keeper),
            names: names::of(given.config),
            life: settings.lifetimes.usual.min(settings.lifetimes.longest),
            clock: Arc::clone(&clock),
            domains: given.domains.clone(),
            metrics: metrics.clone(),
        },
        given.drained.clone(),
        tasks,
    );
    let authenticator = Arc::new(Authenticator::new(tokens, given.domains.clone(), clock, metrics.clone()));
    let certificates = CertificateServer::new(
        Arc::clone(&authenticator) as _,
        Arc::clone(&keeper) as _,
        pods,
        keeper.authority(),
        CertificateSettings {
            rules: given.domains.clone(),
            observe: Arc::new(metrics.clone()),
            lifetimes: settings.lifetimes,
            limits: settings.limits,
        },
    );
    let readers = given.says_readers.zip(kube_metrics).map(|(client, metrics)| Readers::new(client, metrics));
    Ok(Some(Identity { authenticator, certificates, tls, domains: given.domains, metrics, shown, readers }))
}
