//! The course of the demo: each step is written through the API server, seen in the traffic, and read from the object.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use meltemi_testkit::http::Tally;
use tokio::time::{MissedTickBehavior, interval};

use crate::Arguments;
use crate::script::{Act, Change, SAMPLE, SCRIPT, command};
use crate::status::{self, Wanted};
use crate::table::{Table, milliseconds};
use crate::traffic::{HOST, Traffic};
use crate::world::World;

/// How long a step may take until it was seen in [`SAMPLE`] requests. That is a second; this is for a machine that is busy.
const EFFECT_LIMIT: Duration = Duration::from_secs(30);

/// How long the status may take to say so; it is written in batches.
const STATUS_LIMIT: Duration = Duration::from_secs(10);

/// How often the load is asked what it met.
const LOOK: Duration = Duration::from_millis(20);

/// What the table shows, before it.
const INTRODUCTION: &str = "
requests pass the client's Envoy all the while. Each step sets the header x-step, too, so that every answer tells by which
routing it came: times are from the API server's answer to the write until the first answer by the new routing, and until
the last by the old one. The demo sends each patch itself, as kubectl does, since kubectl's own start takes longer than
what is measured. The conditions in the status are shown by";

/// Plays it.
///
/// # Errors
/// When anything was not as promised.
pub(crate) async fn play(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let (world, mut server) = World::start(&arguments.meltemi, &arguments.root).await?;
    let traffic = Traffic::start(world.connector(), world.service);
    println!("{INTRODUCTION}\n\n   conditions='{}'\n", status::CONDITIONS);
    let mut play = Play {
        world: &world,
        traffic: &traffic,
        object: virtual_service(&world).await?,
        table: Table::new(),
        all: Tally::default(),
    };
    for (number, act) in (1..).zip(SCRIPT) {
        let outcome = tokio::select! {
            outcome = play.perform(number, act) => outcome.with_context(|| act.title),
            ended = server.ended() => Err(ended),
        };
        if let Err(error) = outcome {
            play.table.failed();
            return Err(server.explain(error));
        }
    }
    let Play { mut all, mut table, .. } = play;
    all.merge(&traffic.stop().await);
    table.end();
    all.expect_all(200).context("a request was not answered well")?;
    println!(
        "\nthe traffic did what the object says, the object said what the traffic did, and none of {} requests failed; {:.0} s",
        all.total(),
        start.elapsed().as_secs_f64()
    );
    if arguments.keep {
        print_hints(&world);
        return Err(server.ended().await);
    }
    world.stop().await
}

async fn virtual_service(world: &World) -> Result<Api<DynamicObject>> {
    let kind = GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    let resource = ApiResource::from_gvk(&kind);
    Ok(Api::namespaced_with(world.cluster.admin().await?, "default", &resource))
}

struct Play<'a> {
    world: &'a World,
    traffic: &'a Traffic,
    object: Api<DynamicObject>,
    table: Table,
    all: Tally,
}

impl Play<'_> {
    /// Makes one step, and judges what follows.
    async fn perform(&mut self, number: u8, act: &Act) -> Result<()> {
        let mark = if number == 1 { String::new() } else { number.to_string() };
        let patch = act.change.patch(&mark);
        if let Some(patch) = &patch {
            self.table.note(&format!("$ {}", command(patch)));
        }
        self.table.begin(act.title, &act.wanted());
        self.traffic.begin(&mark);
        let object = match patch {
            // Sent from here, as kubectl sends it: the time that kubectl takes to start is not Meltemi's.
            Some(patch) => {
                let patch = Patch::<()>::Json(serde_json::from_value(patch)?);
                self.object.patch("myapp", &PatchParams::default(), &patch).await?
            }
            None => self.object.get("myapp").await?,
        };
        let written = Instant::now();
        let generation = object.metadata.generation.context("an object without a generation")?;
        if act.is_held {
            self.held(act, generation, written).await?;
        } else {
            self.in_force(act, generation, written).await?;
        }
        let wanted = if act.is_held { Wanted::Held } else { Wanted::InForce };
        let shown = status::says(&self.world.cluster, generation, wanted, STATUS_LIMIT).await?;
        let command = "$ kubectl get virtualservice myapp -o jsonpath=\"$conditions\"";
        self.table.note(&format!("{command}\n{}", indented(&shown)));
        Ok(())
    }

    /// The new routing takes over, and shares are as it says.
    async fn in_force(&mut self, act: &Act, generation: i64, written: Instant) -> Result<()> {
        let wait = wait(self.world, generation, "30s", written);
        let (waited, seen) = tokio::join!(wait, self.window(written, Traffic::new_ones));
        seen?;
        let sample = self.traffic.new_ones();
        act.judge(&sample)?;
        let switch = self.traffic.switch()?.context("no answer by the new routing")?;
        let since = |at: Instant| milliseconds(at.saturating_duration_since(written));
        match switch.last_old {
            Some(last_old) => self.table.row(&sample, &since(switch.first_new), &since(last_old)),
            None => self.table.row(&sample, "", ""),
        }
        self.waited(act, &waited?)
    }

    /// The routing stays as it was.
    async fn held(&mut self, act: &Act, generation: i64, written: Instant) -> Result<()> {
        let wait = wait(self.world, generation, "1s", written);
        let (waited, seen) = tokio::join!(wait, self.window(written, Traffic::old_ones));
        seen?;
        // Also those that came after the sample, while the other one waited.
        let sample = self.traffic.old_ones();
        act.judge(&sample)?;
        ensure!(self.traffic.switch()?.is_none(), "a routing that refers to nothing came into force");
        self.table.row(&sample, "held", "goes on");
        self.waited(act, &waited?)
    }

    /// Waits until there are enough answers of that sort.
    async fn window(&mut self, from: Instant, sort: fn(&Traffic) -> Tally) -> Result<()> {
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let met = self.traffic.take();
            self.all.merge(&met);
            if met.total() > 0 {
                met.expect_all(200)?;
            }
            let tally = sort(self.traffic);
            self.table.paint(&tally);
            if tally.total() >= SAMPLE {
                return Ok(());
            }
            if from.elapsed() > EFFECT_LIMIT {
                bail!("{} answers of {SAMPLE} after {EFFECT_LIMIT:?}, of all: {}", tally.total(), self.all);
            }
        }
    }

    /// `meltemi wait` must have ended as wanted.
    fn waited(&mut self, act: &Act, waited: &Waited) -> Result<()> {
        let Waited { command, is_met, text, took } = waited;
        let code = u8::from(!is_met);
        let when = match act.change {
            Change::None => String::new(),
            _ => format!(", {} after the write", milliseconds(*took)),
        };
        self.table.note(&format!("$ {command}\n{}\n  (exit {code}{when})", indented(text)));
        ensure!(*is_met != act.is_held, "`{command}` ended with {code}: {text}");
        Ok(())
    }
}

/// How `meltemi wait` ended.
struct Waited {
    command: String,
    is_met: bool,
    text: String,
    /// Since the write, its own start included.
    took: Duration,
}

async fn wait(world: &World, generation: i64, limit: &str, written: Instant) -> Result<Waited> {
    let (number, server) = (generation.to_string(), world.meltemi.monitoring.to_string());
    let mut question = vec!["wait", "virtualservice/myapp", "--for", "in-force", "--generation", &number];
    question.extend(["--timeout", limit, "--server", &server]);
    let (is_met, text) = world.meltemi.try_run(&question).await?;
    Ok(Waited { command: format!("meltemi {}", question.join(" ")), is_met, text, took: written.elapsed() })
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {}", line.trim_end())).collect::<Vec<_>>().join("\n")
}

fn print_hints(world: &World) {
    let meltemi = world.meltemi.program().display();
    let (monitoring, service, client) = (world.meltemi.monitoring, world.service, world.client());
    let assets = std::env::var("KUBEBUILDER_ASSETS").unwrap_or_default();
    println!(
        "\nstill running; in another terminal, as root, try\n  \
         export KUBECONFIG={} PATH={assets}:$PATH\n  \
         kubectl get vs,dr,deploy,pods,endpointslices\n  \
         kubectl get vs myapp -o yaml    # its status is at the end\n  \
         ip netns exec {client} curl -i -H 'host: {HOST}' {service}\n  \
         kubectl edit vs myapp\n  \
         {meltemi} wait vs/myapp --server {monitoring}\n  \
         {meltemi} proxy-status --server {monitoring}\n  \
         kubectl scale deployment/myapp-v2 --replicas=3\n\
         Ctrl-C ends it, and removes all of it",
        world.cluster.kubeconfig().display()
    );
}
