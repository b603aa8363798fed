//! Binding addresses, and saying what to do when one is taken.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

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
