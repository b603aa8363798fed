//! `meltemi serve`: the control plane.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use meltemi_serve::{Access, Config, Listener, Own};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{ServeArgs, Switch};
use crate::logging;

pub(crate) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    logging::start(args.log_format);
    if let Some(address) = &args.webhook_address {
        tracing::warn!(
            "--webhook-address {address}: this version has no such listener yet; nothing listens there"
        );
    }
    // Kubernetes sets this in every pod, and nobody else does.
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let cluster = cluster(&args, in_pod);
    let max_connection_age = cluster.as_ref().map(|_| args.max_connection_age).filter(|age| !age.is_zero());
    let config = Config {
        cluster,
        max_connection_age,
        own: Own {
            namespace: args.pod_namespace.as_str().into(),
            pod: args.pod_name.as_deref().map(Into::into),
            service: args.service_name.as_str().into(),
            revision: args.revision,
        },
        xds: args.xds_address.unwrap_or_else(|| Listener::Xds.default_address(in_pod)),
        secure_xds: args.secure_xds_address.unwrap_or_else(|| Listener::SecureXds.default_address(in_pod)),
        identity: args.certificates.settings(args.state_dir)?,
        http: args.http_address.unwrap_or_else(|| Listener::Http.default_address(in_pod)),
        monitoring: args.monitoring_address.unwrap_or_else(|| Listener::Monitoring.default_address(in_pod)),
        folders: args.config,
        mesh_config: args.mesh_config,
        namespace: args.namespace,
        gateway_secrets: args.gateway_secrets,
        status: args.status == Switch::On,
        holds: args.holds == Switch::On,
        virtual_hosts: args.virtual_hosts == Switch::On,
        peers: args.peer.iter().map(ToString::to_string).collect(),
        terminal: std::io::stderr().is_terminal(),
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
        let running = meltemi_serve::start(config).await?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        running.until(stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Which cluster is served: the one that is named; where none is, and no folder either, the pod's own or the one of the user's kubeconfig.
fn cluster(args: &ServeArgs, in_pod: bool) -> Option<Access> {
    let kubeconfig = |file: Option<&std::path::PathBuf>| Access::Kubeconfig {
        file: file.cloned(),
        context: args.context.clone(),
    };
    if args.in_cluster {
        Some(Access::InCluster)
    } else if args.kubeconfig.is_some() || args.context.is_some() {
        Some(kubeconfig(args.kubeconfig.as_ref()))
    } else if !args.config.is_empty() {
        None
    } else if in_pod {
        Some(Access::InCluster)
    } else {
        Some(kubeconfig(None))
    }
}
