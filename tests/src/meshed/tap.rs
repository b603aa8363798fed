//! A server that reads how a client begins to speak TLS, and says no more.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use meltemi_testkit::netns::Pod;
use rustls::server::Acceptor;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;

use super::LIMIT;

/// More than a proxy that tries again sends in a test; what comes beyond is not kept.
const KEPT: usize = 64;

/// The server. Dropping it closes its port.
pub struct Tap {
    address: SocketAddr,
    heard: mpsc::Receiver<Hello>,
    task: JoinHandle<()>,
}

/// What a client says before anything is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The name that it asks for (SNI).
    pub name: Option<String>,
    /// The protocols that it offers (ALPN).
    pub protocols: Vec<String>,
}

impl Tap {
    /// Listens in that pod.
    ///
    /// # Errors
    /// When the port is in use.
    pub async fn start(pod: &Pod, port: u16) -> Result<Self> {
        let listener = pod.connector().listen(SocketAddr::new(pod.address().into(), port)).await?;
        let address = listener.local_addr()?;
        let (sender, heard) = mpsc::channel(KEPT);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(hello) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else { continue };
                let hello = hello.client_hello();
                let protocols = hello.alpn().into_iter().flatten();
                let hello = Hello {
                    name: hello.server_name().map(str::to_owned),
                    protocols: protocols.map(|name| String::from_utf8_lossy(name).into_owned()).collect(),
                };
                // A full queue: the test has seen enough.
                drop(sender.try_send(hello));
            }
        });
        Ok(Self { address, heard, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next client.
    ///
    /// # Errors
    /// When none comes in time, or none that speaks TLS.
    pub async fn hello(&mut self) -> Result<Hello> {
        let heard = timeout(LIMIT, self.heard.recv()).await;
        heard.context("nobody began to speak TLS")?.context("the listener has ended")
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}
