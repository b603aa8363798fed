//! The control plane's TLS port, as a client that shows and says what a test likes.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use meltemi_proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use meltemi_testkit::xds::Node;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::LIMIT;
use super::signer::{Presented, key, request};

const CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const DELTA: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// A way to the port: where it is, by which name, and what its certificate is to verify to.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    address: SocketAddr,
    name: String,
    roots: String,
}

impl ControlPlane {
    /// The port at `address`, which must be called `name` (a DNS name or an address) by a certificate that verifies to `roots` (PEM).
    pub fn new(address: SocketAddr, name: &str, roots: &str) -> Self {
        Self { address, name: name.to_owned(), roots: roots.to_owned() }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks for a certificate for a key of its own, as whoever `token` and `shown` prove; `life` in seconds, 0 for the usual.
    ///
    /// # Errors
    /// The [`Status`] where the service refuses it.
    pub async fn certificate(&self, token: Option<&str>, shown: Option<&Presented>, life: i64) -> Result<Presented> {
        let key = key()?;
        let message = IstioCertificateRequest { csr: request(&key)?, validity_duration: life, metadata: None };
        let mut grpc = Grpc::new(self.channel(shown).await?);
        grpc.ready().await?;
        let codec = ProstCodec::<IstioCertificateRequest, IstioCertificateResponse>::default();
        let path = PathAndQuery::from_static(CERTIFICATE);
        let answer = timeout(LIMIT, grpc.unary(with(message, token)?, path, codec)).await??.into_inner();
        // The last element is the roots.
        let (_, chain) = answer.cert_chain.split_last().context("an answer without certificates")?;
        Presented::new(&chain.concat(), &key.serialize_pem())
    }

    /// Opens an xDS stream as `node`, and asks for the clusters; how many there are.
    ///
    /// # Errors
    /// The [`Status`] where the server refuses the stream.
    pub async fn clusters(&self, node: &Node, token: Option<&str>, shown: Option<&Presented>) -> Result<usize> {
        let first = DeltaDiscoveryRequest {
            node: Some(node.message()?),
            type_url: TypeUrl::Cluster.as_str().to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        let mut grpc = Grpc::new(self.channel(shown).await?);
        grpc.ready().await?;
        // The stream stays open on this side until there is an answer.
        let (sender, requests) = tokio::sync::mpsc::channel(1);
        sender.send(first).await?;
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let path = PathAndQuery::from_static(DELTA);
        let answer = async {
            let mut answers = grpc.streaming(with(requests, token)?, path, codec).await?.into_inner();
            let answer = answers.message().await?.context("the stream ended without an answer")?;
            anyhow::Ok(answer.resources.len())
        };
        timeout(LIMIT, answer).await?
    }

    async fn channel(&self, shown: Option<&Presented>) -> Result<Channel> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(self.roots.as_bytes()) {
            roots.add(root?)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match shown {
            None => config.with_no_client_auth(),
            Some(shown) => config.with_client_auth_cert(shown.chain.clone(), shown.key())?,
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let (address, name) = (self.address, ServerName::try_from(self.name.clone())?);
        let dial = tower::service_fn(move |_| {
            let (connector, name) = (connector.clone(), name.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                std::io::Result::Ok(TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        let channel = Endpoint::from_static("http://control-plane").connect_with_connector(dial).await;
        channel.with_context(|| format!("connecting to the control plane at {address}"))
    }
}

fn with<T>(message: T, token: Option<&str>) -> Result<Request<T>> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value: MetadataValue<_> = format!("Bearer {token}").parse()?;
        request.metadata_mut().insert("authorization", value);
    }
    Ok(request)
}

/// The status by which a server refused something.
///
/// # Errors
/// When it was not refused, or failed otherwise.
pub fn refused<T>(outcome: Result<T>) -> Result<Status> {
    match outcome {
        Ok(_) => anyhow::bail!("it was not refused"),
        Err(error) => error.downcast::<Status>(),
    }
}
