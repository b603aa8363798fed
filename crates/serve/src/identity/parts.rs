//! Parts.
use futures::future::BoxFuture;
use meltemi_ca::entitlement::Caller;
use meltemi_ca::server::Unknown;
/// Says whose a bearer token is.
pub(crate) trait Tokens: Send + Sync {
    /// Who holds this token.
    fn review<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, Unknown>>;
}
