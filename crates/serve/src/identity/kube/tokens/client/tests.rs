//! What is asked of an API server, and what is not, counted.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokio::sync::Notify;

use super::*;

/// An API server that knows the tokens of account `cart`, answers when it is told to, and counts.
#[derive(Default)]
struct Server {
    asked: AtomicUsize,
    go: Notify,
    is_away: std::sync::atomic::AtomicBool,
}

fn reviews(server: &Arc<Server>) -> (Reviews, watch::Sender<Arc<Rules>>) {
    let server = Arc::clone(server);
    let (sender, rules) = watch::channel(Arc::new(Rules::new("cluster.local", [], [])));
    let ask = move |token: Secret<String>| -> BoxFuture<'static, Result<TokenReviewStatus, String>> {
        let server = Arc::clone(&server);
        Box::pin(async move {
            server.asked.fetch_add(1, Ordering::SeqCst);
            server.go.notified().await;
            if server.is_away.load(Ordering::SeqCst) {
                return Err("away".to_owned());
            }
            let known = token.reveal().ends_with("cart");
            let status = json!({
                "authenticated": known, "audiences": ["istio-ca"],
                "user": {"username": "system:serviceaccount:shop:cart", "groups": ["system:serviceaccounts"]}
            });
            serde_json::from_value(status).map_err(|error| error.to_string())
        })
    };
    (Reviews::asking(Box::new(ask), rules, KubeIdentityMetrics::default()), sender)
}

/// A token that says that it is good for so long.
fn token(life: Duration, whose: &str) -> String {
    let exp = (SystemTime::now() + life).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    format!("e30.{}.{whose}", URL_SAFE_NO_PAD.encode(json!({ "exp": exp }).to_string()))
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn those_who_come_together_with_one_token_ask_once_and_so_do_those_who_come_again() {
    let server = Arc::new(Server::default());
    let (reviews, _rules) = reviews(&server);
    let token = token(HOUR, "cart");
    let together = (0..50).map(|_| reviews.review(&token));
    server.go.notify_one();
    for caller in futures::future::join_all(together).await {
        assert_eq!(caller.unwrap().identity.to_string(), "spiffe://cluster.local/ns/shop/sa/cart");
    }
    reviews.review(&token).await.unwrap();
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);

    tokio::time::advance(BELIEVED).await;
    server.go.notify_one();
    reviews.review(&token).await.unwrap();
    assert_eq!(server.asked.load(Ordering::SeqCst), 2, "it is asked again after a while");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_believed_no_longer_than_it_says() {
    let server = Arc::new(Server::default());
    let (reviews, _rules) = reviews(&server);
    let token = token(Duration::from_secs(200), "cart");
    server.go.notify_one();
    reviews.review(&token).await.unwrap();
    tokio::time::advance(Duration::from_secs(140)).await;
    reviews.review(&token).await.unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    server.go.notify_one();
    reviews.review(&token).await.unwrap();
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_believed_for_a_moment_and_trouble_not_at_all() {
    let server = Arc::new(Server::default());
    let (reviews, _rules) = reviews(&server);
    let token = token(HOUR, "nobody");
    server.go.notify_one();
    for _ in 0..2 {
        assert!(matches!(reviews.review(&token).await, Err(Unknown::Nobody(_))));
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    tokio::time::advance(DISBELIEVED).await;
    server.is_away.store(true, Ordering::SeqCst);
    for asked in 2..4 {
        server.go.notify_one();
        assert!(matches!(reviews.review(&token).await, Err(Unknown::Later(_))));
        assert_eq!(server.asked.load(Ordering::SeqCst), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_says_nothing_is_asked_a_few_things_at_a_time_and_given_up() {
    let server = Arc::new(Server::default());
    let (reviews, _rules) = reviews(&server);
    let tokens: Vec<String> = (0..WAITING).map(|number| token(HOUR, &format!("{number}-cart"))).collect();
    let mut waiting: Vec<_> = tokens.iter().map(|token| Box::pin(reviews.review(token))).collect();
    for one in &mut waiting {
        assert!(futures::poll!(one).is_pending());
    }
    let more = token(HOUR, "one-more-cart");
    assert!(matches!(reviews.review(&more).await, Err(Unknown::Later(_))), "it waits for nothing");
    tokio::task::yield_now().await;
    assert_eq!(server.asked.load(Ordering::SeqCst), AT_ONCE);
    // Whoever goes away leaves the question to the others.
    drop(waiting.split_off(1));
    let first = waiting.pop().unwrap().await;
    assert!(matches!(first, Err(Unknown::Later(_))), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_trust_domain_that_changes_counts_at_once_and_what_is_no_token_is_not_asked_about() {
    let server = Arc::new(Server::default());
    let (reviews, rules) = reviews(&server);
    let token = token(HOUR, "cart");
    server.go.notify_one();
    reviews.review(&token).await.unwrap();
    rules.send_replace(Arc::new(Rules::new("other.example", [], [])));
    let caller = reviews.review(&token).await.unwrap();
    assert_eq!(caller.identity.to_string(), "spiffe://other.example/ns/shop/sa/cart");
    assert!(matches!(reviews.review("not.a-token").await, Err(Unknown::Nobody(_))));
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
}
