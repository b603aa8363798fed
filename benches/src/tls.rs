//! How a sidecar proves who it is: TLS to the server, and a token of its namespace's service account.
//!
//! Knows: the files of a state folder, `meltemi token`. Must not know: how they are made.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// One of the names in the server's certificate.
const SERVER: &str = "istiod.istio-system.svc";

/// The root to trust, and a token per namespace. Clones by pointer.
#[derive(Clone)]
pub struct Tls {
    connector: TlsConnector,
    tokens: Arc<BTreeMap<String, String>>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("namespaces", &self.tokens.len()).finish_non_exhaustive()
    }
}

impl Tls {
    /// From the state folder of a server that runs: its root, and a token for the account `default` of each namespace. Sessions
    /// are resumed, or not, as Envoy does by default: one ticket is kept for each server.
    ///
    /// # Errors
    /// When the folder has no root yet, or the binary gives no token.
    pub async fn of(
        binary: &Path,
        state: &Path,
        namespaces: impl IntoIterator<Item = String>,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(state.join("root-cert.pem")).context("the server's root")? {
            roots.add(root?)?;
        }
        let mut tokens = BTreeMap::new();
        for namespace in namespaces {
            let mut command = Command::new(binary);
            command
                .arg("token")
                .arg("--state-dir")
                .arg(state)
                .arg("--for")
                .arg(format!("{namespace}/default"));
            let output = command.output().await.context("`meltemi token`")?;
            if !output.status.success() {
                bail!("`meltemi token`: {}", String::from_utf8_lossy(&output.stderr));
            }
            tokens.insert(namespace, String::from_utf8(output.stdout)?.trim().to_owned());
        }
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self { connector: Arc::new(config).into(), tokens: Arc::new(tokens) })
    }

    pub(crate) async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(SERVER).context("the server's name")?;
        self.connector.connect(name, stream).await.context("the TLS handshake")
    }

    /// The token of a proxy's account.
    pub(crate) fn token(&self, node_id: &str) -> Option<&str> {
        let (_, domain) = node_id.rsplit_once('~')?;
        self.tokens.get(domain.split('.').next()?).map(String::as_str)
    }
}
