//! Where sockets are made: on this machine's network, or in a pod's.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections waiting to be accepted; more than any test opens at once.
const BACKLOG: u32 = 1024;

/// A place to make sockets in. The default is this machine's own network.
#[derive(Clone, Default)]
pub struct Connect {
    #[cfg(target_os = "linux")]
    pod: Option<crate::netns::Namespace>,
}

impl Connect {
    /// Makes sockets in that network namespace.
    #[cfg(target_os = "linux")]
    pub fn inside(namespace: crate::netns::Namespace) -> Self {
        Self { pod: Some(namespace) }
    }

    /// A connection to `address`.
    ///
    /// # Errors
    /// When nobody accepts it.
    pub async fn to(&self, address: SocketAddr) -> Result<TcpStream> {
        let stream = self
            .socket(address)
            .await?
            .connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A listener on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is in use or not of this place.
    pub async fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        let socket = self.socket(address).await?;
        socket.set_reuseaddr(true)?;
        socket.bind(address).with_context(|| format!("binding {address}"))?;
        Ok(socket.listen(BACKLOG)?)
    }

    async fn socket(&self, address: SocketAddr) -> Result<TcpSocket> {
        let make = move || if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        #[cfg(target_os = "linux")]
        if let Some(namespace) = &self.pod {
            return Ok(namespace.within(make).await??);
        }
        Ok(make()?)
    }
}
