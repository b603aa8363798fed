//! The machine's floor of a change in a folder: a process that hears of it, waits as long as `meltemi serve` does, and reads the file.
//!
//! Knows: inotify. Must not know: what is in the file. It runs in a process of its own (`meltemi-bench hear FOLDER`), until its standard
//! input ends.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::Result;
use inotify::{Inotify, WatchMask};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// As long as a folder must be quiet for a server to look at it, in milliseconds.
const QUIET: u8 = 5;

/// Hears and reads. Prints a line when it listens.
///
/// # Errors
/// When there is no such folder, or a file cannot be read.
pub fn run(folder: &Path) -> Result<()> {
    let mut inotify = Inotify::init()?;
    inotify.watches().add(folder, WatchMask::MOVED_TO)?;
    let mut out = std::io::stdout();
    writeln!(out, "listening")?;
    out.flush()?;
    let input = std::io::stdin();
    let mut heard = None;
    let (mut buffer, mut text) = ([0; 4096], Vec::new());
    loop {
        let limit = if heard.is_some() { PollTimeout::from(QUIET) } else { PollTimeout::NONE };
        let mut waited =
            [PollFd::new(inotify.as_fd(), PollFlags::POLLIN), PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut waited, limit)?;
        if waited[1].any().unwrap_or(false) {
            return Ok(());
        }
        if ready > 0 {
            for event in inotify.read_events(&mut buffer)? {
                heard = event.name.map(|name| folder.join(name)).or(heard);
            }
        } else if let Some(file) = heard.take() {
            text.clear();
            std::fs::File::open(file)?.read_to_end(&mut text)?;
        }
    }
}
