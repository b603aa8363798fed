//! A server of WebSockets that sends back what it gets, under its version; and a client.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

const LIMIT: Duration = Duration::from_secs(60);

/// The server; it ends with this value.
pub(crate) struct Chat {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Chat {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Chat {
    pub(crate) async fn start(version: &'static str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move { drop(serve(stream, version).await) });
            }
        });
        Ok(Self { address, serving })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

async fn serve(stream: TcpStream, version: &str) -> Result<()> {
    let mut socket = accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            socket.send(Message::text(format!("{version}: {text}"))).await?;
        }
    }
    Ok(())
}

/// An open WebSocket.
pub(crate) struct Open(WebSocketStream<TcpStream>);

/// Opens one to a host, through what listens at that address.
pub(crate) async fn open(address: SocketAddr, host: &str) -> Result<Open> {
    let opening = async {
        let stream = TcpStream::connect(address).await?;
        let (socket, _) = client_async(format!("ws://{host}/chat"), stream).await?;
        anyhow::Ok(Open(socket))
    };
    timeout(LIMIT, opening).await.context("no WebSocket in time")?
}

impl Open {
    /// What comes back for a text.
    pub(crate) async fn say(&mut self, text: &str) -> Result<String> {
        let exchange = async {
            self.0.send(Message::text(text)).await?;
            loop {
                match self.0.next().await.context("the other side ended it")?? {
                    Message::Text(text) => return Ok(text.to_string()),
                    Message::Ping(_) | Message::Pong(_) => {}
                    other => bail!("{other:?}"),
                }
            }
        };
        timeout(LIMIT, exchange).await.context("no answer in time")?
    }
}
