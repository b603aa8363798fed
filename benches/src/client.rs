//! The wire of one sidecar: a connection (its own, as Envoy's is, or a shared one), a stream, requests and answers.
//!
//! Knows: TCP, HTTP/2, gRPC. Must not know: what Envoy asks.
//! A sidecar with a connection of its own is one task, which drives the connection too: its acknowledgement is at the
//! socket when the meter hears of it, and nothing else has to be woken.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context as Task, Poll, ready};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::sync::OwnedSemaphorePermit;

use crate::frames::{Frames, HEAD};
use crate::meter::Meter;
use crate::sidecar::Brought;
use crate::simulated::Simulated;
use crate::tls::Tls;

/// Envoy's defaults (Http2ProtocolOptions: initial_stream_window_size, initial_connection_window_size).
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 24 << 20;

/// Connections from one loopback address: below the kernel's 28,000 ports for outgoing connections.
const PORTS: usize = 20_000;

/// The driving end of a connection.
pub(crate) type Wire = Connection<Box<dyn Bytewise>, Bytes>;

/// What HTTP/2 is spoken over: TCP, or TLS over it.
pub(crate) trait Bytewise: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytewise for T {}

/// Opens connection number `index` to the server.
///
/// # Errors
/// When nobody listens there, or this process has no file descriptors or ports left.
pub(crate) async fn connect(
    address: SocketAddr,
    index: usize,
    tls: Option<&Tls>,
) -> Result<(SendRequest<Bytes>, Wire)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) && index >= PORTS {
        // All of 127.0.0.0/8 is loopback, and each address has ports of its own.
        let block = u8::try_from(index / PORTS).context("too many connections for one machine")?;
        socket.bind(SocketAddr::from(([127, 0, 1, block], 0)))?;
    }
    let stream = socket.connect(address).await.with_context(|| {
        format!(
            "connection {index} to {address} (files or ports may be used up: `ulimit -n` must exceed the connections, \
             and after a run the ports of its connections rest for a minute)"
        )
    })?;
    stream.set_nodelay(true)?;
    let stream: Box<dyn Bytewise> = match tls {
        Some(tls) => Box::new(tls.connect(stream).await?),
        None => Box::new(stream),
    };
    let handshake = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .enable_push(false)
        .handshake(stream)
        .await;
    handshake.with_context(|| format!("{address} speaks no HTTP/2"))
}

/// A live stream.
pub(crate) struct Session<'a> {
    sidecar: &'a mut Simulated,
    meter: &'a Meter,
    index: usize,
    /// The connection, if it is this stream's alone.
    wire: Option<Wire>,
    requests: SendStream<Bytes>,
    answers: Answers,
    frames: Frames,
    /// An answer whose acknowledgement is on its way to the socket.
    unrecorded: Option<(Brought, usize)>,
    is_settled: bool,
    /// The turn to open, given back when the server has taken the stream.
    turn: Option<OwnedSemaphorePermit>,
}

enum Answers {
    Head(ResponseFuture),
    Body { body: RecvStream, has_ended: bool },
}

impl<'a> Session<'a> {
    /// Opens the stream over `sender`, whose connection `wire` drives if it is given.
    pub(crate) async fn open(
        sidecar: &'a mut Simulated,
        meter: &'a Meter,
        index: usize,
        address: SocketAddr,
        (sender, wire): (SendRequest<Bytes>, Option<Wire>),
        turn: OwnedSemaphorePermit,
        token: Option<&str>,
    ) -> Result<Self> {
        let mut wire = wire;
        let mut ready = sender.ready();
        let mut sender = poll_fn(|cx| {
            if let Some(wire) = &mut wire
                && Pin::new(wire).poll(cx).is_ready()
            {
                return Poll::Ready(Err(anyhow!("{address} closed the connection at once")));
            }
            Pin::new(&mut ready).poll(cx).map_err(anyhow::Error::from)
        })
        .await?;
        let mut request = Request::post(format!("http://{address}{}", sidecar.form().path()))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (response, requests) = sender.send_request(request.body(())?, false)?;
        let first = sidecar.open().freeze();
        let mut session = Self {
            sidecar,
            meter,
            index,
            wire,
            requests,
            answers: Answers::Head(response),
            frames: Frames::default(),
            unrecorded: None,
            is_settled: false,
            turn: Some(turn),
        };
        session.requests.send_data(first, false)?;
        Ok(session)
    }

    /// Takes answers until the stream ends, which is an error in any case.
    ///
    /// Dropping it resets the stream, and closes the connection if it is its own.
    pub(crate) async fn run(&mut self) -> anyhow::Error {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Task<'_>) -> Poll<anyhow::Error> {
        loop {
            if let Some(wire) = &mut self.wire
                && let Poll::Ready(end) = Pin::new(wire).poll(cx)
            {
                return Poll::Ready(match end {
                    Ok(()) => anyhow!("the server closed the connection"),
                    Err(error) => anyhow!(error).context("the connection broke"),
                });
            }
            if let Some((brought, bytes)) = self.unrecorded.take() {
                self.meter.record(self.index, &brought, bytes);
                if !self.is_settled && self.sidecar.is_settled() {
                    self.is_settled = true;
                    self.meter.settle();
                }
            }
            match self.frames.message() {
                Ok(Some(message)) => {
                    if let Err(error) = self.answer(message) {
                        return Poll::Ready(error);
                    }
                    continue;
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(error),
            }
            if let Err(error) = ready!(self.poll_bytes(cx)) {
                return Poll::Ready(error);
            }
        }
    }

    /// Takes more bytes from the stream, or the reason why there are none.
    fn poll_bytes(&mut self, cx: &mut Task<'_>) -> Poll<Result<()>> {
        match &mut self.answers {
            Answers::Head(response) => {
                let response = ready!(Pin::new(response).poll(cx)).context("the stream broke")?;
                self.answers = Answers::Body { body: head(response)?, has_ended: false };
                self.turn = None;
            }
            Answers::Body { body, has_ended: false } => match ready!(body.poll_data(cx)) {
                Some(chunk) => {
                    let chunk = chunk.context("the stream broke")?;
                    body.flow_control().release_capacity(chunk.len())?;
                    self.frames.push(chunk);
                }
                None => self.answers.end(),
            },
            Answers::Body { body, has_ended: true } => {
                let trailers = ready!(body.poll_trailers(cx)).context("the stream broke")?;
                return Poll::Ready(Err(status(&trailers.unwrap_or_default())));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn answer(&mut self, message: Bytes) -> Result<()> {
        let bytes = HEAD + message.len();
        let (requests, brought) = self.sidecar.take(message)?;
        if !requests.is_empty() {
            self.requests.send_data(requests.freeze(), false)?;
        }
        self.unrecorded = Some((brought, bytes));
        Ok(())
    }
}

impl Answers {
    fn end(&mut self) {
        if let Self::Body { has_ended, .. } = self {
            *has_ended = true;
        }
    }
}

/// The body of an answer that is one.
fn head(response: Response<RecvStream>) -> Result<RecvStream> {
    let (parts, body) = response.into_parts();
    if parts.status != StatusCode::OK {
        bail!("the server answered {}", parts.status);
    }
    if parts.headers.contains_key("grpc-status") {
        return Err(status(&parts.headers));
    }
    Ok(body)
}

/// With what the server ended the stream.
fn status(headers: &HeaderMap) -> anyhow::Error {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (code, message) = (text("grpc-status"), text("grpc-message"));
    anyhow!("the server ended the stream with gRPC status `{code}` {message}")
}
