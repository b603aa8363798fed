//! The process of a command: the thread on which it asks others, and what it leaves behind at its end.

use tokio::runtime::{Builder, Runtime};

/// One thread for all that a command waits for: it asks a few others, and computes on its own.
///
/// # Errors
/// When the system gives none.
pub(crate) fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Leaves what a command read as it is: the process ends, and taking a large mesh apart piece by piece would take longer than what it was
/// read for.
pub(crate) fn leave<T>(read: T) {
    std::mem::forget(read);
}
