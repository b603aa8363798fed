//! `cargo xtask instructions`: what the hot paths cost, in instructions, beside what they cost when that was last written down.
//!
//! Knows: valgrind, the example `instructions` of meltemi-tests, benches/instructions.json. Must not know: what a path does.
//! A clock on a busy machine hides a regression of a tenth; a count of instructions does not. It is of a debug build, as the tests are,
//! so that no second build is needed: it tells that a path does more than before, not how long it takes.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process;
use crate::tools;
use crate::workspace::Workspace;

/// The paths, as the example calls them.
const PATHS: &[&str] = &[
    "a weight",
    "an endpoint",
    "a step to a stream",
    "a first answer",
    "a reconnect",
    "reading a VirtualService",
];

/// Hash tables are seeded anew in each run, and an allocator's work differs with that: repeated runs are within 2 in a hundred.
const MORE_THAN: f64 = 1.05;

const FILE: &str = "benches/instructions.json";

/// What was written down.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Recorded {
    /// The compiler it is of: another one makes other code.
    rustc: String,
    instructions: BTreeMap<String, u64>,
}

/// Counts, and compares; with `update` writes the counts down instead.
///
/// # Errors
/// When a path costs a twentieth more than was written down, or cannot be counted.
pub(crate) fn run(workspace: &Workspace, update: bool) -> Result<()> {
    if !tools::valgrind()? {
        return Ok(());
    }
    let mut build = workspace.cargo();
    build.args(["build", "--locked", "--package", "meltemi-tests", "--example", "instructions"]);
    let program = process::build_program(&mut build, "instructions")?;
    let rustc = process::text(Command::new("rustc").arg("--version"), "install Rust with rustup")?;
    let mut counted = Recorded { rustc: rustc.trim().to_owned(), ..Recorded::default() };
    for path in PATHS {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"]);
        command.arg("--toggle-collect=*instructions::counted_*").arg(&program).arg(path);
        let output = process::output(&mut command, "install valgrind with the package manager")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let count = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
        let count = count.filter(|_| output.status.success());
        let count = count.with_context(|| format!("valgrind counted nothing of `{path}`:\n{text}"))?;
        counted.instructions.insert((*path).to_owned(), count);
    }
    let file = workspace.root().join(FILE);
    if update {
        let text = serde_json::to_string_pretty(&counted)? + "\n";
        return std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()));
    }
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let recorded: Recorded = serde_json::from_str(&text).with_context(|| format!("reading {FILE}"))?;
    let comparable = recorded.rustc == counted.rustc;
    let mut more = Vec::new();
    for (path, count) in &counted.instructions {
        let before = recorded.instructions.get(path).copied().unwrap_or_default();
        let ratio = *count as f64 / before as f64;
        println!("  {path:<28} {count:>12}  {ratio:>6.3} of {before}");
        // A path that was never written down is more than nothing, too.
        if ratio.is_nan() || ratio > MORE_THAN {
            more.push(path.as_str());
        }
    }
    if !comparable {
        eprintln!("  NOT COMPARED: written down with `{}`, counted with `{}`", recorded.rustc, counted.rustc);
    } else if !more.is_empty() {
        bail!("more instructions than {FILE} says for: {}", more.join(", "));
    }
    Ok(())
}
