//! What time it is, as certificates count it; tests have a clock of their own.

use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::BoxFuture;
use meltemi_ca::Time;

/// Tells the time, and waits for it.
pub(crate) trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Time;

    /// Done when `time` has come, or earlier: whoever waits looks at the time again.
    fn at(&self, time: Time) -> BoxFuture<'static, ()>;
}

/// The machine's own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wall;

/// The wall clock may be set: it is looked at again after this.
const LONGEST: Duration = Duration::from_secs(3600);

/// Nothing is looked at more often.
const SHORTEST: Duration = Duration::from_secs(1);

impl Clock for Wall {
    fn now(&self) -> Time {
        Time::from(SystemTime::now())
    }

    fn at(&self, time: Time) -> BoxFuture<'static, ()> {
        tokio::time::sleep(self.now().until(time).clamp(SHORTEST, LONGEST)).boxed()
    }
}
