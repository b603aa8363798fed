//! A TLS client that shows what a test tells it to, takes whatever it is shown, and says what came of it.
//!
//! Its own verifier trusts everybody, so that a test sees the certificate of a server that it is going to judge itself.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use meltemi_testkit::http::Connect;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::LIMIT;
use super::verify::chain;
use crate::identity::Holder;

/// HTTP/2's preface and an empty SETTINGS frame: what a gRPC client says first.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The client.
#[derive(Clone, Copy)]
pub struct Visitor<'a> {
    shows: Option<&'a Holder>,
    name: &'a str,
}

/// What a visitor met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The first bytes of an answer, as text.
    With(String),
    /// None: the other side ended the connection; with its alert, if it sent one.
    Refused(String),
}

impl Answered {
    /// Whether it is an answer of HTTP/1.1 with that status.
    pub fn is_status(&self, status: u16) -> bool {
        matches!(self, Self::With(text) if text.starts_with(&format!("HTTP/1.1 {status} ")))
    }

    /// Why there is no answer, if there is none.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::With(_) => None,
            Self::Refused(reason) => Some(reason),
        }
    }
}

impl<'a> Visitor<'a> {
    /// One without a certificate, that asks for a server of that name (SNI).
    pub fn nobody(name: &'a str) -> Self {
        Self { shows: None, name }
    }

    /// One that shows this certificate.
    #[must_use]
    pub fn showing(self, certificate: &'a Holder) -> Self {
        Self { shows: Some(certificate), ..self }
    }

    /// A GET of `/` over HTTP/1.1, as a sidecar of the mesh sends it.
    ///
    /// # Errors
    /// When there is nobody at all at that address.
    pub async fn get(&self, connect: &Connect, address: SocketAddr, host: &str) -> Result<Answered> {
        let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        self.say(connect, address, &["istio", "http/1.1"], request.as_bytes()).await
    }

    /// Begins to speak HTTP/2, as a client of gRPC does.
    ///
    /// # Errors
    /// As [`Visitor::get`].
    pub async fn begin(&self, connect: &Connect, address: SocketAddr) -> Result<Answered> {
        self.say(connect, address, &["h2"], HTTP2).await
    }

    /// The certificates that the server shows; whoever has to show one as well is refused only after that.
    ///
    /// # Errors
    /// When the handshake does not come so far.
    pub async fn chain(
        &self,
        connect: &Connect,
        address: SocketAddr,
        protocols: &[&str],
    ) -> Result<Vec<CertificateDer<'static>>> {
        let stream = timeout(LIMIT, self.shake(connect.to(address).await?, protocols)).await??;
        let shown = stream.get_ref().1.peer_certificates().context("the server showed no certificate")?;
        Ok(shown.iter().map(|certificate| certificate.clone().into_owned()).collect())
    }

    async fn say(
        &self,
        connect: &Connect,
        address: SocketAddr,
        protocols: &[&str],
        words: &[u8],
    ) -> Result<Answered> {
        let stream = connect.to(address).await?;
        let talk = async {
            let mut stream = self.shake(stream, protocols).await?;
            let mut answer = vec![0; 4096];
            // Whoever is refused may be so before it has spoken: the alert that says why is there to be read all the same.
            let said = async {
                stream.write_all(words).await?;
                stream.flush().await
            };
            let said = said.await;
            let length = match (stream.read(&mut answer).await, said) {
                (Ok(0), Err(error)) | (Err(error), _) => return Err(error),
                (Ok(length), _) => length,
            };
            answer.truncate(length);
            std::io::Result::Ok(answer)
        };
        Ok(match timeout(LIMIT, talk).await.context("neither an answer nor an end")? {
            Ok(answer) if answer.is_empty() => Answered::Refused("closed".to_owned()),
            Ok(answer) => Answered::With(String::from_utf8_lossy(&answer).into_owned()),
            Err(error) => Answered::Refused(error.to_string()),
        })
    }

    async fn shake(&self, stream: TcpStream, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let config = self.config(protocols).map_err(std::io::Error::other)?;
        let name = ServerName::try_from(self.name.to_owned()).map_err(std::io::Error::other)?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    fn config(&self, protocols: &[&str]) -> Result<ClientConfig> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
        let mut config = match self.shows {
            None => config.with_no_client_auth(),
            Some(shown) => {
                let key = PrivateKeyDer::Pkcs8(shown.key.serialize_der().into());
                config.with_client_auth_cert(chain(&shown.chain)?, key)?
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(config)
    }
}

/// Takes every certificate, whose key the other side must have all the same.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
