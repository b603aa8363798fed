//! HTTP status codes.

use serde::de::{Deserialize, Deserializer, Error};

/// A status code, 100 to 600 (Istio's bound above). Which of them a field takes is the field's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpStatus(u16);

impl HttpStatus {
    /// A code; none outside 100 to 600.
    pub fn new(code: u32) -> Option<Self> {
        u16::try_from(code).ok().filter(|code| (100..=600).contains(code)).map(Self)
    }

    /// The number.
    pub fn code(self) -> u16 {
        self.0
    }
}

impl<'de> Deserialize<'de> for HttpStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = u32::deserialize(deserializer)?;
        Self::new(code)
            .ok_or_else(|| D::Error::custom(format!("{code} is not an HTTP status code (100 to 600)")))
    }
}

impl std::fmt::Display for HttpStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}
