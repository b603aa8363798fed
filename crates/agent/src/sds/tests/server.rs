//! Over the socket, by a small gRPC client: both spellings, files, and what the socket is.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use meltemi_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::Streaming;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::*;
use crate::identity::Credential;
use crate::metrics::Metrics;
use crate::sds::server::{ListenError, listen, serve};
use crate::sds::watch::Keeper;

const LIMIT: Duration = Duration::from_secs(60);

struct World {
    folder: TempDir,
    tasks: Vec<JoinHandle<()>>,
    credential: watch::Sender<Option<Arc<Credential>>>,
}

impl Drop for World {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl World {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let listener = listen(&folder.path().join("socket")).await.unwrap();
        let (credential, latest) = watch::channel(None);
        let (sender, secrets) = watch::channel(Secrets::default());
        let (wishes, wished) = mpsc::channel(4);
        let keeper = tokio::spawn(Keeper::keep(folder.path().join("ca-crl.pem"), sender, latest, wished));
        let server = tokio::spawn(async move {
            serve(listener, secrets, wishes, Metrics::new()).await.unwrap();
        });
        Self { folder, tasks: vec![keeper, server], credential }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn renew(&self) {
        self.credential.send_replace(Some(Arc::new(credential())));
    }

    async fn channel(&self) -> Channel {
        let path = self.path("socket");
        let connector = tower::service_fn(move |_: http::Uri| {
            let path = path.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
        });
        Endpoint::from_static("http://agent").connect_with_connector(connector).await.unwrap()
    }

    async fn sotw(&self) -> (mpsc::Sender<DiscoveryRequest>, Streaming<DiscoveryResponse>) {
        let (sender, requests) = mpsc::channel(4);
        let mut client = tonic::client::Grpc::new(self.channel().await);
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets");
        let request = tonic::Request::new(ReceiverStream::new(requests));
        let answer = client.streaming(request, path, ProstCodec::default()).await.unwrap();
        (sender, answer.into_inner())
    }

    async fn delta(&self) -> (mpsc::Sender<DeltaDiscoveryRequest>, Streaming<DeltaDiscoveryResponse>) {
        let (sender, requests) = mpsc::channel(4);
        let mut client = tonic::client::Grpc::new(self.channel().await);
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets");
        let request = tonic::Request::new(ReceiverStream::new(requests));
        let answer = client.streaming(request, path, ProstCodec::default()).await.unwrap();
        (sender, answer.into_inner())
    }
}

fn credential() -> Credential {
    use crate::identity::{Request, Time, accept};
    let now = std::time::SystemTime::now();
    let at = meltemi_ca::Time::from(now);
    let material = meltemi_ca::Material::generate("cluster.local", meltemi_ca::ROOT_LIFE, at).unwrap();
    let authority = meltemi_ca::Authority::load(&material, at).unwrap();
    let id = meltemi_names::SpiffeId::parse("spiffe://cluster.local/ns/a/sa/b").unwrap();
    let Request { key, csr } = Request::generate(&id).unwrap();
    let csr = meltemi_ca::Csr::from_pem(&csr).unwrap();
    let issued = meltemi_ca::issue(&authority, &csr, &id, Duration::from_secs(3600), at).unwrap();
    accept(&authority.answer(&issued.certificate), key, &id, Time::from(now)).unwrap()
}

async fn next<T: Send + 'static>(stream: &mut Streaming<T>) -> T {
    timeout(LIMIT, stream.message()).await.expect("a response").unwrap().expect("no end")
}

fn ask(names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest { resource_names: super::names(names), ..Default::default() }
}

fn ask_delta(names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { resource_names_subscribe: super::names(names), ..Default::default() }
}

fn only(message: &DiscoveryResponse) -> Wire {
    assert_eq!(message.resources.len(), 1);
    Wire::decode(&*message.resources[0].value).unwrap()
}

fn inline(source: Option<&meltemi_proto::envoy::config::core::v3::DataSource>) -> String {
    use meltemi_proto::envoy::config::core::v3::data_source::Specifier;
    match source.and_then(|source| source.specifier.clone()) {
        Some(Specifier::InlineBytes(bytes)) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn chain(secret: &Wire) -> String {
    match &secret.r#type {
        Some(Type::TlsCertificate(pair)) => inline(pair.certificate_chain.as_ref()),
        other => panic!("{}", other.is_some()),
    }
}

#[tokio::test]
async fn both_spellings_wait_for_the_first_certificate_and_get_the_next() {
    let world = World::start().await;
    let (sotw_sender, mut sotw) = world.sotw().await;
    let (delta_sender, mut delta) = world.delta().await;
    sotw_sender.send(ask(&["default"])).await.unwrap();
    delta_sender.send(ask_delta(&["default", "ROOTCA"])).await.unwrap();
    world.renew();
    let first = chain(&only(&next(&mut sotw).await));
    let both = next(&mut delta).await;
    assert_eq!(
        both.resources.iter().map(|resource| resource.name.as_str()).collect::<Vec<_>>(),
        ["ROOTCA", "default"]
    );
    world.renew();
    assert_ne!(chain(&only(&next(&mut sotw).await)), first);
    next(&mut delta).await;
}

#[tokio::test]
async fn the_socket_is_for_this_user_alone_and_for_one_server() {
    let world = World::start().await;
    let mode = std::fs::metadata(world.path("socket")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(listen(&world.path("socket")).await, Err(ListenError::Taken(_))));
    // One that a dead process left is no hindrance.
    let left = world.path("left");
    drop(listen(&left).await.unwrap());
    assert!(listen(&left).await.is_ok());
    let file = world.path("file");
    std::fs::write(&file, "mine").unwrap();
    assert!(matches!(listen(&file).await, Err(ListenError::Io { .. })));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[tokio::test]
async fn a_request_for_anything_else_ends_the_stream_with_why() {
    let world = World::start().await;
    let (sender, mut sotw) = world.sotw().await;
    let other = DiscoveryRequest { type_url: "type.googleapis.com/other".to_owned(), ..ask(&["default"]) };
    sender.send(other).await.unwrap();
    let status = timeout(LIMIT, sotw.message()).await.unwrap().unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
}

/// A pair as an operator mounts it; `which` makes it another one.
fn write_pair(folder: &Path, cert: &str, key: &str) {
    let made = rcgen::generate_simple_self_signed(vec!["shop.example".to_owned()]).unwrap();
    std::fs::write(folder.join(cert), made.cert.pem()).unwrap();
    std::fs::write(folder.join(key), made.signing_key.serialize_pem()).unwrap();
}

#[tokio::test]
async fn files_are_served_when_they_fit_and_again_when_they_change() {
    let world = World::start().await;
    let (cert, key) = (world.path("cert.pem"), world.path("key.pem"));
    let name = format!("file-cert:{}~{}", cert.display(), key.display());
    let (sender, mut sotw) = world.sotw().await;
    sender.send(ask(&[&name])).await.unwrap();
    write_pair(world.folder.path(), "cert.pem", "key.pem");
    let first = only(&next(&mut sotw).await);
    assert_eq!(first.name, name);
    assert_eq!(chain(&first), std::fs::read_to_string(&cert).unwrap());
    // A certificate alone does not fit the key before; both together do.
    write_pair(world.folder.path(), "cert.pem", "other.pem");
    std::fs::rename(world.path("other.pem"), &key).unwrap();
    let second = only(&next(&mut sotw).await);
    assert_ne!(chain(&second), chain(&first));
    assert_eq!(chain(&second), std::fs::read_to_string(&cert).unwrap());
}

#[tokio::test]
async fn revocation_lists_come_with_the_roots_while_their_file_is_there() {
    let world = World::start().await;
    world.renew();
    let (sender, mut sotw) = world.sotw().await;
    sender.send(ask(&["ROOTCA"])).await.unwrap();
    let lists = |secret: &Wire| match &secret.r#type {
        Some(Type::ValidationContext(context)) => context.crl.as_ref().map(|crl| inline(Some(crl))),
        other => panic!("{}", other.is_some()),
    };
    assert_eq!(lists(&only(&next(&mut sotw).await)), None);
    let list = "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    std::fs::write(world.path("new"), list).unwrap();
    std::fs::rename(world.path("new"), world.path("ca-crl.pem")).unwrap();
    assert_eq!(lists(&only(&next(&mut sotw).await)).as_deref(), Some(list));
    std::fs::remove_file(world.path("ca-crl.pem")).unwrap();
    assert_eq!(lists(&only(&next(&mut sotw).await)), None);
}
