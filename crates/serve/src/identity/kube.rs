//! The Kubernetes side of identity: Secrets and ConfigMaps of Istio's form, TokenReviews, the other replicas.
//!
//! Knows: the API server's objects and how they may fail. Must not know: X.509, what a certificate is given for.   Start at [`parts`].
//! Invariant: no token and no key is in the log; what the API server does not answer is neither a yes nor a no.

mod keep;
mod metrics;
mod replicas;
mod roots;
mod tokens;
