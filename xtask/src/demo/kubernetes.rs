//! `cargo xtask demo --kubernetes`: says what it needs and what it undoes, has the tools and programs made, and becomes
//! `meltemi-demo`.
//!
//! That is a program apart, since the Kubernetes client triples the time that xtask takes to build.

use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use super::world;
use crate::workspace::Workspace;
use crate::{process, tools};

/// What is made and undone.
const ABOUT: &str = "\
The demo in a Kubernetes cluster of its own, about half a minute once the tools are there. As root it makes on this machine
  - a bridge, and a network namespace for each pod (`ip netns`: meltemi-<PID>-...), with addresses of 198.18.0.0/15;
  - etcd, kube-apiserver, kube-controller-manager, `meltemi serve` and an Envoy, as processes of its own;
  - folders /tmp/meltemi-kube-<PID>-... and /tmp/meltemi-envoy-...
When it ends, by Ctrl-C or a failure too, all of that is gone (killed by force: the next run removes it). What it fetches or
builds once stays: .tools, target, and iproute2 and iptables if they are not installed.
";

/// Plays it; returns only what is wrong before it begins.
///
/// # Errors
/// When this is not root, or a tool cannot be had; says what to do.
pub(crate) fn run(workspace: &Workspace, keep: bool) -> Result<ExitCode> {
    eprintln!("{ABOUT}");
    let user = process::text(Command::new("id").arg("-u"), "it is part of every Unix")?;
    if user.trim() != "0" {
        bail!(
            "`cargo xtask demo --kubernetes` needs root, since it makes network namespaces: run it as root, for instance in a container; \
             `cargo xtask demo` shows the same from a folder of YAML, without root"
        );
    }
    tools::namespaces()?;
    let envoy = tools::envoy(workspace)?;
    let kubernetes = tools::kubernetes(workspace)?;
    let meltemi = world::build(workspace)?;
    let mut build = workspace.cargo();
    build.args(["build", "--locked", "--bin", "meltemi-demo"]);
    let mut demo = Command::new(process::build_program(&mut build, "meltemi-demo")?);
    demo.env("ENVOY_BIN", envoy).env("KUBEBUILDER_ASSETS", kubernetes);
    demo.arg("--meltemi").arg(meltemi).arg("--root").arg(workspace.root());
    if keep {
        demo.arg("--keep");
    }
    become_it(&mut demo)
}

/// Takes this process's place, so that signals go to it, and its exit code to the caller.
#[cfg(unix)]
fn become_it(demo: &mut Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let error = demo.exec();
    bail!("`{}` cannot be started: {error}", demo.get_program().display())
}

#[cfg(not(unix))]
fn become_it(_: &mut Command) -> Result<ExitCode> {
    bail!("this demo needs Linux")
}
