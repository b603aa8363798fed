//! How long a change takes to a sidecar: while nothing else happens, and in a storm of requests for certificates.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use meltemi_testkit::xds::{Form, Node, Sidecar};
use meltemi_tests::control_plane::{split, virtual_host};
use meltemi_tests::storm::{Proof, request};

use tokio::sync::watch;

use super::process::{Plane, resident};
use super::service::Workloads;

const PUSHES: u64 = 500;
const STORM: f64 = 10_000.0;
const LIMIT: Duration = Duration::from_secs(60);

/// Prints median and p99, and their ratios.
pub(crate) async fn measure() -> Result<()> {
    let plane = Plane::start().await?;
    let mut sidecar =
        Sidecar::connect(plane.server.addresses().xds, Node::sidecar("client", "shop"), Form::Delta).await?;
    let port = plane.port.to_string();
    sidecar.until(LIMIT, |held| virtual_host(held, &port, "reviews").is_some()).await?;
    println!("a weight saved -> the sidecar has it ({PUSHES} changes and more):");
    let mut quiet = Vec::new();
    for turn in 0..PUSHES {
        quiet.push(push(&plane, &mut sidecar, turn).await?);
    }
    let quiet = shown("quiet", &mut quiet, None);
    let before = resident(plane.pid()?)?;
    for (name, proof, nice) in [
        ("storm, workloads elsewhere (nice 19)", Proof::Token, 19),
        ("storm, a connection each (nice 19)", Proof::TokenAnew, 19),
        ("storm, workloads with equal rights", Proof::Token, 0),
    ] {
        let mut workloads = Workloads::start(&plane, &request()?, proof, None, nice)?;
        let (sender, said) = watch::channel((0.0, Duration::ZERO));
        let listening = tokio::spawn(async move {
            while let Ok(Some(more)) = workloads.next().await {
                sender.send_replace(more);
            }
        });
        said.clone().wait_for(|said| said.0 > 0.0).await.context("nothing was answered")?;
        let (mut times, mut turn) = (Vec::new(), 0);
        while turn < PUSHES || said.borrow().0 < STORM {
            times.push(push(&plane, &mut sidecar, turn).await?);
            turn += 1;
        }
        said.has_changed().context("the storm has ended")?;
        let said = *said.borrow();
        // Which ends them, too.
        listening.abort();
        shown(name, &mut times, Some(quiet));
        println!(
            "    {} certificates meanwhile, {:.0} a second; {turn} changes",
            said.0,
            said.0 / said.1.as_secs_f64()
        );
    }
    println!(
        "memory of the control plane: {before:.1} MB before the storms, {:.1} MB after",
        resident(plane.pid()?)?
    );
    Ok(())
}

/// Saves the next weight, and waits until the sidecar has it.
async fn push(plane: &Plane, sidecar: &mut Sidecar, turn: u64) -> Result<Duration> {
    let weight = 2 + turn % 97;
    let port = plane.port.to_string();
    let wanted = [("v1".to_owned(), 100 - weight), ("v2".to_owned(), weight)];
    let began = Instant::now();
    plane.save(weight)?;
    let has = |host: serde_json::Value| split(&host) == wanted;
    while !virtual_host(sidecar.held(), &port, "reviews").is_some_and(has) {
        sidecar.step().await?;
    }
    Ok(began.elapsed())
}

fn shown(name: &str, times: &mut [Duration], quiet: Option<(f64, f64)>) -> (f64, f64) {
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        1_000.0 * times.get(index).map_or(0.0, Duration::as_secs_f64)
    };
    let found = (at(50), at(99));
    let ratio = quiet.map_or_else(String::new, |(median, p99)| {
        format!("  ({:.1} and {:.1} times as long)", found.0 / median, found.1 / p99)
    });
    println!("  {name:<38} median {:>6.2} ms, p99 {:>6.2} ms{ratio}", found.0, found.1);
    found
}
