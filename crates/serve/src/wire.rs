//! The only file that sees all crates: starts what there is and joins it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use meltemi_catalog::Generation;
use meltemi_sources::Source;
use meltemi_sources::file::{Error as FolderError, FolderSource};
use meltemi_sources::kube::{self, Cluster, ConnectError, KubeSource, Secrets};
use meltemi_views::Options;
use meltemi_xds::{DiscoveryServer, Settings};
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::config::Config;
use crate::debug::Debug;
use crate::findings::Findings;
use crate::identity::{self, Domains};
use crate::leader::{self, Candidate};
use crate::metrics::{Metrics, StatusMetrics};
use crate::pages::{self, Shown};
use crate::pilot::Pilot;
use crate::ports::Listener;
use crate::propagation::{Book, Propagation};
use crate::status::{self, Ledger};
use crate::streams::{Departures, Registry as StreamRegistry, Streams};
use crate::{listen, mesh};

/// How many proxies may wait to be let in before further ones wait at their sockets.
const WAITING_CONNECTS: usize = 1024;

/// How many refusals may wait to be looked at; two of a kind decide, so those beyond tell little.
const WAITING_REPORTS: usize = 256;

/// How many gateways whose rights changed may wait to be moved.
const WAITING_REVISIONS: usize = 256;

/// Why serving did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An address cannot be had.
    #[error("cannot listen on {address}: {source}; set {} to another address (port 0 takes a free one)", listener.option())]
    Bind {
        /// Which listener.
        listener: Listener,
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The configuration cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// There is no way to the cluster.
    #[error(transparent)]
    Cluster(#[from] ConnectError),
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] identity::StateFailed),
    /// The state folder's socket cannot be made.
    #[error("{}: {source}; `meltemi ca` asks there: the state folder must be on a file system that has sockets, and its path short", path.display())]
    Control {
        /// The socket.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A task broke.
    #[error("the {name} ended: {reason}")]
    Task {
        /// Which task.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// A listener broke.
    #[error("{} ended: {reason}", listener.name())]
    Serve {
        /// Which listener.
        listener: Listener,
        /// Why.
        reason: String,
    },
}

/// A running control plane.
#[derive(Debug)]
pub struct Running {
    /// Where proxies connect.
    pub xds: SocketAddr,
    /// Where proxies connect with TLS, if there is an authority.
    pub secure_xds: Option<SocketAddr>,
    /// Where readiness is asked.
    pub http: SocketAddr,
    /// Where metrics, version and debug pages are.
    pub monitoring: SocketAddr,
    /// The live streams.
    pub streams: Arc<Streams>,
    /// Who has what in force.
    pub propagation: Arc<Propagation>,
    /// The state of the mesh that is served.
    pub generation: watch::Receiver<Generation>,
    /// How many changes were read and wait for what they refer to ([`Config::patience`]).
    pub waiting: watch::Receiver<usize>,
    drain: watch::Sender<bool>,
    tasks: JoinSet<Result<(), Failure>>,
}

/// Binds the listeners, reads the configuration, and serves.
///
/// # Errors
/// When an address is taken or the configuration cannot be read at all. A bad file is a finding, not an error.
pub async fn start(config: Config) -> Result<Running, Failure> {
    // Addresses first: who cannot listen need not read.
    let (xds_socket, xds) = listen::bind(Listener::Xds, config.xds).await?;
    let (http_socket, http) = listen::bind(Listener::Http, config.http).await?;
    let (monitoring_socket, monitoring) = listen::bind(Listener::Monitoring, config.monitoring).await?;

    let (drain, drained) = watch::channel(false);
    let (ready, is_ready) = watch::channel(false);
    let (generation_sender, generation) = watch::channel(Generation(0));
    let (waiting_sender, waiting) = watch::channel(0);
    let (mesh_sender, published_mesh) = watch::channel(Arc::default());
    let (namespace_sender, namespaces) = watch::channel(Arc::default());
    let (connect_sender, connects) = mpsc::channel(WAITING_CONNECTS);
    let (report_sender, reports) = mpsc::channel(WAITING_REPORTS);
    let (revision_sender, revisions) = mpsc::channel(WAITING_REVISIONS);
    let departures = Arc::new(Departures::default());
    let book = Arc::new(Book::new(config.cluster.is_some().then(|| config.own.clone())));
    let streams = Streams::new(
        (connect_sender, report_sender, revision_sender),
        Arc::clone(&departures),
        is_ready.clone(),
        config.max_connection_age,
        Arc::clone(&book),
    );
    let propagation = Arc::new(Propagation::new(
        Arc::clone(&book),
        Arc::clone(&streams),
        is_ready.clone(),
        drained.clone(),
        config.peers.clone(),
    ));

    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let stream_metrics = meltemi_xds::Metrics::default();
    stream_metrics.register(&mut registry);
    registry.register_collector(Box::new(Pilot(stream_metrics.clone())));
    let status_metrics = StatusMetrics::new(&mut registry);

    let has_authority = config.identity.in_cluster || config.identity.state_dir.is_some();
    let secrets = if has_authority { &config.gateway_secrets } else { &Secrets::Nowhere };
    let cluster = match &config.cluster {
        Some(access) => {
            let cluster = Cluster::connect(access).await?;
            let kube_metrics = kube::Metrics::default();
            kube_metrics.register(&mut registry);
            let source = KubeSource::start(
                &cluster,
                config.own.namespace.as_str(),
                &config.own.settings(),
                secrets,
                &kube_metrics,
            );
            Some((source, (cluster, kube_metrics)))
        }
        None => None,
    };
    let (domains, rules) = Domains::new(config.identity.node_accounts.clone());
    let mut tasks = JoinSet::new();
    let stopped = |drained: &watch::Receiver<bool>| {
        let mut drained = drained.clone();
        async move {
            let _ = drained.wait_for(|drained| *drained).await;
        }
    };
    let signs = config.identity.in_cluster && config.identity.state_dir.is_none();
    // Apart from who writes status: a replica may do one and not the other.
    let leads = cluster.as_ref().filter(|_| signs).map(|(_, (cluster, _))| {
        elect(&config, cluster, ROOTS_LEASE, "the roots", &mut tasks, stopped(&drained))
    });
    let around = cluster.as_ref().zip(leads.as_ref());
    let given = identity::Given {
        config: &config,
        domains: rules,
        ready: is_ready.clone(),
        drained: drained.clone(),
        cluster: around.map(|((_, (cluster, metrics)), leads)| identity::kube::Around {
            cluster: cluster.clone(),
            metrics: metrics.clone(),
            leads: leads.clone(),
            namespaces,
            propagation: Arc::clone(&propagation),
            mesh: published_mesh.clone(),
        }),
        says_readers: cluster.as_ref().filter(|_| secrets.any()).map(|(_, (cluster, _))| cluster.client()),
    };
    let identity = identity::start(given, &mut registry, &mut tasks).await?;
    let secure = match &identity {
        Some(_) => Some(listen::bind(Listener::SecureXds, config.secure_xds).await?),
        None => None,
    };
    tell_source(&config, cluster.as_ref().map(|(_, (cluster, _))| cluster));

    let debug = Arc::new(Debug {
        streams: Arc::clone(&streams),
        mesh: published_mesh,
        replica: config.own.pod.as_ref().map_or_else(|| "meltemi".to_owned(), ToString::to_string),
        revision: config.own.revision.clone(),
    });
    let shown = Arc::new(Shown {
        ready: is_ready,
        waiting: cluster.as_ref().map(|(source, _)| source.waiting()),
        generation: generation.clone(),
        streams: Arc::clone(&streams),
        registry,
        propagation: Arc::clone(&propagation),
        debug: Arc::clone(&debug),
        identity: identity.as_ref().map(|identity| identity.shown.clone()),
        mesh_config: config.mesh_config.clone(),
    });
    // Before the configuration is read: a probe of a large mesh's start hears that it is not ready, instead of nothing.
    for (listener, socket, router) in [
        (Listener::Http, http_socket, pages::http(Arc::clone(&shown))),
        (Listener::Monitoring, monitoring_socket, pages::monitoring(shown)),
    ] {
        let stop = stopped(&drained);
        tasks.spawn(async move {
            // Some pages ask where the client is.
            axum::serve(socket, router.into_make_service_with_connect_info::<SocketAddr>())
                .with_graceful_shutdown(stop)
                .await
                .map_err(|error| Failure::Serve { listener, reason: error.to_string() })
        });
    }

    // Also without a folder: the settings' file is followed.
    let folder = if config.folders.is_empty() && config.mesh_config.is_none() {
        None
    } else {
        Some(FolderSource::start(&config.folders, &config.namespace, config.mesh_config.as_deref()).await?)
    };
    let (source, cluster) = cluster.unzip();
    let ledger = cluster.filter(|_| config.status).map(|(cluster, _)| {
        let leads = elect(&config, &cluster, LEASE, "status", &mut tasks, stopped(&drained));
        tell_objects(&config, &cluster, leads, &propagation, status_metrics, &mut tasks, stopped(&drained))
    });
    let writer = mesh::spawn(mesh::Mesh {
        options: Options { holds: config.holds, virtual_hosts: config.virtual_hosts, ..Options::default() },
        revision: config.own.revision.clone(),
        patience: config.patience,
        source: Source::new(folder, source),
        connects,
        reports,
        revisions,
        streams: Arc::downgrade(&streams),
        departures,
        ready,
        generation: generation_sender,
        waiting: waiting_sender,
        domains,
        findings: Findings::new(config.terminal),
        metrics,
        book,
        ledger,
        namespaces: namespace_sender,
        mesh: mesh_sender,
    });

    let gate = identity.as_ref().map(identity::Identity::gate).unwrap_or_default();
    let readers = identity.as_ref().and_then(|identity| identity.readers.clone());
    let directory = Arc::new(StreamRegistry { streams: Arc::clone(&streams), gate, debug, readers });
    let discovery = DiscoveryServer::new(
        directory,
        Settings::default(),
        stream_metrics,
        drained.clone(),
        u64::from(std::process::id()),
    );
    let mut secure_xds = None;
    if let Some((identity, (socket, address))) = identity.zip(secure) {
        secure_xds = Some(address);
        tasks.spawn(identity::serve(socket, identity, discovery.clone(), drained.clone()));
    }
    let stop = stopped(&drained);
    tasks.spawn(async move {
        let incoming = futures::stream::unfold(xds_socket, |socket| async {
            let (stream, _) = listen::accept(&socket).await;
            Some((Ok::<_, std::io::Error>(stream), socket))
        });
        listen::grpc()
            .add_service(discovery)
            .serve_with_incoming_shutdown(incoming, stop)
            .await
            .map_err(|error| Failure::Serve { listener: Listener::Xds, reason: error.to_string() })
    });
    tasks.spawn(writer.map(|ended| {
        ended.map_err(|error| Failure::Serve { listener: Listener::Xds, reason: error.to_string() })
    }));
    Ok(Running { xds, secure_xds, http, monitoring, streams, propagation, generation, waiting, drain, tasks })
}

/// Stands for election as the one replica that writes that; until when this one is elected.
fn elect(
    config: &Config,
    cluster: &Cluster,
    lease: &str,
    writes: &'static str,
    tasks: &mut JoinSet<Result<(), Failure>>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> watch::Receiver<Option<Instant>> {
    let identity = match &config.own.pod {
        Some(pod) => pod.to_string(),
        None => format!("meltemi-{}-{:08x}", std::process::id(), fastrand::u32(..)),
    };
    let candidate = Candidate {
        client: cluster.client(),
        namespace: config.own.namespace.to_string(),
        lease: lease.to_owned(),
        writes,
        identity,
    };
    let (leads, election) = leader::spawn(candidate, stop);
    watched("election", election, tasks);
    leads
}

/// What ends a task is told.
fn watched(name: &'static str, task: JoinHandle<()>, tasks: &mut JoinSet<Result<(), Failure>>) {
    tasks.spawn(
        task.map(move |ended| ended.map_err(|error| Failure::Task { name, reason: error.to_string() })),
    );
}

/// Starts what writes the objects' status, on the replica that is elected to.
fn tell_objects(
    config: &Config,
    cluster: &Cluster,
    leads: watch::Receiver<Option<Instant>>,
    propagation: &Arc<Propagation>,
    metrics: StatusMetrics,
    tasks: &mut JoinSet<Result<(), Failure>>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Arc<Ledger> {
    let ledger = Arc::new(Ledger::of_revision(&config.own.revision));
    let writer = status::Writer {
        client: cluster.client(),
        ledger: Arc::clone(&ledger),
        propagation: Arc::clone(propagation),
        leads,
        metrics,
    };
    watched("status writer", status::spawn(writer, stop), tasks);
    ledger
}

/// One for all revisions of a namespace: who writes the same conditions must be one.
const LEASE: &str = "meltemi-leader";

/// One for all revisions of a namespace, too: their signers are the same.
const ROOTS_LEASE: &str = "meltemi-ca-leader";

/// Says what was chosen: an operator who expects the other one reads it here first.
fn tell_source(config: &Config, cluster: Option<&Cluster>) {
    let folders: Vec<String> = config.folders.iter().map(|folder| folder.display().to_string()).collect();
    let folders = folders.join(", ");
    match (cluster, config.folders.is_empty()) {
        (Some(cluster), true) => tracing::info!("serving what the cluster has: {}", cluster.shown()),
        (Some(cluster), false) => tracing::info!(
            "serving both: the cluster {}, and {folders}; of an object that both have the folder's counts",
            cluster.shown()
        ),
        (None, _) => tracing::info!("serving the folder {folders}"),
    }
}

impl Running {
    /// Serves until `stop` is done, then drains: streams end after the response under way, and proxies go elsewhere.
    ///
    /// # Errors
    /// When a listener breaks before.
    pub async fn until(mut self, stop: impl Future<Output = ()>) -> Result<(), Failure> {
        let broken = tokio::select! {
            () = stop => None,
            ended = self.tasks.join_next() => ended,
        };
        if let Some(ended) = broken {
            return match ended {
                Ok(result) => result,
                Err(error) => Err(Failure::Serve { listener: Listener::Xds, reason: error.to_string() }),
            };
        }
        tracing::info!("draining");
        self.drain.send_replace(true);
        // The writer ends when the registry does; the registry is held by the pages and the streams.
        drop(self.streams);
        drop(self.propagation);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN_LIMIT, all).await.is_err() {
            tracing::warn!("some connections did not end in time and are cut");
        }
        Ok(())
    }
}

/// Streams end after the response under way; a client that reads nothing is not waited for longer. Istio's grace is 10 s, too.
const DRAIN_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
