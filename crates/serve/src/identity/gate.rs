//! Whether a proxy is who its node says it is.
//!
//! Knows: identities, node metadata. Must not know: what a proxy may have.   Start at [`Gate::admit`].
//! Invariant: a stream of the TLS port has an identity that was verified, of the namespace (and the account, where it says one) that its
//! node names. One of the plain port has none, and may not ask for what needs one ([`NEEDS_IDENTITY`]).

use std::sync::Arc;

use meltemi_ca::server::{Peer, Unknown};
use meltemi_model::proxy::Proxy;
use meltemi_names::SpiffeId;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::google::protobuf::value::Kind;
use tonic::Status;

use super::authenticate::Authenticator;
use super::connection::Secured;
use super::metrics::{IdentityMetrics, StreamRefused};

/// What types begin with that only a verified identity may ask for: secrets, and Istio's debug pages over xDS.
const NEEDS_IDENTITY: &[&str] =
    &["type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "istio.io/debug"];

/// Whether that type is for verified identities alone.
pub(crate) fn needs_identity(type_url: &str) -> bool {
    NEEDS_IDENTITY.iter().any(|begin| type_url.starts_with(begin))
}

/// Lets streams in.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    /// None where there is no authority, hence no TLS port.
    authority: Option<(Arc<Authenticator>, IdentityMetrics)>,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

impl Gate {
    /// Asks `authenticator` about streams of the TLS port.
    pub(crate) fn new(authenticator: Arc<Authenticator>, metrics: IdentityMetrics) -> Self {
        Self { authority: Some((authenticator, metrics)) }
    }

    /// A stream without an identity asked for what needs one.
    pub(crate) fn needs_identity(&self) {
        if let Some((_, metrics)) = &self.authority {
            metrics.stream_refused(StreamRefused::NeedsIdentity);
        }
    }

    /// Whose stream it is; none on the plain port.
    ///
    /// # Errors
    /// `Unauthenticated` for nobody, `PermissionDenied` for somebody else than the node says, `Unavailable` where it cannot be told now.
    pub(crate) async fn admit(
        &self,
        node: &Node,
        proxy: &Proxy,
        peer: &meltemi_xds::Peer,
    ) -> Result<Option<Arc<SpiffeId>>, Status> {
        if peer.extensions.get::<Secured>().is_none() {
            return Ok(None);
        }
        let nobody = || Status::unauthenticated("authentication failure");
        let Some((authenticator, metrics)) = &self.authority else { return Err(nobody()) };
        let refused = |reason: StreamRefused| metrics.stream_refused(reason);
        let asks = Peer { headers: peer.headers.clone(), extensions: peer.extensions.clone() };
        let identity = match authenticator.identity(&asks).await {
            Ok(identity) => identity,
            Err(Unknown::Nobody(reason)) => {
                tracing::warn!(target: "ca", proxy = %proxy.id, reason, "stream refused: nobody is authenticated");
                refused(StreamRefused::Unauthenticated);
                return Err(nobody());
            }
            Err(Unknown::Later(reason)) => {
                tracing::warn!(target: "ca", proxy = %proxy.id, reason, "stream refused: cannot authenticate now");
                refused(StreamRefused::Unavailable);
                return Err(Status::unavailable("who asks cannot be authenticated now; connect again"));
            }
        };
        match matches(&identity, proxy.namespace.as_str(), account(node)) {
            Ok(()) => Ok(Some(Arc::new(identity))),
            Err(error) => {
                tracing::warn!(target: "ca", proxy = %proxy.id, %identity, "stream refused: {error}");
                refused(StreamRefused::SomebodyElse);
                Err(Status::permission_denied(error))
            }
        }
    }
}

/// Whether a proxy of that namespace and account may be served to `identity` (Istio: pilot/pkg/xds/auth.go).
fn matches(identity: &SpiffeId, namespace: &str, account: Option<&str>) -> Result<(), String> {
    if identity.namespace() != namespace {
        return Err(format!(
            "the node is of namespace `{namespace}`, and its proxy is authenticated for `{}`",
            identity.namespace()
        ));
    }
    match account {
        Some(account) if account != identity.service_account() => Err(format!(
            "the node is of service account `{account}`, and its proxy is authenticated for `{}`",
            identity.service_account()
        )),
        _ => Ok(()),
    }
}

/// Metadata `SERVICE_ACCOUNT`.
fn account(node: &Node) -> Option<&str> {
    match node.metadata.as_ref()?.fields.get("SERVICE_ACCOUNT")?.kind.as_ref()? {
        Kind::StringValue(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
