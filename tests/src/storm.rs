//! Workloads that ask for certificates by the thousand, as when a whole mesh starts at once.
//!
//! Knows: Istio's certificate service, the tokens of a state folder. Must not know: how certificates are made.   Start at [`Storm::start`].
//! All ask with one key: what a control plane does for each request is the same, and the machine that a test runs on is left with no more
//! of the workloads' own work than it must do.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rcgen::{CertificateParams, KeyPair};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::kubernetes::{Asker, certificate};

/// By which name a control plane with a state folder is called.
pub const SERVER: &str = "localhost";

/// How the requests come.
#[derive(Clone, Debug)]
pub struct Shape {
    /// TLS connections.
    pub connections: usize,
    /// Requests under way on each.
    pub at_once: usize,
    /// After so many requests it ends by itself; none: when it is told.
    pub requests: Option<u64>,
    /// How whoever asks proves who they are.
    pub proof: Proof,
}

/// A proof, and over which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A token with each request.
    Token,
    /// A token, over a connection that is made for this one request: as each agent of a mesh that starts.
    TokenAnew,
    /// The certificate of the connection, which was got by a token.
    Certificate,
}

/// A storm that is under way. Dropping it ends it.
pub struct Storm {
    answered: watch::Receiver<u64>,
    stop: watch::Sender<bool>,
    work: JoinSet<Result<()>>,
}

impl Storm {
    /// Asks the service at that address, which verifies to those roots (PEM), for certificates for `csr`, by the tokens in turn.
    ///
    /// # Errors
    /// When it cannot connect.
    pub async fn start(
        address: SocketAddr,
        roots: &str,
        tokens: Vec<String>,
        csr: &str,
        shape: &Shape,
    ) -> Result<Self> {
        let (count, answered) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let (tokens, csr): (Arc<[String]>, Arc<str>) = (tokens.into(), csr.into());
        let next = Arc::new(AtomicU64::new(0));
        let last = shape.requests.unwrap_or(u64::MAX);
        let mut work = JoinSet::new();
        for connection in 0..shape.connections {
            let token = tokens.get(connection % tokens.len()).map(String::as_str);
            let own = match shape.proof {
                Proof::Certificate => Some(certificate(address, SERVER, roots, None, token).await?),
                Proof::Token | Proof::TokenAnew => None,
            };
            let asker = Asker::connect(address, SERVER, roots, own.as_ref()).await?;
            for _ in 0..shape.at_once {
                let (mut asker, tokens, csr) = (asker.clone(), Arc::clone(&tokens), Arc::clone(&csr));
                let (next, count, stopped) = (Arc::clone(&next), count.clone(), stopped.clone());
                let (roots, proof) = (roots.to_owned(), shape.proof);
                work.spawn(async move {
                    while !*stopped.borrow() {
                        let turn = next.fetch_add(1, Ordering::Relaxed);
                        if turn >= last {
                            break;
                        }
                        let token =
                            usize::try_from(turn).ok().and_then(|turn| tokens.get(turn % tokens.len()));
                        let token = token.map(String::as_str).filter(|_| proof != Proof::Certificate);
                        if proof == Proof::TokenAnew {
                            asker = Asker::connect(address, SERVER, &roots, None).await?;
                        }
                        let answer = asker.answer(&csr, token).await;
                        answer.with_context(|| format!("request {turn} of the storm"))?;
                        count.send_modify(|count| *count += 1);
                    }
                    Ok(())
                });
            }
        }
        Ok(Self { answered, stop, work })
    }

    /// Waits until so many were answered.
    ///
    /// # Errors
    /// When one was refused, or they are not answered within `limit`.
    pub async fn until(&mut self, answers: u64, limit: Duration) -> Result<()> {
        let mut answered = self.answered.clone();
        let waiting = async {
            loop {
                tokio::select! {
                    enough = answered.wait_for(|answered| *answered >= answers) => {
                        break enough.map(drop).context("the storm has ended");
                    }
                    Some(ended) = self.work.join_next() => ended??,
                }
            }
        };
        let outcome = tokio::time::timeout(limit, waiting).await;
        outcome.unwrap_or_else(|_| {
            Err(anyhow!("{} of {answers} were answered within {limit:?}", *self.answered.borrow()))
        })
    }

    /// Waits until all that it was to ask was answered; how many that were.
    ///
    /// # Errors
    /// When one was refused.
    pub async fn done(mut self) -> Result<u64> {
        while let Some(ended) = self.work.join_next().await {
            ended??;
        }
        Ok(self.answered())
    }

    /// How many were answered.
    pub fn answered(&self) -> u64 {
        *self.answered.borrow()
    }

    /// Asks no more, and waits for the answers that are due; how many there were in all.
    ///
    /// # Errors
    /// When one was refused.
    pub async fn end(self) -> Result<u64> {
        self.stop.send_replace(true);
        self.done().await
    }
}

/// Tokens of so many service accounts of the namespace `shop`, by the key in a state folder.
///
/// # Errors
/// When there is no key.
pub fn tokens(folder: &Path, accounts: usize) -> Result<Vec<String>> {
    (0..accounts)
        .map(|index| {
            let hour = Duration::from_secs(3600);
            let (token, _) = meltemi_serve::identity::mint(folder, "shop", &format!("a{index}"), hour)?;
            Ok(token.reveal().clone())
        })
        .collect()
}

/// A request for a certificate, PEM, with a new P-256 key.
///
/// # Errors
/// When the machine has no random numbers.
pub fn request() -> Result<String> {
    let key = KeyPair::generate()?;
    Ok(CertificateParams::new(vec!["spiffe.example".to_owned()])?.serialize_request(&key)?.pem()?)
}

/// What is pushed meanwhile: a VirtualService that sends so many of a hundred requests to v2 of shop/reviews.
pub fn route(weight: u64) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: shop}}
spec:
  hosts: [reviews]
  http:
  - route:
    - {{destination: {{host: reviews, subset: v1}}, weight: {}}}
    - {{destination: {{host: reviews, subset: v2}}, weight: {weight}}}
",
        100 - weight
    )
}
