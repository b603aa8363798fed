//! Waiting for others' programs, which tell nobody when they are ready: asked again and again, without blocking, for a
//! limited time.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often they are asked.
const POLL: Duration = Duration::from_millis(25);

/// What one question found.
pub(super) enum Seen<T> {
    /// It is so.
    Yes(T),
    /// Not yet; for the error, what there is instead.
    NotYet(String),
}

/// Asks until the answer is yes.
///
/// # Errors
/// When a question fails, or the answer is not yes within `limit`; says what `what` was last.
pub(super) async fn until<T>(
    what: &str,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Result<Seen<T>>,
) -> Result<T> {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = String::from("no answer");
    let outcome = timeout(limit, async {
        loop {
            ticks.tick().await;
            match ask().await? {
                Seen::Yes(found) => return Ok(found),
                Seen::NotYet(instead) => last = instead,
            }
        }
    })
    .await;
    outcome.unwrap_or_else(|_| Err(anyhow!("{what}: not within {limit:?}; at last: {last}")))
}
