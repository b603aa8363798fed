//! Rules about files that no compiler checks.
//!
//! - Each `.rs` file begins with its charter (`//!`).
//! - Each `.rs` file is compiled: a crate root, or declared by a `mod`.
//! - No file is longer than [`LONGEST`] lines; those longer than [`LONG`] are listed.
//! - No switched-off test, no unfinished code, no sleep: a test waits for an event.
//! - No registry's host name: which registry a machine uses is its own setting.
//! - Sockets, files and processes are touched only in files named for it.

mod modules;
mod words;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// Lines above which a file must be split.
const LONGEST: usize = 700;

/// Lines above which a file is listed, as a hint.
const LONG: usize = 400;

/// Checks every file that git knows.
///
/// # Errors
/// Names each file and line that breaks a rule.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let files = workspace.files()?;
    let mut faults = Vec::new();
    let mut sources = Vec::new();
    for file in &files {
        let bytes = std::fs::read(workspace.root().join(file))
            .with_context(|| format!("reading {}", file.display()))?;
        // What is no UTF-8 (a fuzz corpus) holds no words.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        faults.extend(words::hosts(file, &text));
        if file.extension().is_some_and(|extension| extension == "rs") {
            faults.extend(charter(file, &text));
            faults.extend(words::code(file, &text));
            sources.push((file.clone(), text));
        }
    }
    faults.extend(lengths(&sources));
    faults.extend(modules::orphans(workspace, &files, &sources)?);
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    println!("  {} files, {} of them Rust", files.len(), sources.len());
    Ok(())
}

fn charter(file: &Path, text: &str) -> Option<String> {
    (!text.starts_with("//!")).then(|| {
        format!(
            "{}:1: no charter: begin with `//!` and say what the file knows and must not know",
            file.display()
        )
    })
}

/// The faults; what is merely long is printed.
fn lengths(sources: &[(PathBuf, String)]) -> Vec<String> {
    let mut long: Vec<(usize, &Path)> = sources
        .iter()
        .map(|(file, text)| (text.lines().count(), file.as_path()))
        .filter(|(lines, _)| *lines > LONG)
        .collect();
    long.sort_by(|one, other| other.cmp(one));
    for (lines, file) in &long {
        println!("  long: {} has {lines} lines", file.display());
    }
    long.iter()
        .filter(|(lines, _)| *lines > LONGEST)
        .map(|(lines, file)| format!("{}: {lines} lines, more than {LONGEST}: split it", file.display()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_charter_is_named() {
        assert!(charter(Path::new("a.rs"), "use std::fmt;\n").is_some());
        assert_eq!(charter(Path::new("a.rs"), "//! Knows nothing.\n"), None);
    }

    #[test]
    fn a_file_above_the_limit_is_a_fault_and_one_at_it_is_not() {
        let sources = |lines: usize| vec![(PathBuf::from("a.rs"), "x\n".repeat(lines))];
        assert_eq!(lengths(&sources(LONGEST)), Vec::<String>::new());
        assert_eq!(lengths(&sources(LONGEST + 1)).len(), 1);
    }
}
