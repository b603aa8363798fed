//! What is asked of an API server, what is not, and what is known while it is away.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;

/// An API server that lets account `edge` of `shop`, and counts.
#[derive(Default)]
struct Server {
    asked: AtomicUsize,
    is_away: AtomicBool,
    lets_nobody: AtomicBool,
}

fn readers(server: &Arc<Server>) -> Readers {
    let server = Arc::clone(server);
    let ask = move |spec: SubjectAccessReviewSpec| -> BoxFuture<'static, Reviewed> {
        let server = Arc::clone(&server);
        Box::pin(async move {
            server.asked.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            if server.is_away.load(Ordering::SeqCst) {
                return Err("away".to_owned());
            }
            let of = spec.resource_attributes.unwrap_or_default();
            assert_eq!((of.verb.as_deref(), of.resource.as_deref()), (Some("list"), Some("secrets")));
            assert_eq!(of.namespace.as_deref(), Some("shop"), "its own namespace's, and no other's");
            let known = spec.user.as_deref() == Some("system:serviceaccount:shop:edge");
            let lets = known && !server.lets_nobody.load(Ordering::SeqCst);
            Ok(if lets { Ok(()) } else { Err("no".to_owned()) })
        })
    };
    Readers::asking(Box::new(ask), KubeIdentityMetrics::default())
}

fn account(name: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://cluster.local/ns/shop/sa/{name}")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn those_who_come_together_ask_once_and_the_answer_is_good_for_a_while() {
    let server = Arc::new(Server::default());
    let readers = readers(&server);
    let (edge, other) = (account("edge"), account("other"));
    for answer in futures::future::join_all((0..50).map(|_| readers.may(&edge))).await {
        assert_eq!(answer.said, Said::May);
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    assert_eq!(readers.may(&other).await.said, Said::MayNot("no".into()));
    tokio::time::advance(REFUSED).await;
    readers.may(&edge).await;
    assert_eq!(server.asked.load(Ordering::SeqCst), 2, "a yes is good for longer than a no");
    readers.may(&other).await;
    assert_eq!(server.asked.load(Ordering::SeqCst), 3);
    server.lets_nobody.store(true, Ordering::SeqCst);
    tokio::time::advance(ALLOWED).await;
    assert_eq!(readers.may(&edge).await.said, Said::MayNot("no".into()), "a right that was taken back");
}

#[tokio::test(start_paused = true)]
async fn while_the_api_server_is_away_the_last_that_it_said_is_good_and_strangers_are_not_let() {
    let server = Arc::new(Server::default());
    let readers = readers(&server);
    let (edge, other) = (account("edge"), account("other"));
    readers.may(&edge).await;
    server.is_away.store(true, Ordering::SeqCst);
    tokio::time::advance(ALLOWED).await;
    assert_eq!(readers.may(&edge).await.said, Said::May);
    assert_eq!(readers.may(&other).await.said, Said::Unknown("away".into()));
    server.is_away.store(false, Ordering::SeqCst);
    tokio::time::advance(UNKNOWN).await;
    assert_eq!(readers.may(&other).await.said, Said::MayNot("no".into()), "as soon as it says so");
}
