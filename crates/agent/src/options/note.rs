//! What is said once about settings at the start.

/// A setting that does not do what whoever set it may expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// It is not supported.
    Unsupported {
        /// Which setting.
        place: String,
        /// What is so instead.
        instead: &'static str,
    },
    /// It cannot be read.
    Ignored {
        /// Which setting.
        place: String,
        /// Why.
        reason: String,
    },
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsupported { place, instead } => write!(f, "{place} is set and not supported: {instead}"),
            Self::Ignored { place, reason } => write!(f, "{place} is as if it were not set: {reason}"),
        }
    }
}
