//! A certificate service behind TLS, as a control plane has it, and a front that lets only the mesh's certificates through.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, stream};
use meltemi_ca::entitlement::{Caller, NoPods, Proof, Rules};
use meltemi_ca::limits::Limits;
use meltemi_ca::server::{Authenticate, CertificateServer, NoObserver, Peer, Reserve, Settings, Unknown};
use meltemi_ca::{Authority as Signer, Lifetimes, Material, ROOT_LIFE, Time};
use meltemi_names::SpiffeId;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::program::LIMIT;

pub(crate) const TOKEN: &str = "the-token-of-reviews";

pub(crate) const REVIEWS: &str = "spiffe://cluster.local/ns/shop/sa/reviews";
const OTHER: &str = "spiffe://cluster.local/ns/bank/sa/vault";

/// One request, as it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) token: bool,
    pub(crate) certificate: bool,
    pub(crate) cluster: Option<String>,
}

pub(crate) struct Authority {
    pub(crate) address: SocketAddr,
    pub(crate) started: std::time::SystemTime,
    folder: TempDir,
    root: String,
    own: (String, String),
    away: watch::Sender<bool>,
    refused: watch::Receiver<u64>,
    asked: Arc<Mutex<Vec<Ask>>>,
    mistakes: Arc<AtomicBool>,
    came: Arc<Mutex<Vec<String>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// The name in a certificate.
pub(crate) fn name_of(der: &[u8]) -> Result<String> {
    let (_, certificate) = X509Certificate::from_der(der)?;
    let names = certificate.subject_alternative_name()?.context("no names")?;
    match names.value.general_names[..] {
        [GeneralName::URI(name)] => Ok(name.to_owned()),
        ref other => bail!("other names: {other:?}"),
    }
}

/// Believes the one token, and certificates that TLS verified.
struct Known(Arc<Mutex<Vec<Ask>>>, Arc<AtomicBool>);

impl Authenticate for Known {
    fn caller<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Caller, Unknown>> {
        let text =
            |name: &str| peer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let certificates =
            peer.extensions.get::<TlsConnectInfo<TcpConnectInfo>>().and_then(|tls| tls.peer_certs());
        let certificate = certificates.is_some_and(|certificates| !certificates.is_empty());
        let token = text("authorization").is_some_and(|value| value == format!("Bearer {TOKEN}"));
        self.0.lock().unwrap().push(Ask { token, certificate, cluster: text("clusterid") });
        let answer = if token || certificate {
            let identity =
                SpiffeId::parse(if self.1.load(Ordering::SeqCst) { OTHER } else { REVIEWS }).unwrap();
            Ok(Caller { identity, proof: Proof::KubernetesToken, pod: None })
        } else {
            Err(Unknown::Nobody("no token".to_owned()))
        };
        std::future::ready(answer).boxed()
    }
}

struct Anything;

impl Reserve for Anything {
    fn reserve<'a>(&'a self, _: &'a Signer, _: Time) -> BoxFuture<'a, Result<(), String>> {
        std::future::ready(Ok(())).boxed()
    }
}

impl Authority {
    pub(crate) async fn start() -> Result<Self> {
        let started = std::time::SystemTime::now();
        let material = Material::generate("cluster.local", ROOT_LIFE, Time::from(started))?;
        let root = String::from_utf8(material.certificate.clone())?;
        let key = KeyPair::from_pem(std::str::from_utf8(material.key.reveal())?)?;
        let issuer = Issuer::from_ca_cert_pem(&root, key)?;
        let own_key = KeyPair::generate()?;
        let names = vec!["control-plane.test".to_owned()];
        let own = CertificateParams::new(names)?.signed_by(&own_key, &issuer)?;
        let own = (own.pem(), own_key.serialize_pem());
        let folder = tempfile::Builder::new().prefix("meltemi-authority-").tempdir()?;
        std::fs::write(folder.path().join("root-cert.pem"), &root)?;
        std::fs::write(folder.path().join("token"), format!("{TOKEN}\n"))?;

        let signer = Signer::load(&material, Time::from(started))?;
        let (signers, latest) = watch::channel(Some(Arc::new(signer)));
        let asked = Arc::<Mutex<Vec<Ask>>>::default();
        let (whose, rules) = watch::channel(Arc::new(Rules::new("cluster.local", [], [])));
        let settings = Settings {
            rules,
            observe: Arc::new(NoObserver),
            lifetimes: Lifetimes::default(),
            limits: Limits::default(),
        };
        let mistakes = Arc::<AtomicBool>::default();
        let known = Arc::new(Known(Arc::clone(&asked), Arc::clone(&mistakes)));
        let service = CertificateServer::new(known, Arc::new(Anything), Arc::new(NoPods), latest, settings);
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(&own.0, &own.1))
            .client_ca_root(Certificate::from_pem(&root))
            .client_auth_optional(true);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (away, is_away) = watch::channel(false);
        let (refuse, refused) = watch::channel(0);
        let server = Server::builder().tls_config(tls)?.add_service(service);
        let task = tokio::spawn(async move {
            let _told = (signers, whose);
            server.serve_with_incoming(incoming(listener, is_away, refuse)).await.unwrap();
        });
        Ok(Self {
            address,
            started,
            folder,
            root,
            own,
            away,
            refused,
            asked,
            mistakes,
            came: Arc::default(),
            tasks: Mutex::new(vec![task]),
        })
    }

    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    pub(crate) fn root_file(&self) -> PathBuf {
        self.folder.path().join("root-cert.pem")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// From now on every connection is closed at once, as by a machine on which nothing listens; or is served again.
    pub(crate) fn away(&self, away: bool) {
        self.away.send_replace(away);
    }

    /// From now on everybody gets somebody else's name; or the right one again.
    pub(crate) fn mistakes(&self, mistakes: bool) {
        self.mistakes.store(mistakes, Ordering::SeqCst);
    }

    /// How many connections were closed so.
    pub(crate) fn refusals(&self) -> u64 {
        *self.refused.borrow()
    }

    pub(crate) async fn refused(&self, count: u64) -> Result<()> {
        let mut refused = self.refused.clone();
        timeout(LIMIT, refused.wait_for(|so_far| *so_far >= count)).await.context("nobody asks")??;
        Ok(())
    }

    pub(crate) fn asked(&self) -> Vec<Ask> {
        self.asked.lock().unwrap().clone()
    }

    /// Who came through the front, each once.
    pub(crate) fn came(&self) -> Vec<String> {
        let mut came = self.came.lock().unwrap().clone();
        came.dedup();
        came
    }

    /// A port that takes TLS with a certificate of the mesh only, and leads to `behind`.
    pub(crate) async fn front(&self, behind: SocketAddr) -> Result<SocketAddr> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.root.as_bytes())?)?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(self.own.0.as_bytes())?],
                PrivateKeyDer::from_pem_slice(self.own.1.as_bytes())?,
            )?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let came = Arc::clone(&self.came);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, came) = (acceptor.clone(), Arc::clone(&came));
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
                    came.lock().unwrap().push(name_of(&certificates[0])?);
                    copy_bidirectional(&mut stream, &mut TcpStream::connect(behind).await?).await?;
                    anyhow::Ok(())
                });
            }
        });
        self.tasks.lock().unwrap().push(task);
        Ok(address)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap().drain(..) {
            task.abort();
        }
    }
}

/// Connections; while it is away they are closed before a byte is read.
fn incoming(
    listener: TcpListener,
    away: watch::Receiver<bool>,
    refuse: watch::Sender<u64>,
) -> impl Stream<Item = std::io::Result<TcpStream>> {
    stream::unfold((listener, away, refuse), |(listener, away, refuse)| async move {
        loop {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            if *away.borrow() {
                drop(accepted);
                refuse.send_modify(|count| *count += 1);
                continue;
            }
            return Some((accepted, (listener, away, refuse)));
        }
    })
}

/// How often a thing that tells nobody is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(50);
