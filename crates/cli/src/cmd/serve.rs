//! `meltemi serve`: the control plane.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use meltemi_serve::{Config, Listener, Patience};
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{ServeArgs, Switch};
use crate::logging;

pub(crate) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    logging::start(args.log_format);
    for (option, value) in
        [("--secure-xds-address", &args.secure_xds_address), ("--webhook-address", &args.webhook_address)]
    {
        if let Some(address) = value {
            tracing::warn!(
                "{option} {address}: this version has no such listener yet; nothing listens there"
            );
        }
    }
    if let Some(folder) = &args.state_dir {
        tracing::warn!(
            "--state-dir {}: this version keeps no state yet; nothing is written there",
            folder.display()
        );
    }
    // Kubernetes sets this in every pod, and nobody else does.
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let config = Config {
        xds: args.xds_address.unwrap_or_else(|| Listener::Xds.default_address(in_pod)),
        http: args.http_address.unwrap_or_else(|| Listener::Http.default_address(in_pod)),
        monitoring: args.monitoring_address.unwrap_or_else(|| Listener::Monitoring.default_address(in_pod)),
        folders: args.config,
        mesh_config: args.mesh_config,
        namespace: args.namespace,
        holds: args.holds == Switch::On,
        virtual_hosts: args.virtual_hosts == Switch::On,
        patience: Patience::default(),
        peers: args.peer.iter().map(ToString::to_string).collect(),
        own: None,
        terminal: std::io::stderr().is_terminal(),
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
