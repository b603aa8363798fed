//! The status server: readiness, merged metrics, and the pod's own end (Istio: pilot/cmd/pilot-agent/status).
//!
//! Knows: what kubelets, scrapers and Istio's own commands ask. Must not know: certificates, secrets.
//! Start at [`server`]; [`ready`] and [`merge`] are its pure halves.

pub(crate) mod merge;
pub(crate) mod probe;
pub(crate) mod ready;
pub(crate) mod scrape;
pub(crate) mod server;
#[cfg(test)]
mod tests;
