//! A workload that asks for its certificate as Istio's agents do: a key of its own, TLS with the roots that it was given, a token or the
//! certificate that it has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper_util::rt::TokioIo;
use meltemi_proto::google::protobuf::value::Kind;
use meltemi_proto::google::protobuf::{Struct, Value};
use meltemi_proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::client::Grpc;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};
use x509_parser::extensions::GeneralName;

const CREATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// A request that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// What was answered: PEM, the certificate first, all roots last.
    pub chain: Vec<String>,
    key: String,
}

impl Certificate {
    fn leaf(&self) -> Result<CertificateDer<'static>> {
        let leaf = self.chain.first().context("an answer without a certificate")?;
        Ok(CertificateDer::from_pem_slice(leaf.as_bytes())?)
    }

    /// The roots that came with it, PEM.
    pub fn roots(&self) -> &str {
        self.chain.last().map_or("", String::as_str)
    }

    /// The only name of the certificate, which verifies to one of these roots (PEM), as a server would see it.
    ///
    /// # Errors
    /// When it does not verify, or has not just one name.
    pub fn verified_by(&self, roots: &str) -> Result<String> {
        let leaf = self.leaf()?;
        let roots = CertificateDer::pem_slice_iter(roots.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let anchors = roots.iter().map(webpki::anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>()?;
        let between = &self.chain[1..self.chain.len().saturating_sub(1).max(1)];
        let between = between
            .iter()
            .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        let end = EndEntityCert::try_from(&leaf)?;
        end.verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &anchors,
            &between,
            UnixTime::now(),
            KeyUsage::client_auth(),
            None,
            None,
        )?;
        let (_, read) = x509_parser::parse_x509_certificate(&leaf)?;
        let names = read.subject_alternative_name()?.context("no names")?;
        match names.value.general_names.as_slice() {
            [GeneralName::URI(name)] => Ok((*name).to_owned()),
            names => anyhow::bail!("its names are {names:?}"),
        }
    }
}

/// A connection to the certificate service; clones use the same one.
#[derive(Clone)]
pub struct Asker {
    grpc: Grpc<Channel>,
}

impl Asker {
    /// Connects over TLS: the server must have that name, and verify to one of the roots (PEM). With a certificate of one's own if there
    /// is one.
    ///
    /// # Errors
    /// When it does not, or nobody listens.
    pub async fn connect(
        address: SocketAddr,
        name: &str,
        roots: &str,
        own: Option<&Certificate>,
    ) -> Result<Self> {
        let mut store = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(roots.as_bytes()) {
            store.add(root?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store);
        let mut config = match own {
            Some(own) => {
                let mut chain = Vec::new();
                for pem in &own.chain[..own.chain.len() - 1] {
                    chain.push(CertificateDer::from_pem_slice(pem.as_bytes())?);
                }
                config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(own.key.as_bytes())?)?
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name.to_owned())?;
        let dial = tower::service_fn(move |_: Uri| {
            let (connector, name) = (connector.clone(), name.clone());
            async move {
                let stream = TcpStream::connect(address).await?;
                let stream = connector.connect(name, stream).await?;
                std::io::Result::Ok(TokioIo::new(stream))
            }
        });
        // The TLS is the connector's own: for an `https` address tonic wants its own, where some other package of the build has it.
        let channel =
            Endpoint::from_shared(format!("http://{address}"))?.connect_with_connector(dial).await?;
        Ok(Self { grpc: Grpc::new(channel) })
    }

    /// Asks for a certificate for a new key, with that token if there is one.
    ///
    /// # Errors
    /// The server's.
    pub async fn ask(&mut self, token: Option<&str>) -> Result<Certificate, Status> {
        self.ask_for(token, None).await
    }

    /// The same, for the identity of somebody else, as a node's proxy does.
    ///
    /// # Errors
    /// The server's.
    pub async fn ask_for(
        &mut self,
        token: Option<&str>,
        identity: Option<&str>,
    ) -> Result<Certificate, Status> {
        let failed = |error: &dyn std::fmt::Display| Status::aborted(format!("in the test: {error}"));
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        // What is in it besides the key does not count.
        let csr = CertificateParams::new(vec!["spiffe.example".to_owned()])
            .and_then(|params| params.serialize_request(&key))
            .and_then(|csr| csr.pem())
            .map_err(|error| failed(&error))?;
        let chain = self.answer_for(&csr, token, identity).await?;
        Ok(Certificate { chain, key: key.serialize_pem() })
    }

    /// What is answered to that request for a certificate (PEM), with that token if there is one.
    ///
    /// # Errors
    /// The server's.
    pub async fn answer(&mut self, csr: &str, token: Option<&str>) -> Result<Vec<String>, Status> {
        self.answer_for(csr, token, None).await
    }

    async fn answer_for(
        &mut self,
        csr: &str,
        token: Option<&str>,
        identity: Option<&str>,
    ) -> Result<Vec<String>, Status> {
        let failed = |error: &dyn std::fmt::Display| Status::aborted(format!("in the test: {error}"));
        let metadata = identity.map(|identity| {
            let value = Value { kind: Some(Kind::StringValue(identity.to_owned())) };
            Struct { fields: [("ImpersonatedIdentity".to_owned(), value)].into() }
        });
        let mut request = Request::new(IstioCertificateRequest {
            csr: csr.to_owned(),
            metadata,
            ..IstioCertificateRequest::default()
        });
        request.set_timeout(LIMIT);
        if let Some(token) = token {
            let value = MetadataValue::try_from(format!("Bearer {token}")).map_err(|error| failed(&error))?;
            request.metadata_mut().insert("authorization", value);
        }
        self.grpc.ready().await.map_err(|error| failed(&error))?;
        let codec = ProstCodec::<IstioCertificateRequest, IstioCertificateResponse>::default();
        let answer = self.grpc.unary(request, PathAndQuery::from_static(CREATE), codec).await?;
        let chain = answer.into_inner().cert_chain;
        if chain.len() < 2 {
            return Err(failed(&"an answer of fewer than two elements"));
        }
        Ok(chain)
    }
}

/// The two of them in one: a new connection, and one request on it.
///
/// # Errors
/// When it cannot connect, or is refused.
pub async fn certificate(
    address: SocketAddr,
    name: &str,
    roots: &str,
    own: Option<&Certificate>,
    token: Option<&str>,
) -> Result<Certificate> {
    let found = Asker::connect(address, name, roots, own).await?.ask(token).await?;
    ensure!(!found.roots().is_empty(), "an answer without roots");
    Ok(found)
}
