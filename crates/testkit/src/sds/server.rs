//! The server of secrets: Envoy's secret discovery service, state of the world, on a unix socket.
//!
//! Invariant: a request is answered once with each state of what is served; an acknowledgement is none.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Result;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret::Type,
};
use meltemi_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::Secrets;

const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// A server of one Envoy's secrets. Dropping it ends it.
pub struct Server {
    folder: TempDir,
    secrets: watch::Sender<Secrets>,
    /// How many answers were sent, of any secret.
    sent: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves `secrets`, on a socket in a folder of its own.
    ///
    /// # Errors
    /// When there is no folder to be had.
    pub fn start(secrets: Secrets) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("meltemi-sds-").tempdir()?;
        let listener = UnixListener::bind(folder.path().join("socket"))?;
        let (secrets, watched) = watch::channel(secrets);
        let (count, sent) = watch::channel(0);
        let service = SecretService { secrets: watched, count };
        let task = tokio::spawn(async move {
            let incoming = UnixListenerStream::new(listener);
            _ = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        Ok(Self { folder, secrets, sent, task })
    }

    /// The path of its socket.
    pub fn socket(&self) -> String {
        self.folder.path().join("socket").display().to_string()
    }

    /// The folder that only this server uses; for files that Envoy reads.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Serves other secrets from now on.
    pub fn change(&self, secrets: Secrets) {
        self.secrets.send_replace(secrets);
    }

    /// How many answers were sent so far.
    pub fn sent(&self) -> u64 {
        *self.sent.borrow()
    }
}

#[derive(Clone)]
struct SecretService {
    secrets: watch::Receiver<Secrets>,
    count: watch::Sender<u64>,
}

impl NamedService for SecretService {
    const NAME: &'static str = "envoy.service.secret.v3.SecretDiscoveryService";
}

impl Service<http::Request<Body>> for SecretService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if !request.uri().path().ends_with("/StreamSecrets") {
                return Ok(Status::unimplemented("only StreamSecrets").into_http());
            }
            Ok(Grpc::new(ProstCodec::default()).streaming(service, request).await)
        })
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<DiscoveryResponse, Status>> + Send>>;

impl StreamingService<DiscoveryRequest> for SecretService {
    type Response = DiscoveryResponse;
    type ResponseStream = Answers;
    type Future = BoxFuture<Response<Answers>, Status>;

    fn call(&mut self, request: Request<Streaming<DiscoveryRequest>>) -> Self::Future {
        let Self { secrets, count } = self.clone();
        Box::pin(async move {
            let (answers, stream) = mpsc::channel(4);
            tokio::spawn(serve(request.into_inner(), secrets, answers, count));
            let stream: Answers = Box::pin(ReceiverStream::new(stream));
            Ok(Response::new(stream))
        })
    }
}

/// One stream. Envoy opens one for each secret.
async fn serve(
    mut requests: Streaming<DiscoveryRequest>,
    mut secrets: watch::Receiver<Secrets>,
    answers: mpsc::Sender<Result<DiscoveryResponse, Status>>,
    count: watch::Sender<u64>,
) {
    let mut names: Vec<String> = Vec::new();
    let mut version: u64 = 0;
    secrets.mark_unchanged();
    loop {
        tokio::select! {
            request = requests.next() => match request {
                Some(Ok(request)) if request.resource_names != names => names = request.resource_names,
                // It takes the last answer, or refuses it: there is nothing more to say.
                Some(Ok(_)) => continue,
                _ => return,
            },
            changed = secrets.changed() => if changed.is_err() { return },
        }
        if names.is_empty() {
            continue;
        }
        version += 1;
        let resources = {
            let secrets = secrets.borrow_and_update();
            names.iter().filter_map(|name| secret(&secrets, name)).map(|secret| pack(&secret)).collect()
        };
        let answer = DiscoveryResponse {
            version_info: version.to_string(),
            nonce: version.to_string(),
            type_url: SECRET.to_owned(),
            resources,
            ..DiscoveryResponse::default()
        };
        if answers.send(Ok(answer)).await.is_err() {
            return;
        }
        count.send_modify(|count| *count += 1);
    }
}

fn secret(secrets: &Secrets, name: &str) -> Option<Secret> {
    let inline = |text: &str| {
        let specifier = Some(Specifier::InlineBytes(text.as_bytes().to_vec()));
        Some(DataSource { specifier, ..DataSource::default() })
    };
    let content = match name {
        "default" => Type::TlsCertificate(TlsCertificate {
            certificate_chain: inline(&secrets.identity.certificate),
            private_key: inline(&secrets.identity.key),
            ..TlsCertificate::default()
        }),
        "ROOTCA" => Type::ValidationContext(CertificateValidationContext {
            trusted_ca: inline(&secrets.roots),
            ..CertificateValidationContext::default()
        }),
        _ => return None,
    };
    Some(Secret { name: name.to_owned(), r#type: Some(content) })
}
