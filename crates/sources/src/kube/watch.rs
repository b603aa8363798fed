//! Follows one kind at the API server: lists, watches, tries again. Carries only; what is believed is decided in [`mod@super::follow`].
//!
//! Invariants: every request and every silence has a limit; an answer that is no answer is told as trouble, waited out with backoff, and
//! takes nothing away of what was read.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures::StreamExt as _;
use kube::Client;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::definitions::Definitions;
use super::follow::{Change, Follow, Listed, Name, Next, Page, Revision};
use super::kinds::{Part, Watched};
use super::metrics::Metrics;
use super::slim::{Shape, Slim};
use super::substance::Substances;
use super::trouble::{self, Meaning, Trouble};

/// Objects in a page of a list: some MB of JSON at most, so that neither side holds much at once. As kubectl's.
const PAGE: u32 = 500;

/// An answer that does not begin within so long is none.
const ANSWER: Duration = Duration::from_secs(30);

/// After so long the server ends a watch (seconds; less some, so that those of all kinds do not end together), and it is begun anew from
/// where it was, which costs a request. A connection that died without a word is noticed after [`SILENCE`].
const WATCH: std::ops::RangeInclusive<u32> = 45..=60;

/// A watch that says nothing for so long, not even that it ends, is dead.
const SILENCE: Duration = Duration::from_secs(70);

/// A watch that ends sooner than this, and has said nothing, is a failure: tried again with backoff.
const BRIEF: Duration = Duration::from_secs(1);

/// A trouble of what is followed already is told when it was met so often in a row: within a second or two. An API server that restarts
/// says all kinds of things until it is itself again, that it forbids what it allows among them.
const TOLD: u32 = 4;

/// How many events of a watch are taken in one go, if they are there.
const CHUNK: usize = 512;

/// What a follower tells.
#[derive(Debug)]
pub(super) enum Heard<T> {
    /// These objects differ.
    Changes(Followed, Vec<(Name, Option<T>)>),
    /// Everything there is of what it follows was told once.
    Listed(Followed),
    /// What stands in the way; none: nothing does any more.
    Trouble(Followed, Option<Trouble>),
}

/// What one follower follows: a kind, in one namespace or in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    pub(super) watched: &'static Watched,
    /// None: every namespace.
    pub(super) namespace: Option<Arc<str>>,
}

impl Followed {
    /// What tells it from all others.
    pub(super) fn id(&self) -> (&'static str, Option<Arc<str>>) {
        (self.watched.plural, self.namespace.clone())
    }
}

impl From<&'static Watched> for Followed {
    fn from(watched: &'static Watched) -> Self {
        Self { watched, namespace: None }
    }
}

/// What is followed, and how its objects are read.
pub(super) struct Target<T> {
    pub(super) followed: Followed,
    /// Only what this field selector selects; empty: all.
    pub(super) fields: String,
    /// None: what has no meaning here.
    pub(super) read: fn(&'static Watched, &'static str, &Name, Value) -> Option<T>,
    /// Each version counts, also one of which nothing that is kept differs.
    pub(super) each_version: bool,
}

/// The field selector of objects of one name. A role may allow just these, by `resourceNames`: the API server reads the name from the
/// selector.
pub(super) fn named(name: &str) -> String {
    format!("metadata.name={name}")
}

/// Nobody listens any more.
#[derive(Debug)]
struct Closed;

/// Follows until nobody listens.
pub(super) async fn follow<S: Shape, T: Send + 'static>(
    target: Target<T>,
    client: Client,
    heard: mpsc::Sender<Heard<T>>,
    definitions: Option<watch::Receiver<Definitions>>,
    metrics: Metrics,
) {
    let mut follower = Follower {
        follow: Follow::new(),
        substances: Substances::default(),
        version: 0,
        backoff: backoff(),
        failures: 0,
        alike: 0,
        last: "",
        is_told: false,
        target,
        client,
        heard,
        definitions,
        metrics,
    };
    loop {
        let asked = match follower.follow.next() {
            Next::List(token) => follower.list::<S>(token).await,
            Next::Watch(from) => follower.watch::<S>(&from).await,
        };
        if asked.is_err() {
            return;
        }
    }
}

/// Between tries: from a blink, since most failures are one connection's, to 2.5 s, which jitter makes 5 s at most, since a server that
/// comes back is waited for by traffic.
fn backoff() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_millis(2500))
        .with_jitter()
        .without_max_times()
        .build()
}

struct Follower<T> {
    target: Target<T>,
    client: Client,
    heard: mpsc::Sender<Heard<T>>,
    definitions: Option<watch::Receiver<Definitions>>,
    metrics: Metrics,
    follow: Follow,
    substances: Substances,
    /// Which of the kind's versions is asked for.
    version: usize,
    backoff: backon::ExponentialBackoff,
    /// In a row.
    failures: u32,
    /// Of the same code in a row.
    alike: u32,
    /// That code.
    last: &'static str,
    /// The last trouble was told and not taken back.
    is_told: bool,
}

/// A list as the API server writes it.
#[derive(serde::Deserialize)]
#[serde(bound = "S: Shape")]
struct List<S> {
    metadata: ListMetadata,
    #[serde(default)]
    items: Option<Vec<Slim<S>>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ListMetadata {
    resource_version: String,
    r#continue: Option<String>,
}

impl<T> Follower<T> {
    fn watched(&self) -> &'static Watched {
        self.target.followed.watched
    }

    fn followed(&self) -> Followed {
        self.target.followed.clone()
    }

    fn version(&self) -> &'static str {
        self.watched().versions.get(self.version).copied().unwrap_or_default()
    }

    fn request(&self) -> Request {
        let Watched { group, plural, .. } = self.watched();
        let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        let version = self.version();
        Request::new(match &self.target.followed.namespace {
            Some(namespace) => format!("{root}/{version}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{version}/{plural}"),
        })
    }

    fn field_selector(&self) -> Option<String> {
        (!self.target.fields.is_empty()).then(|| self.target.fields.clone())
    }

    async fn list<S: Shape>(&mut self, token: Option<String>) -> Result<(), Closed> {
        let is_first = token.is_none();
        let params = ListParams {
            limit: Some(PAGE),
            continue_token: token,
            field_selector: self.field_selector(),
            ..ListParams::default()
        };
        let request = match self.watched().part {
            Part::Metadata => self.request().list_metadata(&params),
            _ => self.request().list(&params),
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => return self.failed(trouble::unreachable(&kube::Error::BuildRequest(error))).await,
        };
        if is_first {
            self.metrics.listed(self.watched().plural);
        }
        let text = match timeout(ANSWER, self.client.request_text(request)).await {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => return self.on_error(&error).await,
            Err(_) => return self.failed(trouble::silent()).await,
        };
        let list: List<S> = match serde_json::from_str(&text) {
            Ok(list) => list,
            Err(error) => return self.on_error(&kube::Error::SerdeError(error)).await,
        };
        drop(text);
        let items = list.items.unwrap_or_default().into_iter().filter_map(|item| {
            let (name, version) = identity(&item.value)?;
            Some((name, Revision::parse(&version), item.value))
        });
        let page = Page {
            version: list.metadata.resource_version,
            continue_token: list.metadata.r#continue.filter(|token| !token.is_empty()),
            items: items.collect(),
        };
        match self.follow.on_page(page, now()) {
            Listed::Part(changes) => self.tell(changes).await,
            Listed::Whole(changes) => {
                self.tell(changes).await?;
                self.send(Heard::Listed(self.followed())).await?;
                // Not more than that: where each watch fails, the next try waits ever longer although each list is answered.
                self.alike = 0;
                self.untell().await
            }
            Listed::Stale => self.failed(trouble::stale(self.watched().plural)).await,
        }
    }

    async fn watch<S: Shape>(&mut self, from: &str) -> Result<(), Closed> {
        let params = WatchParams {
            timeout: Some(fastrand::u32(WATCH)),
            bookmarks: true,
            field_selector: self.field_selector(),
            ..WatchParams::default()
        };
        let request = match self.watched().part {
            Part::Metadata => self.request().watch_metadata(&params, from),
            _ => self.request().watch(&params, from),
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => return self.failed(trouble::unreachable(&kube::Error::BuildRequest(error))).await,
        };
        let began = now();
        let client = self.client.clone();
        let events = match timeout(ANSWER, client.request_events::<Slim<S>>(request)).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => return self.on_error(&error).await,
            Err(_) => return self.failed(trouble::silent()).await,
        };
        let mut events = pin!(events.ready_chunks(CHUNK));
        let mut said = false;
        // One that breaks at once, each time, has not mended anything.
        let mut lives = false;
        loop {
            let heard = self.heard.clone();
            let chunk = tokio::select! {
                chunk = timeout(if lives { SILENCE } else { BRIEF }, events.next()) => chunk,
                () = heard.closed() => return Err(Closed),
            };
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) if said || now().saturating_duration_since(began) >= BRIEF => {
                    return self.fine().await;
                }
                Ok(None) => return self.failed(trouble::brief()).await,
                Err(_) if !lives => {
                    lives = true;
                    self.fine().await?;
                    continue;
                }
                Err(_) => return self.failed(trouble::silent()).await,
            };
            let mut changes = Vec::new();
            let mut broken = None;
            for event in chunk {
                match event {
                    Ok(event) => {
                        said = true;
                        match self.on_event(event) {
                            Ok(change) => changes.extend(change),
                            Err(error) => broken = Some(error),
                        }
                    }
                    Err(error) => broken = Some(error),
                }
                if broken.is_some() {
                    break;
                }
            }
            self.tell(changes).await?;
            if let Some(error) = broken {
                return self.on_error(&error).await;
            }
            if !lives && now().saturating_duration_since(began) >= BRIEF {
                lives = true;
                self.fine().await?;
            }
        }
    }

    fn on_event<S>(&mut self, event: WatchEvent<Slim<S>>) -> Result<Option<Change<Value>>, kube::Error> {
        let named =
            |object: Slim<S>| identity(&object.value).map(|(name, version)| (name, version, object.value));
        Ok(match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                named(object).and_then(|(name, version, value)| self.follow.on_applied(name, &version, value))
            }
            // What it was when it went may not even be an object of the kind: its name is enough.
            WatchEvent::Deleted(object) => {
                named(object).and_then(|(name, version, _)| self.follow.on_deleted(name, &version))
            }
            WatchEvent::Bookmark(bookmark) => {
                self.follow.on_bookmark(&bookmark.metadata.resource_version);
                None
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        })
    }

    async fn on_error(&mut self, error: &kube::Error) -> Result<(), Closed> {
        match trouble::meaning(error, self.watched()) {
            Meaning::Gone => {
                self.follow.relist();
                // Once is how a watch that fell behind ends; a server that always says so must not be asked without pause.
                self.failures += 1;
                if self.failures > 1 { self.pause().await } else { Ok(()) }
            }
            Meaning::NotServed => self.not_served().await,
            Meaning::Trouble(trouble) => self.failed(trouble).await,
        }
    }

    /// 404: another version may be served, or the definition is not there (yet, or any more), or is being replaced.
    async fn not_served(&mut self) -> Result<(), Closed> {
        if self.version + 1 < self.watched().versions.len() {
            self.version += 1;
            self.follow.relist();
            return Ok(());
        }
        self.version = 0;
        self.follow.relist();
        let Some(mut definitions) = self.definitions.clone().filter(|_| self.watched().is_custom()) else {
            return self.failed(trouble::not_served(self.watched().plural)).await;
        };
        let definition = self.watched().definition();
        let heard = self.heard.clone();
        let known = tokio::select! {
            known = definitions.wait_for(|known| *known != Definitions::Unknown) => known.map(|known| known.clone()),
            () = heard.closed() => return Err(Closed),
        };
        match known {
            // It is there and not served: it was made, or changed, a moment ago.
            Ok(Definitions::Known(known)) if known.contains(&definition) => self.pause().await,
            Ok(Definitions::Known(_)) => {
                let gone = self.follow.on_absent();
                tracing::debug!(
                    definition,
                    objects = gone.len(),
                    "there is no such kind; waiting for its definition"
                );
                self.tell(gone).await?;
                self.send(Heard::Listed(self.followed())).await?;
                self.fine().await?;
                let appeared = |known: &Definitions| match known {
                    Definitions::Known(known) => known.contains(&definition),
                    Definitions::Unknown | Definitions::Hidden => true,
                };
                tokio::select! {
                    _ = definitions.wait_for(appeared) => Ok(()),
                    () = heard.closed() => Err(Closed),
                }
            }
            // Nobody says whether it will come. What was read of it stays, and it is asked for again and again.
            Ok(Definitions::Unknown | Definitions::Hidden) | Err(_) => {
                self.send(Heard::Listed(self.followed())).await?;
                self.pause().await
            }
        }
    }

    /// Tells the trouble, and waits before the next try.
    async fn failed(&mut self, trouble: Trouble) -> Result<(), Closed> {
        self.failures += 1;
        self.alike = if trouble.code == self.last { self.alike + 1 } else { 1 };
        self.last = trouble.code;
        self.metrics.failed(self.watched().plural, trouble.code);
        tracing::debug!(
            kind = self.watched().plural,
            code = trouble.code,
            failures = self.failures,
            "{}",
            trouble.message
        );
        let is_told = self.alike >= TOLD || !self.follow.is_listed();
        if is_told {
            self.is_told = true;
            self.send(Heard::Trouble(self.followed(), Some(trouble))).await?;
        }
        self.pause().await
    }

    async fn pause(&mut self) -> Result<(), Closed> {
        let backoff = self.backoff.next().unwrap_or_default();
        let heard = self.heard.clone();
        tokio::select! {
            () = tokio::time::sleep(backoff) => Ok(()),
            () = heard.closed() => Err(Closed),
        }
    }

    /// The server answers as it should.
    async fn fine(&mut self) -> Result<(), Closed> {
        self.failures = 0;
        self.alike = 0;
        self.backoff = backoff();
        self.untell().await
    }

    async fn untell(&mut self) -> Result<(), Closed> {
        if std::mem::take(&mut self.is_told) {
            self.send(Heard::Trouble(self.followed(), None)).await?;
        }
        Ok(())
    }

    async fn tell(&mut self, mut changes: Vec<Change<Value>>) -> Result<(), Closed> {
        let version = self.version();
        let (watched, read) = (self.watched(), self.target.read);
        self.metrics.changed(watched.plural, changes.len());
        if !self.target.each_version {
            changes.retain(|change| self.substances.differ(version, change));
        }
        let read: Vec<(Name, Option<T>)> = changes
            .into_iter()
            .filter_map(|Change { name, now }| match now {
                Some(value) => read(watched, version, &name, value).map(|read| (name, Some(read))),
                None => Some((name, None)),
            })
            .collect();
        if read.is_empty() {
            return Ok(());
        }
        self.send(Heard::Changes(self.followed(), read)).await
    }

    async fn send(&mut self, heard: Heard<T>) -> Result<(), Closed> {
        self.heard.send(heard).await.map_err(|_| Closed)
    }
}

/// Namespace, name and resource version; none for what has no name, which is no object.
fn identity(value: &Value) -> Option<(Name, String)> {
    let metadata = value.get("metadata")?;
    let text = |field: &str| metadata.get(field).and_then(Value::as_str).unwrap_or_default();
    let name = text("name");
    (!name.is_empty()).then(|| {
        (Name { namespace: text("namespace").into(), name: name.into() }, text("resourceVersion").to_owned())
    })
}

fn now() -> Instant {
    Instant::now()
}
