//! The goals: each scale that people ask about, measured beside the floor of the same run, in one table.
//!
//! Knows: the scenarios and in what order they run. Must not know: how a sidecar or a server works.
//! To add one, write a file beside the others with a `run`, and list it in [`SCENARIOS`].
//! Invariant: a goal that is missed is shown and fails nothing; a count that is promised is checked as everywhere.

mod burst;
mod churn;
mod crowd;
mod fair;
mod growth;
mod many;
mod old;
mod policies;
mod rollout;
mod scene;
mod scoped;
mod secure;
mod traffic;
mod unread;

use std::fmt;
use std::path::PathBuf;

use anyhow::{Result, bail};
use futures::future::BoxFuture;
use serde::Serialize;

use crate::envoy;
use crate::process;
use crate::report::Check;
use scene::Scene;

/// One scenario: its name on the command line, and what it is about.
struct Scenario {
    name: &'static str,
    about: &'static str,
    run: for<'a> fn(&'a Scene, &'a mut Outcome) -> BoxFuture<'a, Result<()>>,
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "crowd",
        about: "1,000 sidecars: connect, rest, a weight, an endpoint, slow readers",
        run: |scene, outcome| Box::pin(crowd::run(scene, outcome)),
    },
    Scenario {
        name: "unread",
        about: "what nobody reads, beside 1,000 sidecars",
        run: |scene, outcome| Box::pin(unread::run(scene, outcome)),
    },
    Scenario {
        name: "secure",
        about: "the same over TLS, with a token each",
        run: |scene, outcome| Box::pin(secure::run(scene, outcome)),
    },
    Scenario {
        name: "growth",
        about: "from 100 to 10,000 services",
        run: |scene, outcome| Box::pin(growth::run(scene, outcome)),
    },
    Scenario {
        name: "scoped",
        about: "a Sidecar for each namespace",
        run: |scene, outcome| Box::pin(scoped::run(scene, outcome)),
    },
    Scenario {
        name: "policies",
        about: "policies and EnvoyFilters everywhere, beside the plain mesh",
        run: |scene, outcome| Box::pin(policies::run(scene, outcome)),
    },
    Scenario {
        name: "rollout",
        about: "20 services replace their pods, 40 endpoints a second",
        run: |scene, outcome| Box::pin(rollout::run(scene, outcome)),
    },
    Scenario {
        name: "traffic",
        about: "requests through two real Envoys beside 1,000 sidecars",
        run: |scene, outcome| Box::pin(traffic::run(scene, outcome)),
    },
    Scenario {
        name: "burst",
        about: "1,000 VirtualServices changed at once",
        run: |scene, outcome| Box::pin(burst::run(scene, outcome)),
    },
    Scenario {
        name: "old",
        about: "300 state-of-the-world sidecars, whole route configurations",
        run: |scene, outcome| Box::pin(old::run(scene, outcome)),
    },
    Scenario {
        name: "churn",
        about: "300 sidecars a second come and go beside 5,000",
        run: |scene, outcome| Box::pin(churn::run(scene, outcome)),
    },
    Scenario {
        name: "fair",
        about: "small changes to 300 settled sidecars while 2,000 connect from nothing",
        run: |scene, outcome| Box::pin(fair::run(scene, outcome)),
    },
    Scenario {
        name: "many",
        about: "10,000 sidecars",
        run: |scene, outcome| Box::pin(many::run(scene, outcome)),
    },
];

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct GoalArgs {
    /// Only these: crowd, unread, secure, growth, scoped, policies, rollout, traffic, burst, old, churn, fair, many
    #[arg(value_name = "SCENARIO")]
    pub only: Vec<String>,
    /// Divide the number of sidecars, services and seconds by this: to try the bench, not to measure
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub scale_down: u16,
    /// How the table is printed
    #[arg(short, long, value_enum, default_value_t = crate::args::Output::Text)]
    pub output: crate::args::Output,
    /// The server's binary, if it is not beside this one
    #[arg(long, value_name = "FILE")]
    pub meltemi: Option<PathBuf>,
}

/// A figure beside what it should be at most.
#[derive(Clone, Debug, Serialize)]
pub struct Goal {
    /// The scenario.
    pub scenario: &'static str,
    /// What is measured.
    pub what: String,
    /// Its unit.
    pub unit: &'static str,
    /// At most; none for a figure that is only told.
    pub goal: Option<f64>,
    /// What was measured.
    pub measured: f64,
    /// What it was measured against: the floor, the quiet run.
    pub beside: Option<f64>,
}

impl Goal {
    /// Whether it is met.
    pub fn is_met(&self) -> bool {
        self.goal.is_none_or(|goal| self.measured <= goal)
    }
}

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    /// CPUs, and whether these are optimized builds.
    pub machine: String,
    /// The goals, in order.
    pub goals: Vec<Goal>,
    /// The counts that are promised.
    pub checks: Vec<Check>,
    #[serde(skip)]
    scenario: &'static str,
}

impl Outcome {
    /// A figure with its goal.
    fn goal(&mut self, what: impl Into<String>, unit: &'static str, goal: f64, measured: f64) {
        self.push(what.into(), unit, Some(goal), measured, None);
    }

    /// A figure with its goal as a multiple of what stands beside it.
    fn times(&mut self, what: impl Into<String>, goal: f64, measured: f64, beside: f64) {
        self.push(what.into(), "x", Some(goal), measured / beside, Some(beside));
    }

    /// A figure as a multiple of what stands beside it, without a goal.
    fn ratio(&mut self, what: impl Into<String>, measured: f64, beside: f64) {
        self.push(what.into(), "x", None, measured / beside, Some(beside));
    }

    /// A figure that is only told.
    fn told(&mut self, what: impl Into<String>, unit: &'static str, measured: f64) {
        self.push(what.into(), unit, None, measured, None);
    }

    fn push(
        &mut self,
        what: String,
        unit: &'static str,
        goal: Option<f64>,
        measured: f64,
        beside: Option<f64>,
    ) {
        self.goals.push(Goal { scenario: self.scenario, what, unit, goal, measured, beside });
    }

    /// A count that is promised.
    fn check(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Whether every count is as promised.
    pub fn is_fine(&self) -> bool {
        self.checks.iter().all(|check| check.fine)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine)?;
        writeln!(f)?;
        writeln!(f, "{:<58} {:>10} {:>10}  {:<6}", "", "goal", "measured", "")?;
        let mut scenario = "";
        for goal in &self.goals {
            if goal.scenario != scenario {
                scenario = goal.scenario;
                writeln!(f, "{scenario}")?;
            }
            let bound = goal.goal.map_or_else(String::new, |goal| format!("{goal:.1}"));
            let word = match goal.goal {
                None => "",
                Some(_) if goal.is_met() => "met",
                Some(_) => "MISSED",
            };
            let beside = goal.beside.map_or_else(String::new, |beside| format!("  (of {beside:.2})"));
            writeln!(
                f,
                "  {:<56} {bound:>10} {:>10.2}  {:<6} {word}{beside}",
                goal.what, goal.measured, goal.unit
            )?;
        }
        writeln!(f)?;
        self.checks.iter().try_for_each(|check| writeln!(f, "{check}"))
    }
}

/// Runs the scenarios that are asked for.
///
/// # Errors
/// When a process cannot be started, a stream ends, or something does not come in time.
pub async fn run(arguments: &GoalArgs, say: fn(&str)) -> Result<Outcome> {
    if let Some(name) =
        arguments.only.iter().find(|name| SCENARIOS.iter().all(|scenario| scenario.name != **name))
    {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        bail!("no scenario is called `{name}`; there are {}", names.join(", "));
    }
    let is_asked = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == name);
    if is_asked("traffic") {
        // Before the quarter of an hour, not after it.
        envoy::binary()?;
    }
    let scene = Scene::new(arguments, say)?;
    process::allow_connections(scene.count(many::SIDECARS))?;
    let cores = std::thread::available_parallelism()?.get();
    let build = if cfg!(debug_assertions) { "; a DEBUG build, whose times mean nothing" } else { "" };
    let small = match arguments.scale_down {
        1 => String::new(),
        by => format!("; SCALED DOWN by {by}, so that the goals mean nothing"),
    };
    let mut outcome = Outcome {
        machine: format!("server and sidecars share {cores} cores, over loopback{build}{small}"),
        ..Outcome::default()
    };
    for scenario in SCENARIOS {
        if is_asked(scenario.name) {
            say(&format!("== {}: {}", scenario.name, scenario.about));
            outcome.scenario = scenario.name;
            (scenario.run)(&scene, &mut outcome).await?;
        }
    }
    Ok(outcome)
}
