//! One request: answered by the proxy itself, or by the API server with what is set for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::sleep;

use super::body::{Body, fed, whole};
use super::rules::{Fault, Rule, Rules};
use super::{answer, lines};
use crate::kube::tls::Dial;

/// The API server behind the proxy, and what is set for requests to it.
pub(super) struct Upstream {
    address: SocketAddr,
    dial: Dial,
    rules: Rules,
}

impl Upstream {
    pub(super) fn new(address: SocketAddr, dial: Dial, rules: Rules) -> Self {
        Self { address, dial, rules }
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What it answers to a GET of `path`, past all faults.
    ///
    /// # Errors
    /// When it does not answer.
    pub(super) async fn get(&self, path: &str, token: &str) -> Result<(u16, String)> {
        self.dial.ask(self.address, path, token).await
    }

    /// The answer to a request. An error breaks the client's connection, as the API server's absence would.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>> {
        let mut rule = self.rules.request(format!("{} {}", request.method(), request.uri().path()));
        let is_watch = is_watch(&request);
        let is_read = *request.method() == Method::GET && !is_watch;
        for fault in rule.faults() {
            match fault {
                Fault::Status(code) => return refusal(code),
                Fault::WatchStatus(code) if is_watch => return refusal(code),
                Fault::WatchGone if is_watch => return Ok(Response::new(whole(answer::gone()))),
                Fault::Answer(body) if is_read => return json(body),
                _ => {}
            }
        }
        let response = self.send(request).await?;
        rule.released().await;
        if is_watch && response.status() == 200 {
            let (head, from) = response.into_parts();
            let (feed, body) = fed();
            let live = self.rules.live(&rule.request);
            tokio::spawn(lines::pass(from, feed, rule, live));
            return Ok(Response::from_parts(head, body));
        }
        let (mut head, body) = response.into_parts();
        let body = changed(body.collect().await?.to_bytes(), &rule).await;
        head.headers.remove(header::TRANSFER_ENCODING);
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        Ok(Response::from_parts(head, whole(body)))
    }

    /// Sends it on, on a connection of its own.
    async fn send(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>> {
        let stream = TokioIo::new(self.dial.to(self.address).await?);
        let (mut sender, connection) = http1::handshake(stream).await?;
        // Its errors reach the answer's body, too; it ends with that.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        // Faults look into bodies.
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        Ok(sender.send_request(request).await?)
    }
}

/// The body of an answer after what is set for it, when its time has come.
async fn changed(mut body: Bytes, rule: &Rule) -> Bytes {
    for fault in rule.faults() {
        match fault {
            // The delay is the fault itself.
            Fault::Delay(duration) => sleep(duration).await,
            Fault::Garble(name) => body = answer::garbled_list(&body, &name),
            _ => {}
        }
    }
    body
}

fn is_watch(request: &Request<Incoming>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

fn refusal(code: u16) -> Result<Response<Body>> {
    let mut response = json(answer::status(code).to_string())?;
    *response.status_mut() = http::StatusCode::from_u16(code)?;
    if code == 429 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

fn json(body: impl Into<Bytes>) -> Result<Response<Body>> {
    Ok(Response::builder().header(header::CONTENT_TYPE, "application/json").body(whole(body))?)
}

/// For hyper, which wants an error that is one.
pub(super) fn broken(error: anyhow::Error) -> io::Error {
    io::Error::other(error)
}
