//! What counting traffic, and logging it, costs an Envoy. Prints figures, judges nothing.
//!
//! With an Envoy in `ENVOY_BIN` and a release build in `MELTEMI_BIN`: `cargo run --release -p meltemi-tests --example traffic_figures`.
//! One sidecar of a client, one app, small requests over eight connections, as fast as they go; the settings of the mesh change under the
//! traffic, in turns, so that each pair of figures is of the same minute. Client, app and Envoy share the cores: requests a second say
//! what all three take, CPU for each request is Envoy's own. Some two minutes.

#![allow(clippy::print_stdout, reason = "an example prints what it is for")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use meltemi_tests::live::{Form, World};

/// How many turns each of the settings has.
const TURNS: usize = 5;
/// How many requests a turn is measured by.
const REQUESTS: u64 = 60_000;
/// How many come before it, unmeasured.
const WARM: u64 = 4_000;

/// A setting of the mesh: what it is called here, and what it says.
const SETTINGS: [(&str, &str); 4] = [
    ("neither", "defaultProviders: {metrics: []}"),
    ("metrics", "accessLogFile: ''"),
    ("access log", "accessLogFile: /dev/null\n    defaultProviders: {metrics: []}"),
    ("both", "accessLogFile: /dev/null"),
];

fn config(mesh: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    {mesh}\n"
    )
}

#[derive(Clone, Copy, Debug)]
struct Figure {
    /// Requests a second.
    rate: f64,
    /// Envoy's microseconds of CPU for each.
    cpu: f64,
}

/// The CPU time of a process so far, in seconds.
fn cpu(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("stat of a process")?;
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0)).sum();
    // USER_HZ is 100 on every Linux.
    #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
    Ok(ticks as f64 / 100.0)
}

async fn turn(world: &World, pid: u32) -> Result<Figure> {
    let load = |requests| world.load("myapp").workers(8).requests(requests);
    load(WARM).run().await.expect_all(200)?;
    let (before, start) = (cpu(pid)?, Instant::now());
    let tally = load(REQUESTS).run().await;
    let (took, used) = (start.elapsed(), cpu(pid)? - before);
    tally.expect_all(200)?;
    #[allow(clippy::cast_precision_loss, reason = "some ten thousand")]
    let requests = REQUESTS as f64;
    Ok(Figure { rate: requests / took.as_secs_f64(), cpu: used * 1e6 / requests })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let app = world.app("myapp", "v1").await?;
    world.write("mesh.yaml", &config(SETTINGS[0].1))?;
    world.start().await?;
    let pid = world.envoy()?.pid().context("Envoy runs")?;
    let mut figures: Vec<Vec<Figure>> = vec![Vec::new(); SETTINGS.len()];
    for _ in 0..TURNS {
        for (at, (_, mesh)) in SETTINGS.iter().enumerate() {
            // The first is in force already, and saving it again is no change that could be waited for.
            world.write("mesh.yaml", &config(mesh))?;
            world.wait_for("mesh.yaml").await?;
            figures[at].push(turn(&world, pid).await?);
            app.forget();
        }
    }
    let counted = world.envoy()?.admin().text("/stats/prometheus").await?;
    ensure!(counted.contains("istio_requests_total"), "nothing was counted");
    println!("{:<12} {:>12} {:>14} {:>16}", "", "requests/s", "of neither", "Envoy us/request");
    for ((name, _), figures_of) in SETTINGS.iter().zip(&figures) {
        let rates = figures_of.iter().map(|figure| figure.rate).collect();
        // Each turn against its own neighbour.
        let ratios = figures_of.iter().zip(&figures[0]).map(|(one, base)| one.rate / base.rate).collect();
        let cpu = figures_of.iter().map(|figure| figure.cpu).collect();
        println!("{name:<12} {:>12.0} {:>14.2} {:>16.1}", median(rates), median(ratios), median(cpu));
    }
    drop(tokio::time::timeout(Duration::from_secs(60), world.end()).await);
    Ok(())
}
