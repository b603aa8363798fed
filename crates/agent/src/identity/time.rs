//! Moments by the wall clock, as certificates count them. Nothing here reads a clock.

use std::time::{Duration, SystemTime};

/// A moment: time since 1970, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Duration);

impl Time {
    /// So long after 1970.
    pub const fn since_1970(span: Duration) -> Self {
        Self(span)
    }

    /// Seconds since 1970.
    pub const fn unix(self) -> u64 {
        self.0.as_secs()
    }

    /// This much later; ends at the end of time.
    #[must_use]
    pub const fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// How long until `later`; nothing if that has passed.
    pub const fn until(self, later: Self) -> Duration {
        later.0.saturating_sub(self.0)
    }

    pub(super) fn verifier(self) -> rustls_pki_types::UnixTime {
        rustls_pki_types::UnixTime::since_unix_epoch(self.0)
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = i64::try_from(self.unix()).ok();
        match seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
            Some(moment) => write!(f, "{moment}"),
            None => write!(f, "{} seconds after 1970", self.unix()),
        }
    }
}
