//! TLS with the certificates of the run, for the harness's own connections.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::keys::Identity;

/// Connects to servers of the run.
#[derive(Clone)]
pub(super) struct Dial {
    connector: TlsConnector,
}

impl Dial {
    /// Trusts the certificate authority of that certificate (PEM), and no other.
    ///
    /// # Errors
    /// When it is no certificate.
    pub(super) fn trusting(authority: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// A connection to the server at `address`, whose certificate must have that address.
    ///
    /// # Errors
    /// When nobody accepts it, or the certificate is not right.
    pub(super) async fn to(&self, address: SocketAddr) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(self.connector.connect(ServerName::from(address.ip()), stream).await?)
    }

    /// The status of a GET of `path`, and its text.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub(super) async fn ask(&self, address: SocketAddr, path: &str, token: &str) -> Result<(u16, String)> {
        let stream = TokioIo::new(self.to(address).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let request = http::Request::get(path)
            .header("host", address.to_string())
            .header("authorization", format!("Bearer {token}"))
            .body(Empty::<Bytes>::new())?;
        let answer = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let text = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
            anyhow::Ok((head.status.as_u16(), text))
        };
        // The connection moves the bytes; it is done when the answer is.
        tokio::pin!(answer, connection);
        tokio::select! {
            answer = &mut answer => answer,
            ended = connection => {
                ended?;
                answer.await.context("the connection ended")
            }
        }
    }
}

/// Accepts connections as the server of that identity.
///
/// # Errors
/// When it is none.
pub(super) fn acceptor(identity: &Identity) -> Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Named, so that it does not matter which others the build happens to have.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
