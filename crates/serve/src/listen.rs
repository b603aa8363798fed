//! Binding addresses, and saying what to do when one is taken.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::ports::Listener;
use crate::wire::Failure;

/// Binds a listener; port 0 takes a free one, and the log says which.
pub(crate) async fn bind(
    listener: Listener,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |source| Failure::Bind { listener, address, source };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let bound = socket.local_addr().map_err(failed)?;
    tracing::info!(address = %bound, "{} listens", listener.name());
    Ok((socket, bound))
}
