//! Who asks, by a token of Kubernetes: the API server is asked about each token once, and what it said is believed for a while.
//!
//! Knows: what a TokenReview says, how long that is good for. Must not know: what for somebody asks.   Start at [`client::Reviews`];
//! [`answer`] reads an answer, [`super::cache`] keeps it.
//! Invariant: no token is kept or logged, only a hash of it; what is kept is bounded, and strangers' tokens take no place of known ones.

mod answer;
pub(super) mod client;
