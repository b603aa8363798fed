//! The app behind the mesh: answers who it is and what it was asked, and can be slow or fail as told.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::Connect;

/// Requests kept for the test to look at; the count goes on.
const KEPT: usize = 10_000;

/// How an [`App`] is to be.
pub struct AppBuilder {
    name: String,
    version: String,
    connect: Connect,
    address: SocketAddr,
}

/// An HTTP/1.1 and h2c server in this process. Dropping it closes its port and its connections.
///
/// It answers 200 with its name and version in the headers `x-app-name` and `x-app-version`, and a JSON body with both
/// and the request's `method`, `path` (with query), `host`, `headers` (several of one name joined by `, `) and `body`.
/// A request asks for another status with the header `x-app-status`, and for a delay with `x-app-delay-ms`.
pub struct App {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

/// A request as the app saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// The header `host`, or HTTP/2's authority.
    pub host: String,
    /// The other headers by lower-case name; several of one name joined by `, `.
    pub headers: BTreeMap<String, String>,
}

struct State {
    name: String,
    version: String,
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    total: watch::Sender<u64>,
    held: watch::Sender<bool>,
}

#[derive(Default)]
struct Behaviour {
    delay: Duration,
    status: Option<u16>,
    failing_next: Option<(u64, u16)>,
}

impl AppBuilder {
    /// In a pod's network, at its address.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn inside(mut self, pod: &crate::netns::Pod) -> Self {
        self.connect = pod.connector();
        self.address.set_ip(pod.address().into());
        self
    }

    /// At this address instead of a free port of 127.0.0.1.
    #[must_use]
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// On this port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.address.set_port(port);
        self
    }

    /// Starts it; when this returns, it accepts connections.
    ///
    /// # Errors
    /// When the port is in use.
    pub async fn start(self) -> Result<App> {
        let listener = self.connect.listen(self.address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            name: self.name,
            version: self.version,
            behaviour: Mutex::default(),
            seen: Mutex::default(),
            total: watch::Sender::new(0),
            held: watch::Sender::new(false),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(App { address, state, task })
    }
}

impl App {
    /// An app to be placed and started.
    pub fn builder(name: &str, version: &str) -> AppBuilder {
        AppBuilder {
            name: name.to_owned(),
            version: version.to_owned(),
            connect: Connect::default(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }

    /// An app on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(name: &str, version: &str) -> Result<Self> {
        Self::builder(name, version).start().await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on each answer takes this much longer.
    pub fn delay(&self, delay: Duration) {
        lock(&self.state.behaviour).delay = delay;
    }

    /// From now on no request is answered until [`App::release`].
    pub fn hold(&self) {
        self.state.held.send_replace(true);
    }

    /// Answers what was held, and goes on.
    pub fn release(&self) {
        self.state.held.send_replace(false);
    }

    /// From now on each answer has this status; `None` is 200 again.
    pub fn answer_with(&self, status: Option<u16>) {
        lock(&self.state.behaviour).status = status;
    }

    /// The next `count` answers have this status.
    pub fn fail_next(&self, count: u64, status: u16) {
        lock(&self.state.behaviour).failing_next = Some((count, status));
    }

    /// Requests so far.
    pub fn total(&self) -> u64 {
        *self.state.total.borrow()
    }

    /// The first ten thousand requests since the start or the last [`App::forget`].
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    /// How many of [`App::seen`] are such.
    pub fn count(&self, is_such: impl Fn(&Seen) -> bool) -> usize {
        lock(&self.state.seen).iter().filter(|seen| is_such(seen)).count()
    }

    /// Forgets the requests so far, and starts to count anew.
    pub fn forget(&self) {
        lock(&self.state.seen).clear();
        self.state.total.send_replace(0);
    }

    /// Waits until there were `count` requests: for those whose sender does not wait, as of a mirror.
    ///
    /// # Errors
    /// When there were fewer after `limit`.
    pub async fn wait_for(&self, count: u64, limit: Duration) -> Result<()> {
        let mut total = self.state.total.subscribe();
        let reached = timeout(limit, total.wait_for(|total| *total >= count)).await;
        reached
            .with_context(|| {
                format!(
                    "{} {} had {} requests after {limit:?}, not {count}",
                    self.state.name,
                    self.state.version,
                    self.total()
                )
            })?
            .map(drop)
            .context("the app has ended")
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A connection that is gone before it is accepted is the client's affair.
                let Ok((stream, _)) = accepted else { continue };
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    let io = TokioIo::new(stream);
                    // A client that goes away is no fault of the app.
                    drop(auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(io, service).await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(
    state: Arc<State>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let seen = Seen::of(&head);
    let number = |name: &str| seen.headers.get(name).and_then(|value| value.parse::<u16>().ok());
    let (status, delay) = {
        let mut behaviour = lock(&state.behaviour);
        let failing = match &mut behaviour.failing_next {
            Some((left, status)) if *left > 0 => {
                *left -= 1;
                Some(*status)
            }
            _ => None,
        };
        let asked_delay = number("x-app-delay-ms").map(|delay| Duration::from_millis(delay.into()));
        (
            number("x-app-status").or(failing).or(behaviour.status).unwrap_or(200),
            asked_delay.unwrap_or(behaviour.delay),
        )
    };
    let text = serde_json::json!({
        "app": state.name,
        "version": state.version,
        "method": seen.method,
        "path": seen.path,
        "host": seen.host,
        "headers": seen.headers,
        "body": String::from_utf8_lossy(&body),
    });
    {
        let mut kept = lock(&state.seen);
        if kept.len() < KEPT {
            kept.push(seen);
        }
    }
    state.total.send_modify(|total| *total += 1);
    // The sender lives as long as this state.
    let _ = state.held.subscribe().wait_for(|held| !held).await;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await; // The simulated work of the app.
    }
    let mut response = http::Response::new(Full::new(Bytes::from(text.to_string())));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    for (name, value) in [("x-app-name", &state.name), ("x-app-version", &state.version)] {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

impl Seen {
    fn of(head: &http::request::Parts) -> Self {
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|values| *values = format!("{values}, {value}"))
                .or_insert_with(|| value.into_owned());
        }
        let host = headers.remove("host");
        let authority = head.uri.authority().map(ToString::to_string);
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        Self {
            method: head.method.to_string(),
            path: path.to_owned(),
            host: host.or(authority).unwrap_or_default(),
            headers,
        }
    }
}

/// What a panicking test left is as good as what it found.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
