//! Each fault, as a client of the real API server meets it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Service;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

/// For what must come.
const SOON: Duration = Duration::from_secs(20);

/// For what must not come: long enough for a machine of two cores to bring it in almost any run.
const NEVER: Duration = Duration::from_millis(500);

/// A cluster, a namespace in it, and a proxy before it, through which its services are read.
struct World {
    cluster: Arc<Cluster>,
    proxy: Proxy,
    namespace: String,
    services: Api<Service>,
}

impl World {
    async fn new() -> Result<Self> {
        let cluster = Cluster::shared().await?;
        let namespace = cluster.namespace("shop").await?;
        let proxy = Proxy::start(&cluster).await?;
        let client = proxy.access(cluster.access()).client().await?;
        let services = Api::namespaced(client, &namespace);
        Ok(Self { cluster, proxy, namespace, services })
    }

    /// The part that the requests for services hold.
    fn part(&self) -> String {
        format!("/{}/services", self.namespace)
    }

    /// Makes a service, past the proxy.
    async fn make(&self, name: &str) -> Result<()> {
        let object = format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {}}}, spec: {{ports: [{{port: 80}}]}}}}",
            self.namespace
        );
        self.cluster.apply(&object).await
    }

    async fn names(&self) -> kube::Result<Vec<String>> {
        let list = self.services.list(&ListParams::default()).await?;
        Ok(list.items.iter().map(ResourceExt::name_any).collect())
    }

    /// A watch of the services through the proxy, from now on, as soon as it is under way.
    async fn watch(&self) -> Result<Watch> {
        let version = self.services.list(&ListParams::default()).await?.metadata.resource_version;
        let version = version.context("a list without a version")?;
        self.watch_from(&version).await
    }

    async fn watch_from(&self, version: &str) -> Result<Watch> {
        Ok(Watch { events: self.services.watch(&WatchParams::default(), version).await?.boxed() })
    }
}

/// A watch without the client's own care, which takes a broken stream for one that has ended.
struct Raw {
    body: Incoming,
    _sender: SendRequest<Empty<Bytes>>,
    _connection: JoinSet<hyper::Result<()>>,
}

impl Raw {
    async fn new(world: &World) -> Result<Self> {
        let address = world.proxy.address();
        let stream = TokioIo::new(world.cluster.dial().to(address).await?);
        let (mut sender, connection) = http1::handshake(stream).await?;
        let mut task = JoinSet::new();
        task.spawn(connection);
        let request = http::Request::get(format!("/api/v1/namespaces{}?watch=true", world.part()))
            .header("host", address.to_string())
            .header("authorization", format!("Bearer {}", world.cluster.access().token()))
            .body(Empty::new())?;
        let body = sender.send_request(request).await?.into_body();
        Ok(Self { body, _sender: sender, _connection: task })
    }

    /// What comes until the end, and whether that is a whole stream's.
    async fn rest(mut self) -> Result<(String, bool)> {
        let mut text = String::new();
        loop {
            match timeout(SOON, self.body.frame()).await.context("no end")? {
                Some(Ok(frame)) => text.push_str(std::str::from_utf8(frame.data_ref().context("no data")?)?),
                Some(Err(_)) => return Ok((text, false)),
                None => return Ok((text, true)),
            }
        }
    }
}

struct Watch {
    events: BoxStream<'static, kube::Result<WatchEvent<Service>>>,
}

impl Watch {
    /// The next event in a word and a name; `error` for one that is an error, none at the end of the stream.
    async fn next(&mut self) -> Result<Option<String>> {
        let event = timeout(SOON, self.events.next()).await.context("no event")?;
        Ok(event.map(|event| match event {
            Ok(WatchEvent::Added(service)) => format!("added {}", service.name_any()),
            Ok(WatchEvent::Modified(service)) => format!("modified {}", service.name_any()),
            Ok(WatchEvent::Deleted(service)) => format!("deleted {}", service.name_any()),
            Ok(WatchEvent::Bookmark(_)) => "bookmark".to_owned(),
            Ok(WatchEvent::Error(status)) => format!("status {}", status.code),
            Err(_) => "error".to_owned(),
        }))
    }

    async fn expect(&mut self, expected: &str) -> Result<()> {
        let found = self.next().await?;
        if found.as_deref() != Some(expected) {
            bail!("{found:?}, not {expected}");
        }
        Ok(())
    }

    async fn expect_nothing(&mut self) -> Result<()> {
        match timeout(NEVER, self.events.next()).await {
            Err(_) => Ok(()),
            Ok(event) => bail!("{event:?}"),
        }
    }
}

#[tokio::test]
async fn without_a_fault_lists_watches_and_refusals_pass() -> Result<()> {
    let world = World::new().await?;
    let mut watch = world.watch().await?;
    world.proxy.await_watches(&world.part(), 1).await?;
    world.make("a").await?;
    watch.expect("added a").await?;
    assert_eq!(world.names().await?, ["a"]);
    let patch = Patch::Merge(json!({"metadata": {"labels": {"app": "a"}}}));
    let patched = world.services.patch("a", &PatchParams::default(), &patch).await?;
    assert_eq!(patched.labels().get("app").map(String::as_str), Some("a"));
    watch.expect("modified a").await?;
    world.services.delete("a", &DeleteParams::default()).await?;
    watch.expect("deleted a").await?;

    let nobody = world.proxy.access(&world.cluster.access().with_token("none")).client().await?;
    let services: Api<Service> = Api::namespaced(nobody, &world.namespace);
    let Err(kube::Error::Api(status)) = services.list(&ListParams::default()).await else { bail!("allowed") };
    assert_eq!(status.code, 401);

    drop(watch);
    let part = world.part();
    until("the end of the watch", SOON, async || {
        Ok(match world.proxy.watches(&part) {
            0 => Seen::Yes(()),
            _ => Seen::NotYet("under way".to_owned()),
        })
    })
    .await?;
    assert_eq!(world.proxy.requests(&format!("GET /api/v1/namespaces{part}")), 4);
    assert_eq!(world.proxy.requests("PATCH /"), 1);
    Ok(())
}

#[tokio::test]
async fn a_refusing_proxy_breaks_connections_and_takes_none_until_it_accepts() -> Result<()> {
    let world = World::new().await?;
    let watch = Raw::new(&world).await?;
    world.proxy.refuse().await;
    assert_eq!(watch.rest().await?, (String::new(), false));
    assert!(world.names().await.is_err());
    assert!(tokio::net::TcpStream::connect(world.proxy.address()).await.is_err());
    world.proxy.accept().await?;
    assert_eq!(world.names().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn watches_are_cut_ended_and_expired_on_order_and_others_are_not() -> Result<()> {
    let world = World::new().await?;
    let mut watch = world.watch().await?;
    world.proxy.cut_watches("/elsewhere/");
    world.make("a").await?;
    watch.expect("added a").await?;

    let raw = Raw::new(&world).await?;
    world.proxy.await_watches(&world.part(), 2).await?;
    world.proxy.cut_watches(&world.part());
    assert!(!raw.rest().await?.1);
    assert_eq!(watch.next().await?, None);

    let raw = Raw::new(&world).await?;
    world.proxy.end_watches(&world.part());
    assert!(raw.rest().await?.1);

    let mut watch = world.watch().await?;
    world.proxy.expire_watches("");
    watch.expect("status 410").await?;
    assert_eq!(watch.next().await?, None);
    Ok(())
}

#[tokio::test]
async fn new_watches_are_told_that_they_are_too_late_while_lists_go_on() -> Result<()> {
    let world = World::new().await?;
    world.proxy.set(&world.part(), Fault::WatchGone);
    let mut watch = world.watch().await?;
    watch.expect("status 410").await?;
    assert_eq!(watch.next().await?, None);

    world.proxy.heal();
    world.proxy.set(&world.part(), Fault::WatchStatus(410));
    let Err(error) = world.watch().await else { bail!("it began") };
    let Some(kube::Error::Api(status)) = error.downcast_ref() else { bail!("{error:#}") };
    assert_eq!(status.code, 410);
    Ok(())
}

#[tokio::test]
async fn a_status_is_answered_for_the_part_alone_and_until_healed() -> Result<()> {
    let world = World::new().await?;
    for code in [401, 403, 429, 500] {
        world.proxy.set(&world.part(), Fault::Status(code));
        // Without the client's own second and third try.
        let (status, body) = world
            .cluster
            .dial()
            .ask(
                world.proxy.address(),
                &format!("/api/v1/namespaces{}", world.part()),
                world.cluster.access().token(),
            )
            .await?;
        assert_eq!(status, code);
        assert!(body.contains("\"kind\":\"Status\""), "{body}");
        world.proxy.heal();
        assert_eq!(world.names().await?, Vec::<String>::new());
    }
    world.proxy.set("PATCH /", Fault::Status(500));
    assert_eq!(world.names().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn what_is_held_comes_in_order_when_it_is_released() -> Result<()> {
    let world = World::new().await?;
    let mut watch = world.watch().await?;
    world.proxy.set(&world.part(), Fault::Hold);
    world.make("a").await?;
    world.make("b").await?;
    watch.expect_nothing().await?;
    let mut list: Pin<Box<dyn Future<Output = _>>> = Box::pin(world.names());
    assert!(timeout(NEVER, &mut list).await.is_err());

    world.proxy.heal();
    watch.expect("added a").await?;
    watch.expect("added b").await?;
    assert_eq!(list.await?, ["a", "b"]);
    Ok(())
}

#[tokio::test]
async fn where_all_is_held_a_connection_is_accepted_and_not_answered() -> Result<()> {
    let world = World::new().await?;
    world.proxy.set("", Fault::Hold);
    let mut asked: Pin<Box<dyn Future<Output = _>>> =
        Box::pin(world.cluster.dial().to(world.proxy.address()));
    assert!(timeout(NEVER, &mut asked).await.is_err());
    world.proxy.heal();
    timeout(SOON, asked).await??;
    Ok(())
}

#[tokio::test]
async fn a_delay_is_of_each_event_and_they_do_not_add_up() -> Result<()> {
    let world = World::new().await?;
    let mut watch = world.watch().await?;
    let delay = Duration::from_secs(6);
    world.proxy.set(&world.part(), Fault::Delay(delay));
    let start = Instant::now();
    for name in ["a", "b", "c"] {
        world.make(name).await?;
    }
    watch.expect("added a").await?;
    assert!(start.elapsed() >= delay);
    let made = Instant::now();
    watch.expect("added b").await?;
    watch.expect("added c").await?;
    // Each came that long after it was made, and all were made within less.
    assert!(made.elapsed() < delay, "{:?}", made.elapsed());

    let start = Instant::now();
    assert_eq!(world.names().await?.len(), 3);
    assert!(start.elapsed() >= delay);
    Ok(())
}

#[tokio::test]
async fn events_come_twice() -> Result<()> {
    let world = World::new().await?;
    let mut watch = world.watch().await?;
    world.proxy.set(&world.part(), Fault::Duplicate);
    world.make("a").await?;
    world.make("b").await?;
    for expected in ["added a", "added a", "added b", "added b"] {
        watch.expect(expected).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_event_comes_by_half_and_the_connection_breaks() -> Result<()> {
    let world = World::new().await?;
    let watch = Raw::new(&world).await?;
    world.proxy.set(&world.part(), Fault::Truncate);
    world.make("a").await?;
    let (text, is_whole) = watch.rest().await?;
    assert!(text.starts_with("{\"type\":\"ADDED\"") && !text.ends_with('\n'), "{text}");
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_err());
    assert!(!is_whole);
    Ok(())
}

#[tokio::test]
async fn an_older_list_is_answered_again_and_a_watch_goes_on_from_it() -> Result<()> {
    let world = World::new().await?;
    world.make("a").await?;
    let old = world.proxy.record(&format!("/api/v1/namespaces{}", world.part())).await?;
    world.make("b").await?;
    assert_eq!(world.names().await?, ["a", "b"]);
    world.proxy.set(&world.part(), Fault::Answer(old));
    assert_eq!(world.names().await?, ["a"]);
    world.watch().await?.expect("added b").await
}

#[tokio::test]
async fn one_object_is_garbled_and_its_neighbour_is_not() -> Result<()> {
    let world = World::new().await?;
    world.proxy.set(&world.part(), Fault::Garble("bad".to_owned()));
    let mut watch = world.watch().await?;
    world.make("bad").await?;
    world.make("good").await?;
    watch.expect("error").await?;
    watch.expect("added good").await?;
    let Err(kube::Error::SerdeError(_)) = world.names().await else { bail!("it can be read") };
    assert_eq!(world.services.list_metadata(&ListParams::default()).await?.items.len(), 2);
    Ok(())
}
