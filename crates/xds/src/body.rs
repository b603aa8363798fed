//! The response body of one stream: polled when the socket has room, it takes what came in, then asks the machine.
//!
//! Knows: gRPC's framing, tonic's request stream. Must not know: what the machine decides.
//! Invariant: nothing is computed before the one before it was taken, so there is no queue, and no task of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use futures::future::BoxFuture;
use http::HeaderMap;
use http_body::Frame;
use meltemi_catalog::{Generation, View};
use tokio::sync::watch;
use tokio::time::Sleep;
use tokio_stream::wrappers::WatchStream;
use tonic::{Code, Status};

use crate::admission::{Admission, Permit};
use crate::limits::Limits;
use crate::machine::{Close, CloseCode, Next};
use crate::metrics::{Ended, Metrics};
use crate::peer::{Connection, Directory, Peer, StreamHandle, Watcher};
use crate::request::{Names, Request, Subject};
use crate::response::Response;

/// The requests of a stream, decoded and bounded.
pub(crate) type Requests = Pin<Box<dyn Stream<Item = Result<Request, Status>> + Send>>;

/// Requests taken in one go before the machine is asked: a client that never pauses must not keep its own answers waiting.
const REQUESTS_AT_ONCE: usize = 64;

/// Segments below this are copied together into chunks of [`CHUNK`]; larger ones are sent by pointer. Each chunk is an HTTP/2
/// frame, and 3,000 frames of 100 bytes cost more than copying 300 kB.
const COPIED: usize = 4 << 10;
const CHUNK: usize = 16 << 10;

/// What the server shares with each of its streams.
pub(crate) struct Shared {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) admission: Admission,
    pub(crate) introductions: Admission,
    pub(crate) metrics: Metrics,
    pub(crate) drain: watch::Receiver<bool>,
}

/// One stream.
pub(crate) struct StreamBody {
    shared: Arc<Shared>,
    requests: Requests,
    handle: Arc<StreamHandle>,
    drain: WatchStream<bool>,
    state: State,
    outgoing: Option<Outgoing>,
    ended: Option<Ended>,
}

enum State {
    /// Before the client has introduced itself.
    Introduction(Option<Peer>),
    /// The directory looks it up.
    Lookup {
        connection: BoxFuture<'static, Result<Connection, Status>>,
        first: Option<Request>,
    },
    Live(Live),
    /// Only the trailers are missing.
    Ending(Status),
    Done,
}

/// A stream that is served.
struct Live {
    views: watch::Receiver<View>,
    changes: WatchStream<View>,
    watcher: Box<dyn Watcher>,
    watermark: Generation,
    wait: Option<(Instant, Pin<Box<Sleep>>)>,
    age: Option<Pin<Box<Sleep>>>,
    turn: Option<BoxFuture<'static, Option<Permit>>>,
    permit: Option<Permit>,
}

/// A response on its way out.
struct Outgoing {
    prefix: Option<[u8; 5]>,
    /// Whole until the end, since streams of the same layers share what it keeps alive.
    response: Response,
    next: usize,
    /// Given back when the last byte was taken.
    _permit: Option<Permit>,
}

impl Outgoing {
    fn new(response: Response, permit: Option<Permit>) -> Self {
        // Not compressed (0), then the length; a response is bounded far below 4 GiB.
        let len = u32::try_from(response.len()).unwrap_or(u32::MAX).to_be_bytes();
        let prefix = Some([0, len[0], len[1], len[2], len[3]]);
        Self { prefix, response, next: 0, _permit: permit }
    }

    fn chunk(&mut self) -> Option<Bytes> {
        let mut copied = BytesMut::new();
        if let Some(prefix) = self.prefix.take() {
            copied.put_slice(&prefix);
        }
        while let Some(next) = self.response.segments().get(self.next) {
            if next.len() >= COPIED {
                if copied.is_empty() {
                    self.next += 1;
                    return Some(next.clone());
                }
                break;
            }
            if copied.len() + next.len() > CHUNK {
                break;
            }
            copied.extend_from_slice(next);
            self.next += 1;
        }
        (!copied.is_empty()).then(|| copied.freeze())
    }
}

impl StreamBody {
    pub(crate) fn new(
        shared: Arc<Shared>,
        requests: Requests,
        handle: Arc<StreamHandle>,
        peer: Peer,
    ) -> Self {
        shared.metrics.opened(handle.form());
        let drain = WatchStream::new(shared.drain.clone());
        Self {
            shared,
            requests,
            handle,
            drain,
            state: State::Introduction(Some(peer)),
            outgoing: None,
            ended: None,
        }
    }

    /// The next thing to do; `Ready` with a response, or with the reason to end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response, (Ended, Status)>> {
        while let Poll::Ready(Some(drain)) = Pin::new(&mut self.drain).poll_next(cx) {
            if drain {
                return Poll::Ready(Err((Ended::Drained, Status::ok("this replica drains"))));
            }
        }
        loop {
            match &mut self.state {
                State::Introduction(peer) => {
                    let request = match self.requests.as_mut().poll_next(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(None) => return Poll::Ready(Err((Ended::Client, Status::ok("")))),
                        Poll::Ready(Some(Err(status))) => return Poll::Ready(Err(invalid(status))),
                        Poll::Ready(Some(Ok(request))) => request,
                    };
                    // Istio's agent may open with a health report; the first request is the one after.
                    if request.subject == Subject::Health {
                        continue;
                    }
                    let mut request = request;
                    let Some(node) = request.node.take().filter(|node| !node.id.is_empty()) else {
                        let status = Status::invalid_argument("missing node information");
                        return Poll::Ready(Err((Ended::Invalid, status)));
                    };
                    let Some(peer) = peer.take() else {
                        return Poll::Ready(Err((Ended::Client, Status::ok(""))));
                    };
                    tracing::info!(stream = self.handle.id(), proxy = %node.id, form = peer.form.as_str(), "connected");
                    // The machine keeps the ID only; the rest is the directory's.
                    let id = meltemi_proto::envoy::config::core::v3::Node {
                        id: node.id.clone(),
                        ..Default::default()
                    };
                    request.node = Some(Box::new(id));
                    let connection = self.shared.directory.connect(*node, peer, Arc::clone(&self.handle));
                    self.state = State::Lookup { connection, first: Some(request) };
                }
                State::Lookup { connection, first } => {
                    let connection = match connection.as_mut().poll(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(status)) => return Poll::Ready(Err((Ended::Refused, status))),
                        Poll::Ready(Ok(connection)) => connection,
                    };
                    self.handle.serve_from(connection.views.clone());
                    let mut live = Live::new(connection);
                    if let Some(first) = first.take() {
                        live.take_request(&self.handle, first)?;
                    }
                    self.state = State::Live(live);
                }
                State::Live(live) => {
                    return live.poll_next(cx, &mut self.requests, &self.handle, &self.shared);
                }
                State::Ending(_) | State::Done => {
                    return Poll::Ready(Err((Ended::Client, Status::ok(""))));
                }
            }
        }
    }
}

impl Live {
    fn new(connection: Connection) -> Self {
        let Connection { views, watcher, max_age } = connection;
        Self {
            changes: WatchStream::from_changes(views.clone()),
            views,
            watcher,
            watermark: Generation(0),
            wait: None,
            age: max_age.map(|age| Box::pin(tokio::time::sleep(age))),
            turn: None,
            permit: None,
        }
    }

    fn take_request(&mut self, handle: &StreamHandle, request: Request) -> Result<(), (Ended, Status)> {
        if let Some(type_url) = request.subject.type_url()
            && !self.watcher.may_ask(type_url)
        {
            let message = format!("{type_url} is only for clients that are authenticated");
            return Err((Ended::Refused, Status::permission_denied(message)));
        }
        let page = match (&request.subject, &request.names) {
            (Subject::Unknown(type_url), names)
                if handle.with(|machine| machine.answers_anew(type_url, &request.nonce)) =>
            {
                let (Names::Sotw(names) | Names::Delta { subscribe: names, .. }) = names;
                let names: Vec<String> = names.iter().map(str::to_owned).collect();
                let page = self.watcher.page(type_url, &names).transpose();
                let page = page.map_err(|status| (Ended::Refused, status))?;
                page.map(|page| (type_url.clone(), page))
            }
            _ => None,
        };
        let view = self.views.borrow().clone();
        let (result, refusals) = handle.with(|machine| {
            let result = machine.receive(request, &view, now());
            if let Some((type_url, page)) = page {
                machine.give(&type_url, page);
            }
            (result, machine.take_refusals())
        });
        for refusal in &refusals {
            tracing::warn!(
                stream = handle.id(),
                r#type = refusal.type_url.short(),
                resource = refusal.resources.first().map(|(name, _)| name.as_str()),
                count = refusal.count,
                alone = refusal.alone,
                "refused by the proxy: {}",
                refusal.message
            );
            self.watcher.refused(refusal);
        }
        result.map_err(closed)
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        requests: &mut Requests,
        handle: &StreamHandle,
        shared: &Shared,
    ) -> Poll<Result<Response, (Ended, Status)>> {
        if let Some(age) = &mut self.age
            && age.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err((Ended::Aged, Status::ok("old enough; another replica may have room"))));
        }
        let mut taken = 0;
        let mut heard = 0;
        loop {
            // Requests before pushes: an answer may allow what would else wait.
            while taken < REQUESTS_AT_ONCE {
                match requests.as_mut().poll_next(cx) {
                    Poll::Pending => break,
                    Poll::Ready(None) => return Poll::Ready(Err((Ended::Client, Status::ok("")))),
                    Poll::Ready(Some(Err(status))) => return Poll::Ready(Err(invalid(status))),
                    Poll::Ready(Some(Ok(request))) => self.take_request(handle, request)?,
                }
                taken += 1;
            }
            // Only the latest view counts; it is read below.
            while let Poll::Ready(Some(_)) = Pin::new(&mut self.changes).poll_next(cx) {}
            if let Some(turn) = &mut self.turn
                && let Poll::Ready(permit) = turn.as_mut().poll(cx)
            {
                self.turn = None;
                self.permit = permit;
                handle.with(|machine| machine.admit());
            }
            let view = self.views.borrow().clone();
            let (next, watermark, tally) = handle
                .with(|machine| (machine.next(&view, now()), machine.watermark(), machine.take_tally()));
            drop(view);
            shared.metrics.add(&tally);
            if watermark > self.watermark {
                self.watermark = watermark;
                self.watcher.progressed(watermark);
            }
            if taken > heard || matches!(next, Ok(Next::Idle { .. })) {
                heard = taken;
                self.watcher.moved();
            }
            match next.map_err(closed)? {
                Next::Send(response) => return Poll::Ready(Ok(response)),
                Next::Admit { bytes, has_begun } => {
                    if self.turn.is_some() {
                        return self.pause(cx, taken);
                    }
                    self.turn = Some(shared.admission.acquire(bytes, has_begun));
                }
                Next::Idle { until } => {
                    if !self.wait_over(cx, until) {
                        return self.pause(cx, taken);
                    }
                }
            }
        }
    }

    /// Nothing to do now; if requests were left lying only for fairness, not for long.
    fn pause<T>(&self, cx: &Context<'_>, taken: usize) -> Poll<T> {
        if taken >= REQUESTS_AT_ONCE {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Sets the clock to `until`; true if that is past already.
    fn wait_over(&mut self, cx: &mut Context<'_>, until: Option<Instant>) -> bool {
        let Some(until) = until else {
            self.wait = None;
            return false;
        };
        if self.wait.as_ref().is_none_or(|(set, _)| *set != until) {
            let sleep = tokio::time::sleep_until(tokio::time::Instant::from_std(until));
            self.wait = Some((until, Box::pin(sleep)));
        }
        let over = self.wait.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready());
        if over {
            self.wait = None;
        }
        over
    }
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if let Some(outgoing) = &mut this.outgoing {
                if let Some(chunk) = outgoing.chunk() {
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                this.outgoing = None;
            }
            match &this.state {
                State::Done => return Poll::Ready(None),
                State::Ending(status) => {
                    let mut trailers = HeaderMap::new();
                    // Only a message that is no header value can fail; then the code alone is said.
                    if status.add_header(&mut trailers).is_err() {
                        let _ = Status::new(status.code(), "").add_header(&mut trailers);
                    }
                    this.state = State::Done;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                State::Introduction(_) | State::Lookup { .. } | State::Live(_) => {}
            }
            match this.poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(response)) => {
                    tracing::debug!(
                        stream = this.handle.id(),
                        r#type = response.type_url.map(|type_url| type_url.short()),
                        nonce = response.nonce,
                        resources = response.resources,
                        removed = response.removed,
                        bytes = response.len(),
                        "sent"
                    );
                    let permit = match &mut this.state {
                        State::Live(live) if response.first => live.permit.take(),
                        _ => None,
                    };
                    this.outgoing = Some(Outgoing::new(response, permit));
                }
                Poll::Ready(Err((reason, status))) => {
                    if let State::Live(live) = &mut this.state {
                        live.watcher.ended(reason);
                    }
                    this.ended = Some(reason);
                    if status.code() == Code::Ok {
                        tracing::info!(stream = this.handle.id(), reason = ?reason, "ended");
                    } else {
                        tracing::warn!(stream = this.handle.id(), reason = ?reason, code = ?status.code(), "ended: {}", status.message());
                    }
                    this.state = State::Ending(status);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let tally = self.handle.with(|machine| machine.take_tally());
        self.shared.metrics.add(&tally);
        if self.ended.is_none() {
            tracing::info!(stream = self.handle.id(), "connection lost");
        }
        self.shared.metrics.ended(self.handle.form(), self.ended.unwrap_or(Ended::Client));
    }
}

/// Time as the runtime tells it, so that tests may own it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn closed(close: Close) -> (Ended, Status) {
    let code = match close.code {
        CloseCode::InvalidArgument => Code::InvalidArgument,
        CloseCode::ResourceExhausted => Code::ResourceExhausted,
        CloseCode::Unavailable => Code::Unavailable,
    };
    (close.code.into(), Status::new(code, close.message))
}

/// A request that could not be taken: said back to the client; a broken connection reads the same and hears nothing.
fn invalid(status: Status) -> (Ended, Status) {
    let reason = match status.code() {
        Code::InvalidArgument | Code::Internal => Ended::Invalid,
        Code::ResourceExhausted | Code::OutOfRange => Ended::Exhausted,
        _ => Ended::Client,
    };
    (reason, status)
}
