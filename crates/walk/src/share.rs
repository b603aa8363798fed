//! Parts of a whole.

use serde::{Serialize, Serializer};

/// A part of all requests, in percent. In JSON a number, rounded to a thousandth.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(pub f64);

impl Share {
    /// Every request.
    pub const ALL: Self = Self(100.0);

    /// `part` of `whole`; of nothing, nothing.
    #[allow(clippy::cast_precision_loss, reason = "a percentage needs no 53 bits")]
    pub fn of(part: u64, whole: u64) -> Self {
        if whole == 0 { Self(0.0) } else { Self(100.0 * part as f64 / whole as f64) }
    }

    /// This part of `other`.
    #[must_use]
    pub fn of_share(self, other: Self) -> Self {
        Self(self.0 * other.0 / 100.0)
    }

    /// What is left beside it.
    #[must_use]
    pub fn rest(self) -> Self {
        Self((100.0 - self.0).max(0.0))
    }

    /// Nobody.
    pub fn is_none(self) -> bool {
        self.0 <= 0.0
    }

    /// Everybody.
    pub fn is_all(self) -> bool {
        self.0 >= 100.0
    }

    fn rounded(self) -> f64 {
        (self.0 * 1000.0).round() / 1000.0
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.rounded())
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} %", (self.0 * 100.0).round() / 100.0)
    }
}
