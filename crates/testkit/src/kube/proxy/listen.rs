//! The proxy's socket and the connections that were accepted on it, which end with it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::forward::{Upstream, broken};
use crate::http::Connect;
use crate::kube::keys::Identity;
use crate::kube::tls::acceptor;

pub(super) struct Listener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener {
    pub(super) async fn bind(address: SocketAddr, identity: &Identity) -> Result<Self> {
        let listener = Connect::default().listen(address).await?;
        Ok(Self { listener, acceptor: acceptor(identity)? })
    }

    pub(super) fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    pub(super) async fn run(self, upstream: Arc<Upstream>) {
        // Owned here, so that they end when this task does.
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    // One that is gone before it was accepted is nobody's.
                    if let Ok((stream, _)) = accepted {
                        let (acceptor, upstream) = (self.acceptor.clone(), Arc::clone(&upstream));
                        connections.spawn(async move { serve(stream, acceptor, upstream).await.unwrap_or_default() });
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, upstream: Arc<Upstream>) -> Result<()> {
    stream.set_nodelay(true)?;
    upstream.rules().connection().released().await;
    let stream = TokioIo::new(acceptor.accept(stream).await?);
    let service = service_fn(move |request| {
        let upstream = Arc::clone(&upstream);
        async move { upstream.answer(request).await.map_err(broken) }
    });
    Ok(http1::Builder::new().serve_connection(stream, service).await?)
}
