//! Requests and who answers them: an HTTP server that says its version, and a client that asks without a pause.
//!
//! Knows: HTTP/1.1 over loopback. Must not know: what is between the two.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// After a failed request.
const PAUSE: Duration = Duration::from_millis(5);

/// A server that answers every request with its version. Dropping it ends it.
#[derive(Debug)]
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    _task: JoinSet<()>,
}

impl App {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub async fn start(version: &'static str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let answer = service_fn(move |_| async move {
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(version.as_bytes()))))
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                // A client that is gone needs no answer.
                connections.spawn(async move { drop(connection.await) });
            }
        });
        Ok(Self { address, _task: task })
    }
}

/// A client with one connection, which asks again as soon as it has an answer. Dropping it ends it.
#[derive(Debug)]
pub struct Caller {
    tally: Arc<Tally>,
    last: watch::Receiver<Option<Turn>>,
    _task: JoinSet<()>,
}

/// The version that answers, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Turn {
    version: Bytes,
    since: Instant,
}

#[derive(Debug, Default)]
struct Tally {
    answers: AtomicU64,
    failures: AtomicU64,
    turns: AtomicU64,
}

impl Caller {
    /// Asks `host` at that address until it is dropped.
    pub fn start(address: SocketAddr, host: &str) -> Self {
        let tally = Arc::new(Tally::default());
        let (turns, last) = watch::channel(None);
        let mut task = JoinSet::new();
        let (counted, host) = (Arc::clone(&tally), host.to_owned());
        task.spawn(async move {
            loop {
                // Ends with the first request that fails; the next one is over a new connection.
                if ask(address, &host, &counted, &turns).await.is_err() {
                    counted.failures.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        Self { tally, last, _task: task }
    }

    /// Waits until that version answers; says since when it does.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub async fn until(&mut self, version: &str, limit: Duration) -> Result<Instant> {
        let is_it = |turn: &Option<Turn>| turn.as_ref().is_some_and(|turn| turn.version == version);
        let turn = timeout(limit, self.last.wait_for(is_it)).await.map(|turn| turn.map(|turn| turn.clone()));
        let Ok(turn) = turn else {
            bail!("{version} does not answer within {limit:?}; {} requests failed", self.failures());
        };
        Ok(turn.context("the client has ended")?.context("a version answers")?.since)
    }

    /// Answers so far.
    pub fn answers(&self) -> u64 {
        self.tally.answers.load(Ordering::Relaxed)
    }

    /// Requests that had no answer, or another than 200.
    pub fn failures(&self) -> u64 {
        self.tally.failures.load(Ordering::Relaxed)
    }

    /// How often another version answered than the one before it.
    pub fn turns(&self) -> u64 {
        self.tally.turns.load(Ordering::Relaxed)
    }
}

async fn ask(
    address: SocketAddr,
    host: &str,
    tally: &Tally,
    turns: &watch::Sender<Option<Turn>>,
) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    loop {
        let version = answer(&mut sender, host).await?;
        tally.answers.fetch_add(1, Ordering::Relaxed);
        turns.send_if_modified(|last| {
            let is_other = last.as_ref().is_none_or(|last| last.version != version);
            if is_other {
                tally.turns.fetch_add(u64::from(last.is_some()), Ordering::Relaxed);
                *last = Some(Turn { version, since: Instant::now() });
            }
            is_other
        });
    }
}

async fn answer(sender: &mut SendRequest<Empty<Bytes>>, host: &str) -> Result<Bytes> {
    sender.ready().await?;
    let request = Request::get("/").header("host", host).body(Empty::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status != StatusCode::OK {
        bail!("{status}");
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_caller_says_who_answers_since_when_and_what_failed() {
        let app = App::start("v1").await.unwrap();
        let start = Instant::now();
        let mut caller = Caller::start(app.address, "app");
        assert!(caller.until("v1", LIMIT).await.unwrap() >= start);
        assert_eq!((caller.failures(), caller.turns()), (0, 0));
        assert!(caller.answers() > 0);
    }

    #[tokio::test]
    async fn a_request_without_an_answer_is_a_failure() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let caller = Caller::start(listener.local_addr().unwrap(), "app");
        for _ in 0..2 {
            drop(listener.accept().await.unwrap());
        }
        assert!(caller.failures() > 0, "it comes again after a failure");
    }
}
