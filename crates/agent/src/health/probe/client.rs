//! Asks the workload what a kubelet wanted to know.
//!
//! Invariant: bounded in time and in bytes; what the workload presents by TLS is not verified, as kubelets do not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::{Probe, What};

/// From there Istio's redirect rules let a connection of the agent reach the workload itself, and not Envoy's inbound listener.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// The status that a kubelet is told; an error is a workload that is not well.
pub(crate) async fn ask(probe: &Probe, own: IpAddr) -> Result<StatusCode, String> {
    let attempt = async {
        match &probe.what {
            What::Tcp => connect(probe, own).await.map(|_| StatusCode::OK),
            What::Http { path, headers, tls } => http(probe, own, path, headers, *tls).await,
            What::Grpc { service } => grpc(probe, own, service).await,
        }
    };
    timeout(probe.limit, attempt).await.unwrap_or_else(|_| Err(format!("no answer within {:?}", probe.limit)))
}

async fn connect(probe: &Probe, own: IpAddr) -> Result<TcpStream, String> {
    let said = |error: std::io::Error| error.to_string();
    let address = match &probe.host {
        None => SocketAddr::new(own, probe.port),
        Some(host) => {
            let mut found = lookup_host((host.as_str(), probe.port)).await.map_err(said)?;
            found.next().ok_or("the host has no address")?
        }
    };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(said)?;
    if address.is_ipv4() && probe.host.is_none() {
        // Where there is no such address (another system than Linux), there are no such rules either.
        let _elsewhere = socket.bind(SocketAddr::new(SOURCE.into(), 0));
    }
    socket.connect(address).await.map_err(said)
}

async fn http(
    probe: &Probe,
    own: IpAddr,
    path: &str,
    headers: &[(String, String)],
    tls: bool,
) -> Result<StatusCode, String> {
    let stream = connect(probe, own).await?;
    let mut map = HeaderMap::new();
    map.insert(header::USER_AGENT, HeaderValue::from_static("kube-probe/meltemi"));
    map.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let usual = format!("{}:{}", probe.host.clone().unwrap_or_else(|| own.to_string()), probe.port);
    let mut host = usual.clone();
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("host") {
            host.clone_from(value);
        } else if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            map.insert(name, value);
        }
    }
    let mut request =
        http::Request::builder().uri(path).header(header::HOST, host).body(Empty::<Bytes>::new());
    if let Ok(request) = &mut request {
        request.headers_mut().extend(map);
    }
    let request = request.map_err(|error| error.to_string())?;
    if tls {
        let connector = TlsConnector::from(Arc::new(config()?));
        // An address, so that nothing is sent as a name, as by kubelets.
        let stream = connector.connect(ServerName::IpAddress(own.into()), stream).await;
        exchange(stream.map_err(|error| error.to_string())?, request).await
    } else {
        exchange(stream, request).await
    }
}

/// The status alone; the body is not read.
async fn exchange<S>(stream: S, request: http::Request<Empty<Bytes>>) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let said = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(sender.send_request(request));
    let mut is_open = true;
    loop {
        tokio::select! {
            answer = &mut answer => return answer.map(|answer| answer.status()).map_err(said),
            // It may end in the moment in which the answer has come.
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`; 1 is serving.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

async fn grpc(probe: &Probe, own: IpAddr, service: &str) -> Result<StatusCode, String> {
    let stream = connect(probe, own).await?;
    // One connection for one question.
    let mut stream = Some(stream);
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream.take().map(TokioIo::new);
        std::future::ready(stream.ok_or_else(|| std::io::Error::other("the connection is gone")))
    });
    let channel = Endpoint::from_static("http://workload").connect_with_connector(connector).await;
    let mut client = tonic::client::Grpc::new(channel.map_err(|error| error.to_string())?);
    client.ready().await.map_err(|error| error.to_string())?;
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let request = tonic::Request::new(HealthCheckRequest { service: service.to_owned() });
    let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let answer = client.unary(request, path, codec).await.map_err(|status| status.to_string())?;
    match answer.into_inner().status {
        1 => Ok(StatusCode::OK),
        other => Err(format!("its health is {other}, and 1 is serving")),
    }
}

fn config() -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let anybody = Arc::new(Anybody(provider));
    Ok(builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth())
}

/// Kubelets take any certificate of a workload: a probe asks whether it answers, not who it is.
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
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
