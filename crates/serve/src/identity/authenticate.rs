//! Who is on a connection: by the certificate that its handshake verified, else by a bearer token.
//!
//! Knows: the order. Must not know: how a token is reviewed ([`Tokens`]), how a certificate is verified.   Start at [`Authenticator`].
//! Invariant: what cannot be found out now is never [`Unknown::Nobody`]: Istio's agents do not ask again after that.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use meltemi_ca::entitlement::{Caller, NoPods, Proof, Rules};
use meltemi_ca::server::{Authenticate, Peer, Unknown};
use meltemi_names::SpiffeId;
use tokio::sync::watch;

use super::clock::Clock;
use super::connection::Secured;
use super::metrics::IdentityMetrics;
use super::parts::Tokens;

/// Finds out who is on a connection.
pub(crate) struct Authenticator {
    tokens: Vec<Arc<dyn Tokens>>,
    domains: watch::Receiver<Arc<Rules>>,
    clock: Arc<dyn Clock>,
    metrics: IdentityMetrics,
}

/// Why a caller has no identity in this mesh.
const FOREIGN: &str = "is of another trust domain";

impl Authenticator {
    /// Tokens are reviewed by `tokens`, in their order.
    pub(crate) fn new(
        tokens: Vec<Arc<dyn Tokens>>,
        domains: watch::Receiver<Arc<Rules>>,
        clock: Arc<dyn Clock>,
        metrics: IdentityMetrics,
    ) -> Self {
        Self { tokens, domains, clock, metrics }
    }

    /// Who is on the connection, by the name that they have in this mesh.
    pub(crate) async fn identity(&self, peer: &Peer) -> Result<SpiffeId, Unknown> {
        let caller = self.find(peer).await?;
        let rules = Arc::clone(&self.domains.borrow());
        rules
            .entitled(&caller, "", &NoPods)
            .map_err(|_| Unknown::Nobody(format!("{} {FOREIGN}", caller.identity)))
    }

    async fn find(&self, peer: &Peer) -> Result<Caller, Unknown> {
        let Some(secured) = peer.extensions.get::<Secured>() else {
            return Err(Unknown::Nobody("the connection has no TLS".to_owned()));
        };
        // A connection may outlive the certificate that it was made with.
        if let Some(certified) = &secured.certified
            && self.clock.now() <= certified.not_after
        {
            let identity = certified.identity.clone();
            return Ok(Caller { identity, proof: Proof::Certificate, pod: None });
        }
        let Some(token) = bearer(&peer.headers) else {
            let shown = if secured.certified.is_some() { "one that has expired since" } else { "no" };
            return Err(Unknown::Nobody(format!(
                "{} shows {shown} certificate and no token",
                secured.address
            )));
        };
        let mut nobody = Unknown::Nobody("nobody reviews tokens".to_owned());
        for reviewer in &self.tokens {
            match reviewer.review(token).await {
                Ok(caller) => return Ok(caller),
                // Another one may know it, and if none does it is still not known whether this one would.
                Err(later @ Unknown::Later(_)) => nobody = later,
                Err(Unknown::Nobody(reason)) => {
                    if !matches!(nobody, Unknown::Later(_)) {
                        nobody = Unknown::Nobody(format!("{}: {reason}", secured.address));
                    }
                }
            }
        }
        Err(nobody)
    }
}

impl Authenticate for Authenticator {
    fn caller<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Caller, Unknown>> {
        async {
            let found = self.find(peer).await;
            self.metrics.authenticated(found.as_ref().map(|caller| caller.proof));
            found
        }
        .boxed()
    }
}

/// The token after `Bearer `, in just this case, as Istio's agents write it (pkg/security/security.go).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(AUTHORIZATION)
        .iter()
        .filter_map(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .find(|token| !token.is_empty())
}

#[cfg(test)]
mod tests;
