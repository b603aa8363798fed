//! What `meltemi agent` uses while nothing happens, beside an Envoy that has everything.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use meltemi_testkit::envoy::{binary, tied_command};
use meltemi_testkit::http::Request;
use meltemi_tests::live::free_port;
use meltemi_tests::storm::{SERVER, tokens};

use super::process::{Plane, cpu, resident};

const REST: Duration = Duration::from_secs(60);

/// Prints memory and CPU.
pub(crate) async fn measure() -> Result<()> {
    let plane = Plane::start().await?;
    let folder = tempfile::tempdir()?;
    let token = tokens(plane.state.path(), 1)?.pop().context("no token")?;
    std::fs::write(folder.path().join("token"), token)?;
    let status = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let meltemi = std::env::var_os("MELTEMI_BIN").context("MELTEMI_BIN names no release build")?;
    let mut command = tied_command(meltemi.as_ref());
    let secure = plane.server.addresses().secure.to_string();
    command.args(["agent", "--id", "a0-1.shop", "--service-account", "a0", "--label", "app=reviews"]);
    command.args(["--ca", &secure, "--xds", &secure, "--server-name", SERVER]);
    command.arg("--root-cert").arg(plane.state.path().join("root-cert.pem"));
    command.arg("--token").arg(folder.path().join("token")).arg("--envoy").arg(binary()?);
    command.arg("--config-path").arg(folder.path().join("run"));
    command.arg("--sds-socket").arg(folder.path().join("run/sds"));
    command.args(["--status-port", &status.port().to_string()]);
    for port in ["--health-port", "--prometheus-port", "--admin-port"] {
        command.args([port, &free_port()?.to_string()]);
    }
    let log = std::fs::File::create(folder.path().join("log"))?;
    command.env("ISTIO_META_INTERCEPTION_MODE", "NONE").current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
    let child = command.spawn()?;
    let pid = child.id().context("the agent has ended")?;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let ready = async {
        while !Request::get("/healthz/ready").send(status).await.is_ok_and(|answer| answer.status == 200) {
            ticks.tick().await;
        }
    };
    let outcome = tokio::time::timeout(REST, ready).await;
    outcome.with_context(|| std::fs::read_to_string(folder.path().join("log")).unwrap_or_default())?;
    let (before, began) = (cpu(pid)?, Instant::now());
    tokio::time::sleep_until(tokio::time::Instant::now() + REST).await;
    let used = cpu(pid)? - before;
    println!(
        "`meltemi agent` at rest, beside an Envoy: {:.1} MB resident, {:.1} ms of CPU in {:.0} s ({:.3} % of a core)",
        resident(pid)?,
        1_000.0 * used.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        100.0 * used.as_secs_f64() / began.elapsed().as_secs_f64()
    );
    drop(child);
    Ok(())
}
