//! HTTPS as a client outside of any mesh speaks it: with roots of its own, and every name verified.
//!
//! Knows certificates, made here with rcgen, and rustls' own verifier. Must not know the control plane.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::LIMIT;

/// Somebody who signs.
pub struct Signer {
    issuer: Issuer<'static, KeyPair>,
    /// What it signs is verified by this (PEM).
    pub roots: String,
}

/// A certificate and its key (PEM).
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub chain: String,
    /// Its key.
    pub key: String,
}

impl Signer {
    /// One of that name.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate()?;
        let roots = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), roots })
    }

    /// A certificate of a server, for that host.
    ///
    /// # Errors
    /// When it is no host.
    pub fn server(&self, host: &str) -> Result<Pair> {
        self.sign(host, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate of a client, of that name.
    ///
    /// # Errors
    /// When it is no name.
    pub fn client(&self, name: &str) -> Result<Pair> {
        self.sign(name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> Result<Pair> {
        let mut params = named(name);
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        Ok(Pair { chain: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A Secret of type `kubernetes.io/tls` in a namespace; `roots` is what clients are verified by.
pub fn secret(name: &str, namespace: &str, pair: &Pair, roots: Option<&str>) -> String {
    let block = |key: &str, text: &str| {
        let lines: String =
            text.trim_end().lines().map(|line| format!("    {}\n", line.trim_end())).collect();
        format!("  {key}: |\n{lines}")
    };
    let roots = roots.map(|roots| block("ca.crt", roots)).unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {{name: {name}, namespace: {namespace}}}\nstringData:\n{}{}{roots}",
        block("tls.crt", &pair.chain),
        block("tls.key", &pair.key),
    )
}

/// A client.
#[derive(Clone)]
pub struct Https {
    roots: String,
    shows: Option<Pair>,
}

/// An answer over TLS.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The version of the app that answered.
    pub version: Option<String>,
    /// The certificate that the server showed (DER).
    pub certificate: Vec<u8>,
    /// All of it.
    pub text: String,
}

impl Https {
    /// One that believes these (PEM), and nobody else.
    pub fn believing(roots: &str) -> Self {
        Self { roots: roots.to_owned(), shows: None }
    }

    /// One that shows this certificate where it is asked for one.
    #[must_use]
    pub fn showing(&self, pair: &Pair) -> Self {
        Self { shows: Some(pair.clone()), ..self.clone() }
    }

    fn config(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match &self.shows {
            None => config.with_no_client_auth(),
            Some(pair) => config.with_client_auth_cert(pair.certificates()?, pair.private_key()?)?,
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// A GET of `/` from `host`, on a connection of its own. The server's certificate must be of that name.
    ///
    /// # Errors
    /// When the handshake fails, or there is no answer.
    pub async fn get(&self, address: SocketAddr, host: &str) -> Result<Reply> {
        let talk = async {
            let stream = TcpStream::connect(address).await?;
            let name = ServerName::try_from(host.to_owned())?;
            let mut stream = TlsConnector::from(Arc::new(self.config()?)).connect(name, stream).await?;
            let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await?;
            let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
            let certificate = shown.context("the server showed no certificate")?.to_vec();
            let mut text = Vec::new();
            // Many servers end connections without TLS's own word for it.
            if let Err(error) = stream.read_to_end(&mut text).await {
                ensure!(!text.is_empty(), "no answer: {error}");
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
            let version = text.lines().find_map(|line| line.strip_prefix("x-app-version: "));
            let version = version.map(|version| version.trim().to_owned());
            Ok(Reply {
                status: status.with_context(|| format!("no answer: {text:?}"))?,
                version,
                certificate,
                text,
            })
        };
        timeout(LIMIT, talk).await.context("no answer in time")?
    }

    /// Requests one after the other, each on a connection of its own, until it is stopped.
    pub fn load(&self, address: SocketAddr, host: &'static str) -> HttpsLoad {
        let (client, stop) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut answered = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                let reply =
                    client.get(address, host).await.with_context(|| format!("after {answered} answers"))?;
                ensure!(reply.status == 200, "{reply:?}");
                answered += 1;
            }
            Ok(answered)
        });
        HttpsLoad { stop, task }
    }
}

/// A load that runs.
pub struct HttpsLoad {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<u64>>,
}

impl HttpsLoad {
    /// Stops it; how many requests were answered with 200, if all were.
    ///
    /// # Errors
    /// The first that was not.
    pub async fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

impl Pair {
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        Ok(CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect::<Result<_, _>>()?)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>> {
        Ok(PrivateKeyDer::from_pem_slice(self.key.as_bytes())?)
    }

    /// The certificate (DER).
    ///
    /// # Errors
    /// When there is none.
    pub fn der(&self) -> Result<Vec<u8>> {
        Ok(self.certificates()?.first().context("no certificate")?.to_vec())
    }
}

/// A server that ends TLS itself and answers each request with `version`, until it is dropped.
pub struct TlsApp {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for TlsApp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TlsApp {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(pair: &Pair, version: &'static str) -> Result<Self> {
        Self::listen(pair, version, None).await
    }

    /// One that takes those alone who show a certificate by these roots (PEM).
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn verifying(pair: &Pair, version: &'static str, roots: &str) -> Result<Self> {
        Self::listen(pair, version, Some(roots)).await
    }

    async fn listen(pair: &Pair, version: &'static str, roots: Option<&str>) -> Result<Self> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let builder = match roots {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    roots.add(root?)?;
                }
                let provider = Arc::new(ring::default_provider());
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(pair.certificates()?, pair.private_key()?)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    let mut request = [0; 4096];
                    let _read = stream.read(&mut request).await?;
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nx-app-version: {version}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                    );
                    stream.write_all(answer.as_bytes()).await?;
                    stream.shutdown().await
                });
            }
        });
        Ok(Self { address, task })
    }
}
