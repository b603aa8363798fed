//! Times of creation.

use crate::value::from_text;

/// Seconds since 1970 in UTC: what orders objects by age. Kubernetes writes whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Parses RFC 3339.
    ///
    /// # Errors
    /// When the text has another form.
    pub fn parse(text: &str) -> Result<Self, String> {
        text.parse::<jiff::Timestamp>()
            .map(|time| Self(time.as_second()))
            .map_err(|_| format!("`{text}` is not a time; write it as in 2026-01-31T12:00:00Z"))
    }

    /// Of that many seconds since 1970.
    pub fn of_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0
    }
}

from_text!(Timestamp);
