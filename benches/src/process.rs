//! What the kernel tells of a process: CPU time, memory; and this one's limit of open files.
//!
//! Knows: Linux. Must not know: what the process does.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::ClockId;
use nix::unistd::Pid;

/// Files that are open beside the connections.
const OTHER_FILES: u64 = 100;

/// CPU time that the process has used, all its threads together, to the nanosecond.
///
/// # Errors
/// When there is no such process.
pub fn cpu(pid: u32) -> Result<Duration> {
    let clock = ClockId::pid_cpu_clock_id(pid_of(pid)?).with_context(|| format!("process {pid} is gone"))?;
    Ok(clock.now()?.into())
}

/// Resident memory of the process, in bytes: now, and at its highest.
///
/// # Errors
/// When there is no such process.
pub fn memory(pid: u32) -> Result<(u64, u64)> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("process {pid} is gone"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.map(|kilobytes| kilobytes << 10).with_context(|| format!("{path} has no {name}"))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// Lets the highest resident memory of the process count from now.
///
/// # Errors
/// When there is no such process, or it is another user's.
pub fn forget_peak(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    // 5: the peak (proc(5)).
    std::fs::write(&path, "5").with_context(|| format!("writing {path}"))
}

/// Sets how many files this process and those it starts may have open to what `connections` need.
///
/// # Errors
/// When the system's bound is lower; says how to raise it.
pub fn allow_connections(connections: usize) -> Result<()> {
    let needed = connections as u64 + OTHER_FILES;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if needed > hard {
        bail!(
            "{connections} connections need {needed} open files, and this session may have {hard}: raise it (as root: \
             `ulimit -Hn {needed}`, or `LimitNOFILE=` of the service), or ask for fewer `--clients`, or let them share \
             `--connections`"
        );
    }
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

pub(crate) fn pid_of(pid: u32) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(pid).context("a process number")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_uses_cpu_and_has_memory() {
        let before = cpu(std::process::id()).unwrap();
        let sum: u64 = (0..2_000_000u64).map(|n| std::hint::black_box(n) ^ 1).sum();
        assert!(sum > 0);
        assert!(cpu(std::process::id()).unwrap() > before);
        let (now, peak) = memory(std::process::id()).unwrap();
        assert!(now > 0 && peak >= now);
    }

    #[test]
    fn more_connections_than_the_system_allows_are_refused_with_advice() {
        let error = allow_connections(usize::MAX >> 8).unwrap_err().to_string();
        assert!(error.contains("ulimit"), "{error}");
    }
}
