//! The service as a client sees it: over gRPC, without a socket.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::FutureExt;
use http::uri::PathAndQuery;
use meltemi_names::SpiffeId;
use meltemi_proto::google::protobuf::{Struct, Value};
use prost::Message;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

use super::*;
use crate::entitlement::{NoPods, Proof};
use crate::tests::{KEYS, authority, hours, now, request, reviews};

/// Believes the header `x-caller`; `later` cannot be told now, and `never` gets no answer.
struct Header;

impl Authenticate for Header {
    fn caller<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Caller, Unknown>> {
        let caller = peer.headers.get("x-caller").map(|value| value.to_str().unwrap());
        match caller {
            None => std::future::ready(Err(Unknown::Nobody("the secret reason".to_owned()))).boxed(),
            Some("later") => {
                std::future::ready(Err(Unknown::Later("the API server is away".to_owned()))).boxed()
            }
            Some("never") => std::future::pending().boxed(),
            Some(id) => {
                let identity = SpiffeId::parse(id).unwrap();
                std::future::ready(Ok(Caller { identity, proof: Proof::Certificate, pod: None })).boxed()
            }
        }
    }
}

/// Notes what was asked for; cannot keep it when told so.
#[derive(Default)]
struct Kept {
    until: AtomicU64,
    times: AtomicUsize,
    fails: bool,
}

impl Reserve for Kept {
    fn reserve<'a>(&'a self, _: &'a Authority, not_after: Time) -> BoxFuture<'a, Result<(), String>> {
        self.until.fetch_max(not_after.unix(), Ordering::SeqCst);
        self.times.fetch_add(1, Ordering::SeqCst);
        std::future::ready(if self.fails { Err("no disk".to_owned()) } else { Ok(()) }).boxed()
    }
}

struct World {
    server: CertificateServer,
    kept: Arc<Kept>,
    authority: watch::Sender<Option<Arc<Authority>>>,
}

fn world(limits: Limits, kept: Kept) -> World {
    let (authority, latest) = watch::channel(Some(Arc::new(authority())));
    let rules = Rules::new("cluster.local", [], [("istio-system".to_owned(), "ztunnel".to_owned())]);
    let rules = watch::channel(Arc::new(rules)).1;
    let settings = Settings { rules, observe: Arc::new(NoObserver), lifetimes: Lifetimes::default(), limits };
    let kept = Arc::new(kept);
    let server =
        CertificateServer::new(Arc::new(Header), Arc::clone(&kept) as _, Arc::new(NoPods), latest, settings);
    World { server, kept, authority }
}

fn usual() -> World {
    world(Limits::default(), Kept::default())
}

fn csr() -> String {
    request(TempDir::new().unwrap().path(), KEYS[0].1)
}

fn asks(csr: &str, seconds: i64) -> IstioCertificateRequest {
    IstioCertificateRequest { csr: csr.to_owned(), validity_duration: seconds, metadata: None }
}

impl World {
    async fn ask(&self, caller: &str, message: IstioCertificateRequest) -> Result<Vec<String>, Status> {
        self.call(PATH, caller, message).await
    }

    async fn call(
        &self,
        path: &'static str,
        caller: &str,
        message: IstioCertificateRequest,
    ) -> Result<Vec<String>, Status> {
        let mut client = tonic::client::Grpc::new(self.server.clone());
        let mut request = Request::new(message);
        if !caller.is_empty() {
            request.metadata_mut().insert("x-caller", caller.parse().unwrap());
        }
        let codec = ProstCodec::<IstioCertificateRequest, IstioCertificateResponse>::default();
        let answer = client.unary(request, PathAndQuery::from_static(path), codec).await?;
        Ok(answer.into_inner().cert_chain)
    }

    /// The code and the words of a refusal.
    async fn refuses(&self, caller: &str, message: IstioCertificateRequest) -> (Code, String) {
        let status = self.ask(caller, message).await.expect_err("is refused");
        (status.code(), status.message().to_owned())
    }
}

const REVIEWS: &str = "spiffe://cluster.local/ns/shop/sa/reviews";

#[tokio::test]
async fn a_workload_gets_a_certificate_of_its_name_that_verifies_to_the_last_element() {
    let world = usual();
    let answer = world.ask(REVIEWS, asks(&csr(), 3600)).await.unwrap();
    assert_eq!(answer.len(), 2);
    let [leaf, root] = [0, 1].map(|at| CertificateDer::from_pem_slice(answer[at].as_bytes()).unwrap());
    let end = EndEntityCert::try_from(&leaf).unwrap();
    let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        end.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &[], now().verifier(), usage, None, None)
            .unwrap();
    }
    assert_eq!(end.valid_uri_names().collect::<Vec<_>>(), [REVIEWS]);
    assert_eq!(end.valid_dns_names().count(), 0);
    let (_, until) = crate::bundle::with(&leaf, |read| Ok(crate::bundle::validity(read))).unwrap();
    assert!(until.unix() <= world.kept.until.load(Ordering::SeqCst), "its end was kept before");
    assert!(now().after(hours(1)).unix() - until.unix() < 60);
}

#[test]
fn the_message_is_on_the_wire_as_istio_s() {
    let metadata = b"\x22\x1b\x0a\x19\x0a\x15ImpersonatedIdentity!\x12\x00";
    let mut wire = b"\x0a\x03pem\x18\x90\x1c".to_vec();
    wire.extend(metadata);
    let read = IstioCertificateRequest::decode(&wire[..]).unwrap();
    assert_eq!((read.csr.as_str(), read.validity_duration), ("pem", 3600));
    assert!(read.metadata.unwrap().fields.contains_key("ImpersonatedIdentity!"));
    let answer = IstioCertificateResponse { cert_chain: vec!["a".to_owned(), "b".to_owned()] };
    assert_eq!(answer.encode_to_vec(), b"\x0a\x01a\x0a\x01b");
}

#[tokio::test]
async fn who_is_nobody_learns_nothing_and_who_cannot_be_told_asks_again() {
    let world = usual();
    let nothing = (Code::Unauthenticated, "request authenticate failure".to_owned());
    assert_eq!(world.refuses("", asks(&csr(), 0)).await, nothing);
    assert_eq!(world.refuses("spiffe://other/ns/a/sa/b", asks(&csr(), 0)).await, nothing);
    assert_eq!(world.refuses("later", asks(&csr(), 0)).await.0, Code::Unavailable);
    assert_eq!(world.kept.times.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nobody_speaks_for_another_unless_allowed() {
    let world = usual();
    let wants = |who: &str| {
        let value = Value { kind: Some(Kind::StringValue(who.to_owned())) };
        let fields =
            [("ImpersonatedIdentity".to_owned(), value), ("CertSigner".to_owned(), Value::default())];
        IstioCertificateRequest { metadata: Some(Struct { fields: fields.into() }), ..asks(&csr(), 0) }
    };
    assert_eq!(
        world.refuses(REVIEWS, wants("spiffe://cluster.local/ns/bank/sa/vault")).await.0,
        Code::Unauthenticated
    );
    assert!(world.ask(REVIEWS, wants("")).await.is_ok(), "Istio's agent sends what it does not use");
}

#[tokio::test]
async fn a_bad_request_is_the_asker_s_fault() {
    let world = usual();
    assert_eq!(world.refuses(REVIEWS, asks("hello", 0)).await.0, Code::InvalidArgument);
    assert_eq!(
        world.refuses(REVIEWS, asks(&"a".repeat(csr::MAX_BYTES + 1), 0)).await.0,
        Code::InvalidArgument
    );
    assert_eq!(world.refuses(REVIEWS, asks(&"a".repeat(MAX_MESSAGE_BYTES), 0)).await.0, Code::OutOfRange);
    assert!(world.ask(REVIEWS, asks(&csr(), 7_776_000)).await.is_ok());
    assert_eq!(
        world.refuses(REVIEWS, asks(&csr(), 7_776_001)).await,
        (
            Code::InvalidArgument,
            "a certificate of 7776001 seconds was asked for, and 7776000 is the most".to_owned()
        )
    );
    let other = "/istio.v1.auth.IstioCertificateService/Other";
    assert_eq!(world.call(other, REVIEWS, asks(&csr(), 0)).await.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn trouble_of_ours_is_never_the_asker_s_fault() {
    let fails = world(Limits::default(), Kept { fails: true, ..Kept::default() });
    assert_eq!(fails.refuses(REVIEWS, asks(&csr(), 0)).await.0, Code::Unavailable);
    let world = usual();
    world.authority.send_replace(None);
    assert_eq!(world.refuses(REVIEWS, asks(&csr(), 0)).await.0, Code::Internal);
    // A root that has a second, loaded two seconds ago.
    let before = now().before(Duration::from_secs(2));
    let root = crate::Material::generate("cluster.local", Duration::from_secs(1), before).unwrap();
    world.authority.send_replace(Some(Arc::new(Authority::load(&root, before).unwrap())));
    assert_eq!(world.refuses(REVIEWS, asks(&csr(), 0)).await.0, Code::Internal);
}

#[tokio::test]
async fn a_new_signer_is_used_from_the_next_request_on() {
    let world = usual();
    let before = world.ask(REVIEWS, asks(&csr(), 0)).await.unwrap();
    let next = Arc::new(authority());
    world.authority.send_replace(Some(Arc::clone(&next)));
    let after = world.ask(REVIEWS, asks(&csr(), 0)).await.unwrap();
    assert_ne!(before[1], after[1]);
    assert_eq!(after[1], next.bundle().pem());
}

#[tokio::test]
async fn one_identity_is_bounded_and_others_are_not_refused_for_it() {
    let world = world(Limits { burst: 2, interval: hours(1), ..Limits::default() }, Kept::default());
    let csr = csr();
    for _ in 0..2 {
        world.ask(REVIEWS, asks(&csr, 0)).await.unwrap();
    }
    assert_eq!(world.refuses(REVIEWS, asks(&csr, 0)).await.0, Code::ResourceExhausted);
    assert!(world.ask("spiffe://cluster.local/ns/shop/sa/other", asks(&csr, 0)).await.is_ok());
}

#[tokio::test]
async fn so_many_wait_and_the_next_is_told_to_come_again() {
    let world = world(Limits { waiting: 2, ..Limits::default() }, Kept::default());
    let csr = csr();
    let mut first = Box::pin(world.ask("never", asks(&csr, 0)));
    let mut second = Box::pin(world.ask("never", asks(&csr, 0)));
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    assert_eq!(world.refuses(REVIEWS, asks(&csr, 0)).await.0, Code::ResourceExhausted);
    drop(first);
    assert!(world.ask(REVIEWS, asks(&csr, 0)).await.is_ok(), "whoever goes away makes room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_everybody_is_answered_one_after_another() {
    let world = usual();
    let csr = csr();
    let answers = futures::future::join_all((0..100).map(|_| world.ask(REVIEWS, asks(&csr, 0)))).await;
    let leaves: std::collections::BTreeSet<String> =
        answers.into_iter().map(|answer| answer.unwrap().remove(0)).collect();
    assert_eq!(leaves.len(), 100, "each a certificate of its own");
    assert_eq!(world.server.shared.signing.available_permits(), 1);
    assert_eq!(reviews().to_string(), REVIEWS);
}
