//! Who may have the Secrets of gateways: whoever may list them at the API server anyhow, in its own namespace.
//!
//! Knows: what a SubjectAccessReview says, how long that is good for. Must not know: Secrets.   Start at [`client::Readers`].
//! Source: istio: pilot/pkg/credentials/kube/secrets.go, `Authorize`.
//! Invariant: an account that was never let is not let while the API server is silent; one that was is, as of the last that was heard.

pub(crate) mod client;
