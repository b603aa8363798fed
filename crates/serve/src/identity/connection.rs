//! A connection that came through the handshake: its bytes, and who its certificate proved to be on it.
//!
//! Invariant: a [`Certified`] was verified in the handshake of the very connection that it stands beside.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use meltemi_ca::Time;
use meltemi_names::SpiffeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// Who a client certificate names, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certified {
    /// Its one URI name.
    pub(crate) identity: SpiffeId,
    /// Its last second: the connection may live longer, and proves nothing then.
    pub(crate) not_after: Time,
}

/// What the TLS listener knows of a connection; put beside each request on it.
#[derive(Clone, Debug)]
pub(crate) struct Secured {
    /// The other side.
    pub(crate) address: SocketAddr,
    /// None where the client showed no certificate.
    pub(crate) certified: Option<Arc<Certified>>,
}

/// A connection, ready for HTTP/2.
#[derive(Debug)]
pub(crate) struct Accepted<S> {
    pub(crate) stream: S,
    pub(crate) secured: Secured,
}

impl<S> Connected for Accepted<S> {
    type ConnectInfo = Secured;

    fn connect_info(&self) -> Secured {
        self.secured.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Accepted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Accepted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
