//! A workload's side of the TLS port, with rustls: its key, its requests, its streams.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use meltemi_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use meltemi_testkit::xds::Node;
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// The cluster type.
const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

/// A key and the certificates that go with it, the holder's own first.
pub struct Holder {
    /// The key.
    pub key: KeyPair,
    /// PEM.
    pub chain: String,
}

/// A request for a certificate, and its key: P-256, with a name that does not count.
///
/// # Errors
/// When none can be made.
pub fn request() -> Result<(KeyPair, String)> {
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["nobody.example".to_owned()])?;
    let request = params.serialize_request(&key)?.pem()?;
    Ok((key, request))
}

/// Who asks on a connection, beside its certificate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer<'a> {
    /// The header `authorization`.
    pub authorization: Option<&'a str>,
}

/// A connection to the TLS port.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects, with a certificate if there is one; the server must have `name` by one of `roots`.
    ///
    /// # Errors
    /// When no handshake succeeds.
    pub async fn connect(
        address: SocketAddr,
        roots: &str,
        name: &str,
        holder: Option<&Holder>,
    ) -> Result<Self> {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
            store.add(root?)?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store);
        let mut config = match holder {
            None => builder.with_no_client_auth(),
            Some(holder) => {
                let chain = CertificateDer::pem_slice_iter(holder.chain.as_bytes());
                let key = PrivateKeyDer::Pkcs8(holder.key.serialize_der().into());
                builder.with_client_auth_cert(chain.collect::<Result<_, _>>()?, key)?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name.to_owned())?;
        let connect = service_fn(move |_| {
            let (connector, name) = (connector.clone(), name.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        // The scheme says who does TLS: the connector does.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = endpoint.connect_with_connector(connect).await.context("connecting with TLS")?;
        Ok(Self { channel })
    }

    /// Connects to a port without TLS.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn plain(address: SocketAddr) -> Result<Self> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
        Ok(Self { channel })
    }

    /// For the kit's sidecar.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Asks for a certificate for so many seconds (0: the usual); the answer's elements.
    ///
    /// # Errors
    /// The status of a refusal.
    pub async fn certificate(&self, peer: Peer<'_>, csr: &str, seconds: i64) -> Result<Vec<String>, Status> {
        let message =
            IstioCertificateRequest { csr: csr.to_owned(), validity_duration: seconds, metadata: None };
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let codec = ProstCodec::<IstioCertificateRequest, IstioCertificateResponse>::default();
        let path = PathAndQuery::from_static("/istio.v1.auth.IstioCertificateService/CreateCertificate");
        let answer = grpc.unary(with(message, peer)?, path, codec).await?;
        Ok(answer.into_inner().cert_chain)
    }

    /// Asks for a certificate, and holds it.
    ///
    /// # Errors
    /// The status of a refusal.
    pub async fn hold(&self, peer: Peer<'_>, seconds: i64) -> Result<Holder> {
        let (key, csr) = request()?;
        let mut answer = self.certificate(peer, &csr, seconds).await?;
        // The roots are no part of what is shown.
        answer.pop();
        Ok(Holder { key, chain: answer.concat() })
    }

    /// Opens a stream as that node and asks for its clusters; `Ok` when they come.
    ///
    /// # Errors
    /// The status with which it is refused.
    pub async fn stream(&self, peer: Peer<'_>, node: &Node) -> Result<(), Status> {
        self.stream_of(peer, node, CDS).await.map(|_| ())
    }

    /// The same for another type; the stream goes on as long as what is returned.
    ///
    /// # Errors
    /// The status with which it is refused.
    pub async fn stream_of(
        &self,
        peer: Peer<'_>,
        node: &Node,
        type_url: &str,
    ) -> Result<Streaming<DeltaDiscoveryResponse>, Status> {
        let node = node.message().map_err(|error| Status::internal(format!("{error:#}")))?;
        let first = DeltaDiscoveryRequest {
            node: Some(node),
            type_url: type_url.to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            ..Default::default()
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.send(first).await.map_err(|_| Status::internal("the request cannot be sent"))?;
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let path = PathAndQuery::from_static(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        );
        let request = with(ReceiverStream::new(receiver), peer)?;
        let mut answers = grpc.streaming(request, path, codec).await?.into_inner();
        match answers.message().await? {
            Some(_) => Ok(answers),
            None => Err(Status::ok("the stream ended without an answer")),
        }
    }
}

impl Client {
    /// Asks for one of Istio's pages in state of the world, as `istioctl` does; the first answer.
    ///
    /// # Errors
    /// The status with which it is refused.
    pub async fn page(
        &self,
        peer: Peer<'_>,
        node: &Node,
        type_url: &str,
        names: &[&str],
    ) -> Result<DiscoveryResponse, Status> {
        let node = node.message().map_err(|error| Status::internal(format!("{error:#}")))?;
        let first = DiscoveryRequest {
            node: Some(node),
            type_url: type_url.to_owned(),
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            // As istioctl's own, which says the time of day in its first request.
            response_nonce: "2026-11-25 22:00:00 +0000 UTC".to_owned(),
            ..Default::default()
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.send(first).await.map_err(|_| Status::internal("the request cannot be sent"))?;
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let codec = ProstCodec::<DiscoveryRequest, DiscoveryResponse>::default();
        let path = PathAndQuery::from_static(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
        );
        let mut answers =
            grpc.streaming(with(ReceiverStream::new(receiver), peer)?, path, codec).await?.into_inner();
        answers.message().await?.ok_or_else(|| Status::ok("the stream ended without an answer"))
    }
}

fn with<T>(message: T, peer: Peer<'_>) -> Result<tonic::Request<T>, Status> {
    let mut request = tonic::Request::new(message);
    if let Some(authorization) = peer.authorization {
        let value = authorization.parse().map_err(|_| Status::internal("no header value"))?;
        request.metadata_mut().insert("authorization", value);
    }
    Ok(request)
}
