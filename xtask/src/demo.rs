//! `cargo xtask demo`: from a folder of YAML to live traffic, on loopback, without root.
//!
//! Starts two versions of an app, `meltemi serve` on a copy of `examples/canary`, and a client Envoy; then edits the YAML
//! files, as a user would, and checks that the traffic does what they say.
//! Invariant: whatever ends it, no process and no file is left.

mod files;
pub(crate) mod kubernetes;
mod script;
mod table;
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use meltemi_testkit::http::{Load, Request, Running, Tally};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::tools;
use crate::workspace::Workspace;
use files::Files;
use script::{Act, Probe, SCRIPT};
use table::Table;
use world::World;

/// Where the client Envoy takes requests: the Service's port in `examples/canary/app.yaml`.
const PORT: u16 = 8000;

/// The host that is asked for.
const HOST: &str = "myapp";

/// Requests on which a share is judged. Of 2,000 the share of 10 % may be off by 3.0 % by chance (4.5 standard deviations).
const SAMPLE: u64 = 2_000;

/// Requests on which it is judged whether an edit has taken effect, before the sample that counts.
const GLANCE: u64 = 100;

/// How long an edit may take to show in the traffic. It takes milliseconds; this is for a machine that is busy building.
const EFFECT_LIMIT: Duration = Duration::from_secs(5);

/// Requests with which each rule of the A/B test and the mirror are tried; every one must go where it should.
const PROBES: u64 = 200;

/// Workers that send, and the least time between two requests of each: 2,000 requests a second at most.
const WORKERS: usize = 4;
const PACE: Duration = Duration::from_millis(2);

/// How often the table is painted.
const PAINT: Duration = Duration::from_millis(100);

/// How often the load is asked what it met.
const LOOK: Duration = Duration::from_millis(20);

/// How long copies may still be on their way to the mirror when the client has its last answer.
const MIRROR_LIMIT: Duration = Duration::from_secs(5);

/// Runs the demo; 1 when a share is not what the YAML says.
pub(crate) fn run(workspace: &Workspace, keep: bool) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        // What is dropped here kills its processes and removes its files.
        tokio::select! {
            outcome = play(workspace, keep) => outcome.map(|()| ExitCode::SUCCESS),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                eprintln!("\ninterrupted; everything is stopped");
                Ok(ExitCode::from(130))
            }
            _ = terminate.recv() => Ok(ExitCode::from(143)),
            _ = hang_up.recv() => Ok(ExitCode::from(129)),
        }
    })
}

async fn play(workspace: &Workspace, keep: bool) -> Result<()> {
    world::check_ports(&[PORT, script::V1.port, script::V2.port])?;
    let envoy = tools::envoy(workspace)?;
    let meltemi = world::build(workspace)?;
    let files = Files::copy(workspace)?;
    eprintln!(
        "starting two versions of an app, `meltemi serve --config {}` and a client Envoy",
        files.folder().display()
    );
    let (world, mut server) = World::start(&envoy, &meltemi, files.folder()).await?;

    let start = Instant::now();
    let address = ([127, 0, 0, 1], PORT).into();
    let load = Load::new(address, Request::get("/").host(HOST)).workers(WORKERS).pace(PACE).start();
    let mut table = Table::new();
    let mut all = Tally::default();
    for act in SCRIPT {
        let outcome = tokio::select! {
            outcome = perform(act, &files, &world, &load, &mut table, &mut all) => outcome,
            ended = server.ended() => Err(ended),
        };
        if let Err(error) = outcome {
            table.failed();
            return Err(server.explain(error));
        }
    }
    all.merge(&load.stop().await);
    table.end();
    all.expect_all(200).context("a request was not answered well while the files changed")?;
    println!(
        "every share is as the YAML says, and all {} requests were answered 200, in {:.0} s",
        all.total(),
        start.elapsed().as_secs_f64()
    );
    if keep {
        print_hints(&files);
        return Err(server.ended().await);
    }
    world.stop().await
}

/// Makes one edit, waits until the traffic shows it, and judges.
async fn perform(
    act: &Act,
    files: &Files,
    world: &World,
    load: &Running,
    table: &mut Table,
    all: &mut Tally,
) -> Result<()> {
    table.begin(act.title, &act.wanted());
    files.edit(&act.edit)?;
    let edited = Instant::now();
    all.merge(&load.take());
    loop {
        let glance = window(load, GLANCE, table).await;
        all.merge(&glance);
        match act.judge(&glance) {
            Ok(()) => break,
            Err(error) if edited.elapsed() > EFFECT_LIMIT => {
                return Err(error.context(format!("{}: not in effect after {EFFECT_LIMIT:?}", act.title)));
            }
            Err(_) => {}
        }
    }
    let sample = window(load, SAMPLE, table).await;
    all.merge(&sample);
    act.judge(&sample).with_context(|| act.title.to_owned())?;
    table.row(&sample);
    for probe in act.probes {
        table.begin(probe.title, &format!("{} 100 %", probe.version));
        let tally = try_probe(probe, world).await?;
        all.merge(&tally);
        table.row(&tally);
    }
    Ok(())
}

/// What the next `count` requests of the load meet.
async fn window(load: &Running, count: u64, table: &mut Table) -> Tally {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tally = Tally::default();
    while tally.total() < count {
        ticks.tick().await;
        tally.merge(&load.take());
        table.paint(&tally);
    }
    tally
}

/// Sends the probe's requests; every one must be answered by its version and, when mirrored, reach the other too.
async fn try_probe(probe: &Probe, world: &World) -> Result<Tally> {
    let mut request = Request::get(probe.path).host(HOST);
    if let Some((name, value)) = probe.header {
        request = request.header(name, value);
    }
    if probe.mirrored {
        world.v2.forget();
    }
    let tally =
        Load::new(([127, 0, 0, 1], PORT).into(), request).workers(WORKERS).requests(PROBES).run().await;
    tally.expect_all(200).and_then(|()| tally.expect_share(probe.version, 1.0)).context(probe.title)?;
    if probe.mirrored {
        // The load goes on beside, and its mirrored requests too.
        let reached = world.count_v2(probe.path, PROBES, MIRROR_LIMIT).await;
        if reached != PROBES {
            bail!("{}: {reached} of {PROBES} requests reached v2 as a copy", probe.title);
        }
    }
    Ok(tally)
}

fn print_hints(files: &Files) {
    let folder = files.folder().display();
    println!(
        "\nstill running; try\n  curl -H 'host: {HOST}' 127.0.0.1:{PORT}\n  curl -H 'host: {HOST}' -H 'cookie: group=b' 127.0.0.1:{PORT}\n  \
         curl -H 'host: {HOST}' '127.0.0.1:{PORT}/?version=b'\nand edit {folder}/routing.yaml; Ctrl-C ends it"
    );
}
