//! `cargo xtask fuzz`: what strangers send, mutated for some seconds for each target, from the committed corpus.
//!
//! Knows: fuzz/'s layout, and how stable Rust and libFuzzer go together: LLVM's own coverage pass, no sanitizer. Must not know: what a
//! target checks. A find is what libFuzzer calls a crash: a panic, a broken promise, or an input that takes seconds or gigabytes.
//! Invariant: nothing that git tracks changes; the corpus grows only by hand.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::process;
use crate::workspace::Workspace;

/// As in fuzz/Cargo.toml, with the longest input that is tried, in bytes: some objects, a dozen requests, a node as Istio's agent
/// sends it, a request for a certificate with a key of RSA-4096, a token, some certificates, some requests for secrets. Longer ones find
/// little and run slowly.
const TARGETS: &[(&str, usize)] = &[
    ("resource_yaml", 8192),
    ("discovery_request", 4096),
    ("node_metadata", 4096),
    ("csr", 2048),
    ("bearer_token", 1024),
    ("pem_bundle", 4096),
    ("sds_request", 2048),
];

/// What `cargo fuzz` gives the compiler, less its sanitizers (these need nightly, and look for what safe Rust does not have).
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table";

const INSTALL: &str = "install Rust with rustup, and a C++ compiler (g++) for libFuzzer";

/// What may be chosen.
#[derive(Args)]
pub(crate) struct Options {
    /// How long each target runs, after the build
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Only this target
    target: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: 10, target: None }
    }
}

/// Builds the targets and runs them, also those after one that failed.
///
/// # Errors
/// When the build fails, or a target finds something; says how to see it again.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let chosen: Vec<_> = TARGETS
        .iter()
        .filter(|(name, _)| options.target.as_deref().is_none_or(|target| target == *name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        bail!("no target has that name; there are {}", names.join(", "));
    }
    let folder = workspace.root().join("fuzz");
    let binaries = build(workspace, &folder)?;
    let scratch = folder.join("target");
    let seeds = seeds(workspace, &scratch)?;
    let mut failed = Vec::new();
    for (name, longest) in chosen {
        let target = Target { name, longest: *longest, binary: binaries.join(name), folder: &folder };
        let extra = (*name == "resource_yaml").then_some(seeds.as_path());
        if let Err(error) = target.run(options.seconds, &scratch, extra) {
            eprintln!("error: {error:#}");
            failed.push(*name);
        }
    }
    if !failed.is_empty() {
        bail!("{} found something; see above", failed.join(", "));
    }
    Ok(())
}

/// Builds all targets; the folder of the binaries.
fn build(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    // What is fuzzed is what is shipped: cargo keeps of the workspace's lock what it needs, and adds libFuzzer.
    fs::copy(workspace.root().join("Cargo.lock"), folder.join("Cargo.lock")).context("copying Cargo.lock")?;
    let about = process::text(Command::new("rustc").arg("-vV"), INSTALL)?;
    let host = about
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`rustc -vV` does not say its host")?;
    // The workspace's own folder: the build scripts and macros in it are used as they are.
    let output = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.root().join("target"), |folder| workspace.root().join(folder));
    let mut command = workspace.cargo();
    command.args(["build", "--quiet", "--manifest-path", "fuzz/Cargo.toml"]);
    for (name, _) in TARGETS {
        command.args(["--bin", name]);
    }
    // With a target named, the flags are not for build scripts and macros.
    command.args(["--target", host]).arg("--target-dir").arg(&output);
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", COVERAGE);
    process::run(&mut command, INSTALL)?;
    Ok(output.join(host).join("debug"))
}

/// YAML that the repository has for other reasons, in one folder, as libFuzzer reads seeds.
fn seeds(workspace: &Workspace, scratch: &Path) -> Result<PathBuf> {
    let seeds = scratch.join("seeds");
    empty(&seeds)?;
    for file in workspace.files()? {
        let wanted = file.extension().is_some_and(|extension| extension == "yaml")
            && (file.starts_with("examples")
                || file.starts_with("crates/api/tests")
                || (file.starts_with("tests/golden") && file.ends_with("input.yaml")));
        if wanted {
            let name = file.display().to_string().replace('/', "-");
            fs::copy(workspace.root().join(&file), seeds.join(name))
                .with_context(|| format!("copying {}", file.display()))?;
        }
    }
    Ok(seeds)
}

/// Makes the folder, or makes it empty.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

struct Target<'a> {
    name: &'a str,
    longest: usize,
    binary: PathBuf,
    folder: &'a Path,
}

impl Target<'_> {
    fn run(&self, seconds: u32, scratch: &Path, extra: Option<&Path>) -> Result<()> {
        let finds = scratch.join("finds").join(self.name);
        empty(&finds)?;
        let artifacts = self.folder.join("artifacts").join(self.name);
        fs::create_dir_all(&artifacts).with_context(|| format!("making {}", artifacts.display()))?;
        let log = scratch.join(format!("{}.log", self.name));
        let output = File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let mut prefix = OsString::from("-artifact_prefix=");
        prefix.push(&artifacts);
        prefix.push("/");
        let mut command = Command::new(&self.binary);
        command
            .arg(&finds)
            .arg(self.folder.join("corpus").join(self.name))
            .args(extra)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={}", self.longest))
            // An input of some kilobytes takes less than a millisecond; a CI machine may be fifty times as slow.
            .args(["-timeout=5", "-rss_limit_mb=2048", "-print_final_stats=1"])
            .arg(format!(
                "-dict={}",
                self.folder.join("dictionaries").join(self.name).with_extension("dict").display()
            ))
            .arg(prefix)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output);
        let status = command.status().with_context(|| format!("starting {}", self.binary.display()))?;
        let said = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
        let said = String::from_utf8_lossy(&said);
        if !status.success() {
            bail!("{}", self.find(&said));
        }
        println!("  {:<18} {}", self.name, summary(&said));
        Ok(())
    }

    /// What was found, and how to see it again.
    fn find(&self, said: &str) -> String {
        let artifact =
            said.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path);
        let told: Vec<&str> = said
            .lines()
            .skip_while(|line| !line.contains("panicked at") && !line.contains("ERROR: libFuzzer"))
            .take(12)
            .collect();
        let told = if told.is_empty() { said.trim() } else { &told.join("\n") };
        match artifact {
            Some(artifact) => format!(
                "{}: {told}\n  again: {} {artifact}\n  mend what it hits, and add the input as a test of the crate that was hit",
                self.name,
                self.binary.display(),
            ),
            None => format!("{} did not run: {told}", self.name),
        }
    }
}

/// How much was tried, of what libFuzzer printed.
fn summary(said: &str) -> String {
    let stat = |name: &str| {
        let line =
            said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name)).unwrap_or(": ?");
        line.trim_start_matches([':', ' ']).to_owned()
    };
    format!(
        "{} inputs, {} a second, {} that went new ways, {} MB",
        stat("number_of_executed_units"),
        stat("average_exec_per_sec"),
        stat("new_units_added"),
        stat("peak_rss_mb")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_find_is_told_with_the_command_that_shows_it_again() {
        let target = Target {
            name: "resource_yaml",
            longest: 1,
            binary: PathBuf::from("/t/resource_yaml"),
            folder: Path::new("/f"),
        };
        let said = "INFO: seed\nthread '<unnamed>' panicked at crates/x.rs:1:2:\nodd\nartifact_prefix='/f/'; Test unit written to /f/crash-1\n";
        let told = target.find(said);
        assert!(
            told.starts_with("resource_yaml: thread '<unnamed>' panicked at crates/x.rs:1:2:\nodd\n"),
            "{told}"
        );
        assert!(told.contains("again: /t/resource_yaml /f/crash-1\n"), "{told}");
        assert!(target.find("no such file\n").contains("did not run: no such file"));
    }

    #[test]
    fn the_summary_is_libfuzzer_s_own_counts() {
        let said = "Done\nstat::number_of_executed_units: 7\nstat::average_exec_per_sec:     3\nstat::new_units_added: 2\nstat::peak_rss_mb: 40\n";
        assert_eq!(summary(said), "7 inputs, 3 a second, 2 that went new ways, 40 MB");
    }
}
