//! `cargo xtask instructions`: what the hot paths cost, in instructions and allocations, beside what they cost when that was last written down.
//!
//! Knows: valgrind, the example `instructions` of meltemi-tests, benches/instructions.json. Must not know: what a path does.
//! A clock on a busy machine hides a regression of a tenth; a count does not. It is of a debug build, as the tests are, so that no second
//! build is needed: it tells that a path does more than before, not how long it takes.

use std::collections::BTreeMap;
use std::path::Path;
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
    "a change that nobody reads",
    "a step to a stream",
    "a first answer",
    "a first answer in a crowd",
    "a reconnect",
    "reading a VirtualService",
];

/// What asks the allocator for memory.
const ALLOCATOR: &[&str] = &["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"];

/// Hash tables are seeded anew in each run, and an allocator's work differs with that: repeated runs are within 2 in a hundred.
const MORE_THAN: f64 = 1.05;

const FILE: &str = "benches/instructions.json";

/// What was written down.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Recorded {
    /// The compiler it is of: another one makes other code.
    rustc: String,
    paths: BTreeMap<String, Cost>,
}

/// What one path costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
struct Cost {
    instructions: u64,
    /// Calls of the allocator that ask for memory, or for more of it.
    allocations: u64,
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
        counted.paths.insert((*path).to_owned(), count(&program, path)?);
    }
    let file = workspace.root().join(FILE);
    if update {
        let text = serde_json::to_string_pretty(&counted)? + "\n";
        return std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()));
    }
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let recorded: Recorded = serde_json::from_str(&text).with_context(|| format!("reading {FILE}"))?;
    let more = compare(&recorded, &counted);
    if recorded.rustc != counted.rustc {
        eprintln!("  NOT COMPARED: written down with `{}`, counted with `{}`", recorded.rustc, counted.rustc);
    } else if !more.is_empty() {
        bail!("more than {FILE} says: {}", more.join(", "));
    }
    Ok(())
}

/// What the program does on that path, by callgrind.
fn count(program: &Path, path: &str) -> Result<Cost> {
    let folder = tempfile::Builder::new().prefix("meltemi-instructions-").tempdir()?;
    let out = folder.path().join("out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--compress-strings=no"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    // What is counted is between these two. Of the same pattern only one setting would count, so they are spelled differently.
    command.args(["--dump-before=instructions::counted_*", "--dump-after=?nstructions::counted_*"]);
    let output =
        process::output(command.arg(program).arg(path), "install valgrind with the package manager")?;
    let text = String::from_utf8_lossy(&output.stderr);
    // The first is what came before.
    let dump = std::fs::read_to_string(out.with_extension("2")).ok().filter(|_| output.status.success());
    let cost = dump.as_deref().and_then(cost);
    cost.with_context(|| format!("valgrind counted nothing of `{path}`:\n{text}"))
}

/// The cost that a file of callgrind's tells (its format: "Callgrind Format Specification" in valgrind's manual).
fn cost(dump: &str) -> Option<Cost> {
    let (mut instructions, mut allocations, mut called) = (None, 0, "");
    for line in dump.lines() {
        if let Some(total) = line.strip_prefix("totals: ") {
            instructions = total.trim().parse().ok();
        } else if let Some(name) = line.strip_prefix("cfn=") {
            called = name;
        } else if let Some(calls) = line.strip_prefix("calls=")
            && ALLOCATOR.contains(&called)
        {
            allocations += calls.split(' ').next()?.parse::<u64>().ok()?;
        }
    }
    Some(Cost { instructions: instructions?, allocations })
}

/// Prints both, and says which paths cost more than they may.
fn compare(recorded: &Recorded, counted: &Recorded) -> Vec<String> {
    println!("  {:<26} {:>12} {:>6} {:<12} {:>11} {:>6} of", "", "instructions", "", "of", "allocations", "");
    let mut more = Vec::new();
    for (path, now) in &counted.paths {
        let before = recorded.paths.get(path).copied().unwrap_or_default();
        // A path that was never written down is infinitely more; one that allocates nothing and never did is no more.
        let ratio = |now: u64, before: u64| if now == before { 1.0 } else { now as f64 / before as f64 };
        let instructions = ratio(now.instructions, before.instructions);
        let allocations = ratio(now.allocations, before.allocations);
        println!(
            "  {path:<26} {:>12} {instructions:>6.3} {:<12} {:>11} {allocations:>6.3} {}",
            now.instructions, before.instructions, now.allocations, before.allocations
        );
        for (ratio, what) in [(instructions, "instructions"), (allocations, "allocations")] {
            if ratio > MORE_THAN {
                more.push(format!("{what} of {path}"));
            }
        }
    }
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(cost: Cost) -> Recorded {
        Recorded { rustc: String::new(), paths: BTreeMap::from([("a path".to_owned(), cost)]) }
    }

    #[test]
    fn calls_of_the_allocator_are_counted_wherever_they_come_from() {
        let dump = "events: Ir\n\nfn=a\n3 7\ncfn=malloc\ncalls=5 9\n* 50\ncfn=other\ncalls=100 1\n* 3\n\nfn=b\n\
                    cob=/lib/libc.so\ncfi=malloc.c\ncfn=realloc\ncalls=2 1\n* 9\n\ntotals: 1234\n";
        assert_eq!(cost(dump), Some(Cost { instructions: 1234, allocations: 7 }));
        assert_eq!(cost("fn=a\n"), None);
    }

    #[test]
    fn a_twentieth_more_of_either_is_named() {
        let before = recorded(Cost { instructions: 1000, allocations: 100 });
        let more =
            |instructions, allocations| compare(&before, &recorded(Cost { instructions, allocations }));
        assert_eq!(more(1050, 105), Vec::<String>::new());
        assert_eq!(more(1051, 90), ["instructions of a path"]);
        assert_eq!(more(500, 106), ["allocations of a path"]);
        assert_eq!(compare(&Recorded::default(), &before).len(), 2, "what was never written down");
    }
}
