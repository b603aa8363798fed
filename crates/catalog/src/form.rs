//! The two spellings of one protocol.

/// How a client asks and is answered. The state behind both is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// `DeltaAggregatedResources`: names and versions, changes only.
    Delta,
    /// `StreamAggregatedResources`: state of the world.
    Sotw,
}

impl Form {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Delta, Self::Sotw];

    /// The word for it in status output and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Sotw => "sotw",
        }
    }
}
