//! Binding addresses, and saying what to do when one is taken; taking connections, and what holds for each that speaks gRPC.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tonic::transport::Server;

use crate::ports::Listener;
use crate::wire::Failure;

/// Binds a listener; port 0 takes a free one, and the log says which.
pub(crate) async fn bind(
    listener: Listener,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |source| Failure::Bind { listener, address, source };
    let socket = open(address).map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    tracing::info!(address = %bound, "{} listens", listener.name());
    Ok((socket, bound))
}

/// How many connections may wait to be taken: all proxies of a mesh come back at once when a replica restarts, and a connection that
/// finds no place is reset. The kernel's own bound (net.core.somaxconn, 4096 by default) caps it.
const BACKLOG: u32 = 4096;

fn open(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As the standard library does: a restart must not wait for the last run's connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// How many requests one connection may have open: a proxy has two, an agent that carries others' some more.
const REQUESTS: u32 = 100;

/// The most that the headers of a request may be; a Kubernetes token has 1.5 kB.
const HEADER_BYTES: u32 = 32 << 10;

/// A connection whose other side is gone is found out: it is asked after so long without a word, and then waited for so long.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));

/// What a client may send on a connection before it is read. More would only be kept: ten thousand proxies that come back at once have
/// some 600 kB each to say. Less costs CPU: with 64 kB, half a millisecond for each of them.
const WINDOW: u32 = 128 << 10;

/// A gRPC server that holds each connection to these bounds.
pub(crate) fn grpc() -> Server {
    Server::builder()
        .max_concurrent_streams(REQUESTS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
}

/// How long a process without free files is given to free some.
const NO_FILES: Duration = Duration::from_millis(100);

/// The next connection, whose small writes do not wait for each other. Cancel safe.
pub(crate) async fn accept(socket: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok((stream, address)) => {
                let _ = stream.set_nodelay(true);
                return (stream, address);
            }
            Err(error) => {
                // Of one connection (it is gone already), or of the process (no files left): the latter wants time.
                tracing::warn!(%error, "a connection cannot be taken");
                tokio::time::sleep(NO_FILES).await;
            }
        }
    }
}
