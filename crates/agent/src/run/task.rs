//! Starts what there is, joins it, and ends it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};

use crate::HostPort;
use crate::envoy::arguments::arguments;
use crate::envoy::bootstrap::{Bootstrap, Companion};
use crate::envoy::client::Admin;
use crate::envoy::process::{ProcessError, Supervisor};
use crate::health::ready::active_connections;
use crate::health::server::{self as status, Pages};
use crate::identity::Credential;
use crate::identity::task::renew_forever;
use crate::metrics::Metrics;
use crate::options::{Kind, Note, Options};
use crate::sds::Secrets;
use crate::sds::server as sds;
use crate::sds::watch::Keeper;

/// Wishes of streams that wait; each stream waits for its own.
const WISHES: usize = 64;

/// How often an end that waits for connections looks for them, as in Istio: Envoy tells nobody.
const LOOK: Duration = Duration::from_secs(1);

/// Why the agent did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The status server has no port.
    #[error("cannot listen on port {port} for status: {reason}; choose another by --status-port")]
    Status {
        /// Which port.
        port: u16,
        /// Why.
        reason: std::io::Error,
    },
    /// The secrets have no socket.
    #[error(transparent)]
    Socket(#[from] sds::ListenError),
    /// The bootstrap cannot be written, or what is laid over it not read.
    #[error("cannot {what} {}: {reason}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// There is no Envoy.
    #[error("{0}")]
    Envoy(String),
    /// A part broke.
    #[error("the {part} ended: {reason}")]
    Part {
        /// Which part.
        part: &'static str,
        /// Why.
        reason: String,
    },
}

/// Runs until it is told to end by `stop`, and then in good order; told twice, at once.
///
/// `notes` are said at the start. `stop_sender` is the other end of `stop`, for whoever ends the agent by its status server.
///
/// # Errors
/// When it cannot start. Whatever goes wrong later is tried again.
pub async fn run(
    options: Options,
    notes: &[Note],
    stop_sender: mpsc::Sender<()>,
    mut stop: mpsc::Receiver<()>,
) -> Result<(), Failure> {
    for note in notes {
        tracing::warn!("{note}");
    }
    let metrics = Metrics::new();
    let any: IpAddr =
        if options.is_v6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let (status_socket, status_address) = status::listen(any, options.status_port)
        .await
        .map_err(|reason| Failure::Status { port: options.status_port, reason })?;
    let sds_socket = sds::listen(&options.sds_socket).await?;
    create(&options.config_path).await?;

    let address_file = options.config_path.join("envoy-admin-address");
    let admin = Admin::new(options.admin_port, address_file.clone());
    let (starts, started) = watch::channel(0);
    let drained = Arc::new(AtomicBool::new(false));
    let pages = Arc::new(Pages {
        admin: admin.clone(),
        metrics: metrics.clone(),
        targets: options.app_metrics.clone(),
        probes: options.probes.clone(),
        app: options.app,
        starts: started,
        seen_ready: AtomicU64::new(0),
        drained: Arc::clone(&drained),
        inbound_only: options.kind == Kind::Sidecar,
        stop: stop_sender,
        merges: Pages::merges(),
    });
    let (credential_sender, mut credential) = watch::channel(None);
    let (secrets_sender, secrets) = watch::channel(Secrets::default());
    let (wishes_sender, wishes) = mpsc::channel(WISHES);

    // Dropped at the end of this function, and all of them with it.
    let mut parts: JoinSet<(&'static str, String)> = JoinSet::new();
    let keeper = Keeper::keep(options.crl.clone(), secrets_sender, credential.clone(), wishes);
    parts.spawn(async move {
        keeper.await;
        ("keeper of secrets", "nothing is left to serve".to_owned())
    });
    let serving = sds::serve(sds_socket, secrets, wishes_sender, metrics.clone());
    parts.spawn(async move { ("server of secrets", said(serving.await)) });
    let serving = status::serve(status_socket, pages);
    parts.spawn(async move { ("status server", said(serving.await)) });
    let asking = renew_forever(
        options.ca.clone(),
        options.id.clone(),
        options.grace,
        credential_sender,
        metrics.clone(),
    );
    parts.spawn(async move {
        asking.await;
        ("renewal", String::new())
    });
    tracing::info!(
        id = %options.id, ca = %options.ca.server, secrets = %options.sds_socket.display(), status = %status_address,
        "the agent listens; Envoy is started when the first certificate is there"
    );

    tokio::select! {
        () = first(&mut credential) => {}
        _ = stop.recv() => return Ok(()),
        Some(ended) = parts.join_next() => return Err(broken(ended)),
    }
    let supervisor = prepare(&options, status_address, address_file, metrics, starts).await?;
    let (end, end_told) = watch::channel(false);
    let mut envoy = Box::pin(supervisor.run(end_told));
    let ended = tokio::select! {
        ended = &mut envoy => Some(ended),
        _ = stop.recv() => None,
        Some(ended) = parts.join_next() => return Err(broken(ended)),
    };
    if let Some(ended) = ended {
        return ended.map_err(|error| Failure::Envoy(error.to_string()));
    }
    let was_drained = drained.swap(true, Ordering::Relaxed);
    tokio::select! {
        ended = &mut envoy => return of_envoy(ended),
        () = drain(&options, &admin, was_drained) => {}
        _ = stop.recv() => tracing::info!("told to end again: nothing is waited for"),
        Some(ended) = parts.join_next() => return Err(broken(ended)),
    }
    end.send_replace(true);
    of_envoy(envoy.await)
}

fn of_envoy(ended: Result<(), ProcessError>) -> Result<(), Failure> {
    ended.map_err(|error| Failure::Envoy(error.to_string()))
}

/// Waits for the first certificate.
async fn first(credential: &mut watch::Receiver<Option<Arc<Credential>>>) {
    if credential.wait_for(Option::is_some).await.is_err() {
        // Who gets certificates has ended, which is told elsewhere.
        std::future::pending::<()>().await;
    }
}

/// Writes the bootstrap; what is to run with it.
async fn prepare(
    options: &Options,
    status: SocketAddr,
    address_file: PathBuf,
    metrics: Metrics,
    starts: watch::Sender<u64>,
) -> Result<Supervisor, Failure> {
    let file = |what, path: &std::path::Path| {
        let path = path.to_owned();
        move |reason| Failure::File { what, path, reason }
    };
    let override_yaml = match &options.bootstrap_override {
        Some(path) => Some(tokio::fs::read_to_string(path).await.map_err(file("read", path))?),
        None => None,
    };
    let text = bootstrap(options, status.port()).to_json().to_string();
    let path = options.config_path.join("envoy-rev.json");
    tokio::fs::write(&path, text).await.map_err(file("write", &path))?;
    Ok(Supervisor {
        binary: options.envoy.clone(),
        arguments: arguments(options, &path, &address_file, override_yaml.as_deref()),
        address_file,
        metrics,
        starts,
    })
}

fn bootstrap(options: &Options, status_port: u16) -> Bootstrap {
    let loopback = "127.0.0.1".to_owned();
    Bootstrap {
        node: options.node.to_json(),
        xds: options.xds.clone(),
        admin: HostPort { host: loopback, port: options.admin_port },
        companion: Some(Companion {
            socket: options.sds_socket.clone(),
            tls: options.xds_tls.clone(),
            headers: options.xds_headers.clone(),
            status_port,
            health_port: options.health_port,
            prometheus_port: options.prometheus_port,
            metrics_localhost_only: options.metrics_localhost_only,
            is_v6: options.is_v6(),
            stats: options.stats.clone(),
            delta: options.delta,
        }),
    }
}

async fn create(folder: &std::path::Path) -> Result<(), Failure> {
    tokio::fs::create_dir_all(folder).await.map_err(|reason| Failure::File {
        what: "make",
        path: folder.to_owned(),
        reason,
    })
}

/// Lets connections go: Envoy says so to clients, and is waited for.
async fn drain(options: &Options, admin: &Admin, was_drained: bool) {
    if was_drained {
        tracing::info!("ends at once: it was drained before");
        return;
    }
    let wait = options.until_no_connections.unwrap_or(options.termination_drain);
    tracing::info!(?wait, "ends: Envoy drains its listeners");
    let until = Instant::now() + wait;
    if let Err(error) = admin.drain(options.kind == Kind::Sidecar, false).await {
        tracing::warn!("Envoy does not drain: {error}; connections are cut");
        return;
    }
    sleep_until(until).await;
    if options.until_no_connections.is_some() {
        no_connections(admin).await;
    }
}

/// Waits until no client is connected. The pod's own grace period is the bound: then the kubelet kills.
async fn no_connections(admin: &Admin) {
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        match admin.stats("downstream_cx_active$").await.map(|stats| active_connections(&stats)) {
            Ok(0) => return,
            Ok(open) => tracing::info!(open, "connections are open; the end waits for them"),
            Err(error) => {
                tracing::warn!("Envoy does not say how many connections it has: {error}");
                return;
            }
        }
    }
}

fn said<E: std::fmt::Display>(ended: Result<(), E>) -> String {
    ended.err().map(|error| error.to_string()).unwrap_or_default()
}

fn broken(ended: Result<(&'static str, String), tokio::task::JoinError>) -> Failure {
    match ended {
        Ok((part, reason)) => Failure::Part { part, reason },
        Err(error) => Failure::Part { part: "agent", reason: error.to_string() },
    }
}
