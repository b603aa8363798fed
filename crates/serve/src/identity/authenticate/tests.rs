//! The order of proofs, and what is said where nothing can be told.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::Extensions;
use meltemi_ca::Time;
use prometheus_client::registry::Registry;

use super::*;
use crate::identity::clock::Wall;
use crate::identity::connection::Certified;

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

/// Knows one token, and one that it cannot tell now.
struct Knows(&'static str);

impl Tokens for Knows {
    fn review<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, Unknown>> {
        let answer = match token {
            "later" if self.0 == "first" => Err(Unknown::Later("away".to_owned())),
            token if token == self.0 => Ok(Caller {
                identity: id(&format!("spiffe://cluster.local/ns/shop/sa/{token}")),
                proof: Proof::FileToken,
                pod: None,
            }),
            _ => Err(Unknown::Nobody("none of mine".to_owned())),
        };
        std::future::ready(answer).boxed()
    }
}

fn authenticator() -> Authenticator {
    let domains = watch::channel(Arc::new(Rules::new("cluster.local", ["old.example".to_owned()], []))).1;
    let tokens: Vec<Arc<dyn Tokens>> = vec![Arc::new(Knows("first")), Arc::new(Knows("second"))];
    Authenticator::new(tokens, domains, Arc::new(Wall), IdentityMetrics::new(&mut Registry::default()))
}

/// A connection with a certificate that ends at `ends` from now on, and a token.
fn peer(certificate: Option<(&str, i64)>, token: Option<&str>) -> Peer {
    let now = Wall.now();
    let certified = certificate.map(|(name, ends)| {
        let span = Duration::from_secs(ends.unsigned_abs());
        let not_after: Time = if ends < 0 { now.before(span) } else { now.after(span) };
        Arc::new(Certified { identity: id(name), not_after })
    });
    let mut extensions = Extensions::new();
    extensions.insert(Secured { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), certified });
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    }
    Peer { headers, extensions }
}

const SHOP: &str = "spiffe://cluster.local/ns/shop/sa/reviews";

async fn found(peer: Peer) -> Result<String, Unknown> {
    authenticator().identity(&peer).await.map(|id| id.to_string())
}

#[tokio::test]
async fn a_certificate_counts_before_a_token_as_long_as_it_lives() {
    assert_eq!(found(peer(Some((SHOP, 3600)), Some("second"))).await, Ok(SHOP.to_owned()));
    let second = "spiffe://cluster.local/ns/shop/sa/second".to_owned();
    assert_eq!(found(peer(Some((SHOP, -10)), Some("second"))).await, Ok(second.clone()));
    assert_eq!(found(peer(None, Some("second"))).await, Ok(second), "the second reviewer is asked as well");
    assert!(matches!(found(peer(Some((SHOP, -10)), None)).await, Err(Unknown::Nobody(_))));
}

#[tokio::test]
async fn who_cannot_be_told_now_is_to_ask_again_and_not_nobody() {
    assert_eq!(found(peer(None, Some("later"))).await, Err(Unknown::Later("away".to_owned())));
    assert!(matches!(found(peer(None, Some("third"))).await, Err(Unknown::Nobody(_))));
    assert!(matches!(found(peer(None, None)).await, Err(Unknown::Nobody(_))));
}

#[tokio::test]
async fn an_alias_is_the_mesh_s_own_name_and_another_domain_is_nobody() {
    let old = "spiffe://old.example/ns/shop/sa/reviews";
    assert_eq!(found(peer(Some((old, 3600)), None)).await, Ok(SHOP.to_owned()));
    let foreign = "spiffe://other.example/ns/shop/sa/reviews";
    assert!(matches!(found(peer(Some((foreign, 3600)), None)).await, Err(Unknown::Nobody(_))));
}

#[tokio::test]
async fn without_tls_nobody_is_anybody() {
    let mut plain = peer(Some((SHOP, 3600)), Some("second"));
    plain.extensions.clear();
    assert!(matches!(found(plain).await, Err(Unknown::Nobody(_))));
}
