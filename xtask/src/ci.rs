//! The checks that a change must pass: one list for developers and for the continuous integration.
//!
//! To add a step, add a line to [`STEPS`] (and a subcommand in `main.rs`, so that it runs alone).

use std::fs;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::workspace::Workspace;
use crate::{bench, fuzz, instructions, layers, process, tidy, tools};

/// One check.
pub(crate) struct Step {
    /// As on the command line.
    name: &'static str,
    /// What it looks at.
    about: &'static str,
    /// What to do when it fails.
    fix: &'static str,
    run: fn(&Workspace) -> Result<()>,
}

/// In the order in which they run: the quick ones first.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        about: "formatting",
        fix: "run `cargo fmt`, and the same with `--manifest-path fuzz/Cargo.toml`",
        run: |workspace| {
            cargo(workspace, &["fmt", "--all", "--check"])?;
            cargo(workspace, &["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])
        },
    },
    Step {
        name: "tidy",
        about: "charters, orphan files, sizes, words that must not stand in the code",
        fix: "mend each line above; the rules are at the top of xtask/src/tidy.rs",
        run: tidy::check,
    },
    Step {
        name: "layers",
        about: "which crate may use which",
        fix: "use what the table in xtask/src/layers.rs allows, or argue for a new line in it",
        run: layers::check,
    },
    Step {
        name: "clippy",
        about: "lints",
        fix: "mend what clippy names; `cargo clippy --fix --workspace --all-targets` does the easy part",
        run: |workspace| {
            cargo(workspace, &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])
        },
    },
    Step {
        name: "deny",
        about: "licences, sources and rival libraries of the dependencies",
        fix: "choose another library, or add it to deny.toml with the reason",
        run: tools::deny,
    },
    Step {
        name: "docs",
        about: "the links in the documentation",
        fix: "mend the links that rustdoc names",
        run: |workspace| {
            let mut command = workspace.cargo();
            // A link from a public item to a private one resolves here, where both are documented.
            command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links");
            command.args([
                "doc",
                "--quiet",
                "--locked",
                "--no-deps",
                "--workspace",
                "--document-private-items",
            ]);
            process::run(&mut command, INSTALL_RUST)
        },
    },
    Step {
        name: "test",
        about: "all tests, with real Envoys and a real Kubernetes API server",
        fix: "run the one that failed alone: `cargo xtask test -p PACKAGE NAME`",
        run: |workspace| test(workspace, &[]),
    },
    Step {
        name: "bench --smoke",
        about: "what a change costs, counted",
        fix: "a count above is not as promised: benches/README.md says what each one is",
        run: |workspace| bench::run(workspace, &[bench::SMOKE.to_owned()]),
    },
    Step {
        name: "instructions",
        about: "what the hot paths cost, counted by valgrind",
        fix: "see what the change added (`valgrind --tool=callgrind` on the example); if it is worth it, `cargo xtask instructions --update`",
        run: |workspace| instructions::run(workspace, false),
    },
    Step {
        name: "fuzz",
        about: "what strangers send, mutated, ten seconds for each target",
        fix: "the line `again:` shows the input again; `cargo xtask fuzz TARGET` runs one target",
        run: |workspace| fuzz::run(workspace, &fuzz::Options::default()),
    },
];

const INSTALL_RUST: &str = "install Rust with rustup";

/// Runs the step of that name.
///
/// # Errors
/// The step's own, with what to do about it.
pub(crate) fn one(workspace: &Workspace, name: &str) -> Result<()> {
    let Some(step) = STEPS.iter().find(|step| step.name == name) else {
        bail!("no step is called `{name}`");
    };
    match step.timed(workspace) {
        (_, Ok(())) => Ok(()),
        (_, Err(error)) => bail!("{error:#}\n  fix: {}", step.fix),
    }
}

/// Runs every step, also those after one that failed: one run shows all there is to mend.
///
/// # Errors
/// When a step failed; names them all.
pub(crate) fn all(workspace: &Workspace) -> Result<()> {
    let mut failed = Vec::new();
    let mut report = Vec::new();
    for step in STEPS {
        let (seconds, outcome) = step.timed(workspace);
        if let Err(error) = &outcome {
            eprintln!("error: {error:#}\n  fix: {}", step.fix);
            failed.push(step.name);
        }
        report.push((step.name, seconds, outcome.is_ok()));
    }
    eprintln!();
    for (name, seconds, fine) in report {
        eprintln!("{:<14} {seconds:>7.1} s  {}", name, if fine { "ok" } else { "FAILED" });
    }
    if !failed.is_empty() {
        bail!("failed: {}; each runs alone as `cargo xtask NAME`", failed.join(", "));
    }
    Ok(())
}

impl Step {
    /// Runs it, and says what it is and how long it took, in seconds.
    fn timed(&self, workspace: &Workspace) -> (f64, Result<()>) {
        eprintln!("== {}: {}", self.name, self.about);
        let start = Instant::now();
        let outcome = (self.run)(workspace);
        let seconds = start.elapsed().as_secs_f64();
        eprintln!("== {}: {} in {seconds:.1} s", self.name, if outcome.is_ok() { "ok" } else { "failed" });
        (seconds, outcome)
    }
}

/// Runs `cargo test` with the pinned Envoy and Kubernetes, on the whole workspace or with `arguments`.
///
/// # Errors
/// When a tool cannot be had or a test fails.
pub(crate) fn test(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let envoy = tools::envoy(workspace)?;
    tools::namespaces()?;
    let mut command = workspace.cargo();
    command.env("ENVOY_BIN", envoy).args(["test", "--locked"]);
    // Building Kubernetes takes minutes, which a run of some other test is not to wait for: there, a test that needs it
    // says so.
    let kubernetes = match arguments {
        [] => Some(tools::kubernetes(workspace)?),
        _ => tools::kubernetes_at_hand(workspace),
    };
    if let Some(folder) = kubernetes {
        command.env("KUBEBUILDER_ASSETS", folder);
    }
    let prometheus = match arguments {
        [] => tools::prometheus(workspace),
        _ => tools::prometheus_at_hand(workspace),
    };
    if let Some(program) = prometheus {
        command.env("PROMETHEUS_BIN", program);
    }
    if arguments.is_empty() {
        // Built once for all: left to itself, a test that runs the program would build it with other features of its dependencies.
        let mut build = workspace.cargo();
        build.args(["test", "--locked", "--workspace", "--no-run"]);
        // One run shows all there is to mend.
        command
            .args(["--workspace", "--no-fail-fast"])
            .env("MELTEMI_BIN", process::build_program(&mut build, "meltemi")?);
    } else {
        command.args(arguments);
    }
    let list = workspace.root().join("target/not-run");
    let _ = fs::create_dir_all(workspace.root().join("target")).and_then(|()| fs::remove_file(&list));
    // As `meltemi_tests::not_run` has it.
    let outcome = process::run(command.env("MELTEMI_NOT_RUN", &list), INSTALL_RUST);
    eprintln!("{}", not_run(&fs::read_to_string(&list).unwrap_or_default()));
    outcome
}

/// The total of the tests that did not run, which none of cargo's totals counts as passed, and why; one line of `list` for each program,
/// `COUNT PROGRAM: REASON`.
fn not_run(list: &str) -> String {
    let count =
        |line: &str| line.split_once(' ').and_then(|(count, _)| count.parse::<usize>().ok()).unwrap_or(0);
    let total: usize = list.lines().map(count).sum();
    list.lines().fold(format!("NOT RUN in total: {total}"), |told, line| told + "\n  " + line)
}

fn cargo(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    process::run(workspace.cargo().args(arguments), INSTALL_RUST)
}

#[cfg(test)]
mod tests {
    use super::not_run;

    #[test]
    fn what_did_not_run_is_one_total_with_its_reasons() {
        assert_eq!(not_run(""), "NOT RUN in total: 0");
        assert_eq!(
            not_run("3 live_pods: needs root\n2 istio_agent: no agent\n"),
            "NOT RUN in total: 5\n  3 live_pods: needs root\n  2 istio_agent: no agent"
        );
    }
}
