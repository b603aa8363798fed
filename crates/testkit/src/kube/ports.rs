//! Port numbers that nobody uses.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Below the ports that Linux gives to outgoing connections (32768 and up), so that none of these takes the port of a
/// part that is stopped for a while.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;

/// A free port of 127.0.0.1, another one at each call.
///
/// The programs are told a number and cannot be handed a socket, so another process may take it meanwhile; who starts
/// them sees that and asks again.
///
/// # Errors
/// When all are in use.
pub(super) fn free() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        // Runs that go on at the same time begin at different places.
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = FIRST + std::process::id().wrapping_mul(97).wrapping_add(step) % COUNT;
        let Ok(port) = u16::try_from(number) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("none of the ports {FIRST} to {} of 127.0.0.1 is free", FIRST + COUNT - 1)
}
