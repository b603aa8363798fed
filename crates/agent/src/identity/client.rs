//! Asks the certificate service, once.
//!
//! Knows: TLS, gRPC, the token's and the roots' files. Must not know: when to ask ([`super::renew`]).   Start at [`ask`].
//! Invariant: nothing is sent before the server's certificate was verified to the roots' file; the token is read anew each time, since
//! Kubernetes replaces it, and is logged nowhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use meltemi_names::{Secret, SpiffeId};
use meltemi_proto::google::protobuf::value::Kind;
use meltemi_proto::google::protobuf::{Struct, Value};
use meltemi_proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::answer::{Credential, Wrong, accept, certificates};
use super::key::{KeyError, Request};
use super::time::Time;
use crate::HostPort;

const PATH: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// An attempt that takes longer has failed: resolving, connecting, signing, all of it.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The longest answer that is read: a chain and a bundle of dozens of roots.
const MOST_ANSWER: usize = 1 << 20;

/// The longest token that is read; those of Kubernetes have a kilobyte or two.
const MOST_TOKEN: u64 = 64 << 10;

/// The longest bundle of roots that is read.
const MOST_ROOTS: u64 = 1 << 20;

/// Whom to ask, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The certificate service.
    pub server: HostPort,
    /// The name that its certificate must have: a DNS name or an IP address.
    pub server_name: String,
    /// What its certificate must verify to, PEM; read anew each time.
    pub roots: PathBuf,
    /// What proves who asks; read anew each time. May be missing once there is a certificate.
    pub token: PathBuf,
    /// Sent as `clusterid`, if not empty.
    pub cluster_id: String,
    /// Further headers (Istio: `CA_HEADER_<name>`).
    pub headers: Vec<(String, String)>,
    /// How long the certificate shall live.
    pub ttl: Duration,
    /// Sent as `CertSigner`, as Istio's agent does.
    pub cert_signer: String,
}

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// What the server must be verified by cannot be read.
    #[error("cannot read the roots that the control plane is verified by, {}: {reason}", file.display())]
    Roots {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The token is there and cannot be read.
    #[error("cannot read the token {}: {reason}", file.display())]
    Token {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing proves who asks.
    #[error("there is no token at {} and no certificate that is valid, so nothing proves who asks", .0.display())]
    NoProof(PathBuf),
    /// A setting is no name or header.
    #[error("`{0}` cannot be used as a {1}")]
    Setting(String, &'static str),
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The way there.
    #[error("cannot reach the certificate service at {server}: {reason}")]
    Connect {
        /// Whom.
        server: HostPort,
        /// Why, all the way down.
        reason: String,
    },
    /// It took too long.
    #[error("the certificate service at {server} did not answer within {} s", LIMIT.as_secs())]
    Slow {
        /// Whom.
        server: HostPort,
    },
    /// The service says no.
    #[error("the certificate service at {server} answered {code:?}: {message}")]
    Refused {
        /// Whom.
        server: HostPort,
        /// gRPC's code.
        code: Code,
        /// Its words.
        message: String,
    },
    /// The service answered something else than what was asked for.
    #[error("the answer of the certificate service is not taken: {0}")]
    Wrong(#[from] Wrong),
}

/// Asks for a certificate of a new key. `present` is shown to the server beside the token.
///
/// # Errors
/// Says what failed; nothing has changed then.
pub async fn ask(
    settings: &Settings,
    id: &SpiffeId,
    present: Option<&Credential>,
) -> Result<Credential, AskError> {
    let server = || settings.server.clone();
    timeout(LIMIT, attempt(settings, id, present))
        .await
        .unwrap_or_else(|_| Err(AskError::Slow { server: server() }))
}

async fn attempt(
    settings: &Settings,
    id: &SpiffeId,
    present: Option<&Credential>,
) -> Result<Credential, AskError> {
    let token = token(&settings.token).await?;
    if token.is_none() && present.is_none() {
        return Err(AskError::NoProof(settings.token.clone()));
    }
    let tls = tls(settings, present).await?;
    let metadata = metadata(settings, token.as_ref())?;
    let channel = connect(settings, tls).await?;
    let Request { key, csr } = Request::generate(id)?;
    let signer = Value { kind: Some(Kind::StringValue(settings.cert_signer.clone())) };
    let message = IstioCertificateRequest {
        csr,
        validity_duration: i64::try_from(settings.ttl.as_secs()).unwrap_or(i64::MAX),
        metadata: Some(Struct { fields: [("CertSigner".to_owned(), signer)].into() }),
    };
    let mut request = tonic::Request::new(message);
    *request.metadata_mut() = metadata;
    let refused = |status: Status| AskError::Refused {
        server: settings.server.clone(),
        code: status.code(),
        message: said(&status),
    };
    let mut client = tonic::client::Grpc::new(channel).max_decoding_message_size(MOST_ANSWER);
    client.ready().await.map_err(|error| connecting(settings, &error))?;
    let codec = ProstCodec::<IstioCertificateRequest, IstioCertificateResponse>::default();
    let path = http::uri::PathAndQuery::from_static(PATH);
    let answer = client.unary(request, path, codec).await.map_err(refused)?.into_inner();
    Ok(accept(&answer.cert_chain, key, id, Time::from(SystemTime::now()))?)
}

/// The words of a refusal, and what is beneath them where it is the connection that broke.
fn said(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => format!("{}: {}", status.message(), causes(source)),
        None => status.message().to_owned(),
    }
}

fn connecting(settings: &Settings, error: &(dyn std::error::Error + 'static)) -> AskError {
    AskError::Connect { server: settings.server.clone(), reason: causes(error) }
}

fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

async fn connect(settings: &Settings, tls: (TlsConnector, ServerName<'static>)) -> Result<Channel, AskError> {
    // The scheme only says that tonic is to add no TLS of its own; the connector does.
    let endpoint = Endpoint::try_from(format!("http://{}", settings.server));
    let endpoint =
        endpoint.map_err(|_| AskError::Setting(settings.server.to_string(), "server's address"))?;
    let HostPort { host, port } = settings.server.clone();
    let connector = tower::service_fn(move |_: http::Uri| {
        let (host, (connector, name)) = (host.clone(), tls.clone());
        async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    endpoint.connect_with_connector(connector).await.map_err(|error| connecting(settings, &error))
}

async fn tls(
    settings: &Settings,
    present: Option<&Credential>,
) -> Result<(TlsConnector, ServerName<'static>), AskError> {
    let of_roots = |reason: String| AskError::Roots { file: settings.roots.clone(), reason };
    let text = read(&settings.roots, MOST_ROOTS).await.map_err(|error| of_roots(error.to_string()))?;
    let found = std::str::from_utf8(&text).ok().and_then(certificates);
    let mut roots = RootCertStore::empty();
    for der in found.ok_or_else(|| of_roots("it holds no certificates in PEM".to_owned()))? {
        roots.add(der).map_err(|error| of_roots(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| of_roots(error.to_string()))?.with_root_certificates(roots);
    let mut config = match present {
        Some(credential) => {
            let (chain, key) = credential.presented();
            builder.with_client_auth_cert(chain, key).map_err(|error| connecting(settings, &error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(settings.server_name.clone());
    let name = name.map_err(|_| AskError::Setting(settings.server_name.clone(), "server's name"))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}

fn metadata(
    settings: &Settings,
    token: Option<&Secret<String>>,
) -> Result<tonic::metadata::MetadataMap, AskError> {
    let mut metadata = tonic::metadata::MetadataMap::new();
    let header = |name: &str, value: &str| {
        let key: MetadataKey<Ascii> = name.to_ascii_lowercase().parse().ok()?;
        let value: MetadataValue<Ascii> = value.parse().ok()?;
        Some((key, value))
    };
    if !settings.cluster_id.is_empty() {
        let (key, value) = header("clusterid", &settings.cluster_id)
            .ok_or_else(|| AskError::Setting(settings.cluster_id.clone(), "cluster's id"))?;
        metadata.insert(key, value);
    }
    for (name, value) in &settings.headers {
        let (key, value) = header(name, value).ok_or_else(|| AskError::Setting(name.clone(), "header"))?;
        metadata.insert(key, value);
    }
    if let Some(token) = token {
        let file = || settings.token.clone();
        let value: Result<MetadataValue<Ascii>, _> = format!("Bearer {}", token.reveal()).parse();
        let mut value = value
            .map_err(|_| AskError::Token { file: file(), reason: "it holds more than a token".to_owned() })?;
        value.set_sensitive(true);
        metadata.insert("authorization", value);
    }
    Ok(metadata)
}

/// The token, if there is one.
async fn token(file: &Path) -> Result<Option<Secret<String>>, AskError> {
    let failed = |reason: String| AskError::Token { file: file.to_owned(), reason };
    match read(file, MOST_TOKEN).await {
        Ok(bytes) => {
            let text = String::from_utf8(bytes).map_err(|_| failed("it is no text".to_owned()))?;
            Ok(Some(Secret::new(text.trim().to_owned())).filter(|token| !token.reveal().is_empty()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}

async fn read(file: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    tokio::fs::File::open(file).await?.take(most + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > most {
        return Err(std::io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}
