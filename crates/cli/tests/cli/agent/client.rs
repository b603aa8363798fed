//! A client of the workload: TLS, verified to the mesh's root, and HTTP on one connection.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::{Authority, name_of};
use crate::program::LIMIT;

pub(crate) struct Client {
    stream: TlsStream<TcpStream>,
}

/// The mesh's root, at the test's own time; whatever the name, which is no name of a host.
#[derive(Debug)]
struct Mesh {
    inner: Arc<WebPkiServerVerifier>,
    at: SystemTime,
}

impl ServerCertVerifier for Mesh {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let since = self.at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let at = UnixTime::since_unix_epoch(since);
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp, at) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl Client {
    pub(crate) async fn connect(authority: &Authority, address: SocketAddr) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.root().as_bytes())?)?;
        let inner =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Mesh { inner, at: authority.started }))
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("reviews.shop")?;
        Ok(Self { stream: timeout(LIMIT, connector.connect(name, stream)).await.context("no handshake")?? })
    }

    /// What the workload presented.
    pub(crate) fn certificate(&self) -> Result<Vec<u8>> {
        let certificates = self.stream.get_ref().1.peer_certificates().context("none presented")?;
        Ok(certificates[0].to_vec())
    }

    pub(crate) fn peer_name(&self) -> Result<String> {
        name_of(&self.certificate()?)
    }

    /// Asks, and reads the whole answer; its status.
    pub(crate) async fn get(&mut self, path: &str) -> Result<u16> {
        timeout(LIMIT, self.exchange(path)).await.context("no answer")?
    }

    async fn exchange(&mut self, path: &str) -> Result<u16> {
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: reviews\r\n\r\n").as_bytes()).await?;
        let mut read = Vec::new();
        loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.context("no length")?.trim().parse()?;
                if read.len() >= end + 4 + length {
                    let status = head.split(' ').nth(1).context("no status")?;
                    return Ok(status.parse()?);
                }
            }
            if self.stream.read_buf(&mut read).await? == 0 {
                bail!("closed after {} bytes", read.len());
            }
        }
    }
}
