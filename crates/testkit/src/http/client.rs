//! One request, one answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Connect;

/// How long an answer may take before the request counts as failed; above Envoy's default route timeout of 15 s, so
/// that Envoy's own answer is seen.
const LIMIT: Duration = Duration::from_secs(60);

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// From before the request was sent until the body had come.
    pub took: Duration,
}

impl Request {
    /// A request of any method; `path` may have a query.
    pub fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Bytes::new() }
    }

    /// A GET of `path`, which may have a query.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// One more header; a name may come more than once. Without a `host` the address is used.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The header `host`.
    #[must_use]
    pub fn host(self, host: &str) -> Self {
        self.header("host", host)
    }

    /// The body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it to `address`, on a connection of its own.
    ///
    /// # Errors
    /// When no whole answer comes. An answer of any status is no error.
    pub async fn send(&self, address: SocketAddr) -> Result<Answer> {
        self.send_through(&Connect::default(), address).await
    }

    /// Sends it to `address` from where `connect` makes its sockets.
    ///
    /// # Errors
    /// As [`Request::send`].
    pub async fn send_through(&self, connect: &Connect, address: SocketAddr) -> Result<Answer> {
        timeout(LIMIT, async { Connection::open(connect, address).await?.send(self).await })
            .await
            .with_context(|| format!("no answer from {address} within {LIMIT:?}"))?
    }

    fn build(&self, address: SocketAddr) -> Result<http::Request<Full<Bytes>>> {
        let mut request = http::Request::builder().method(self.method.as_str()).uri(&self.path);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request = request.header("host", address.to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        Ok(request.body(Full::new(self.body.clone()))?)
    }
}

impl Answer {
    /// A header's first value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The version of the [`super::App`] that answered.
    pub fn version(&self) -> Option<&str> {
        self.header("x-app-version")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A kept-alive connection; it closes when dropped.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    address: SocketAddr,
}

impl Connection {
    pub(super) async fn open(connect: &Connect, address: SocketAddr) -> Result<Self> {
        let stream = connect.to(address).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its errors reach the sender too.
        let task = tokio::spawn(async move { connection.await.unwrap_or_default() });
        Ok(Self { sender, task, address })
    }

    /// Whether another request may be sent on it.
    pub(super) async fn is_open(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    pub(super) async fn send(&mut self, request: &Request) -> Result<Answer> {
        let request = request.build(self.address)?;
        let start = Instant::now();
        let answer = timeout(LIMIT, async {
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok((head, body))
        })
        .await
        .with_context(|| format!("no answer from {} within {LIMIT:?}", self.address))??;
        let (head, body) = answer;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, took: start.elapsed() })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
