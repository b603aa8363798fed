//! A client that asks in Envoy's order, learns names as Envoy does, and acknowledges each answer.
//!
//! The order: clusters (wildcard); the assignments that they name; listeners (wildcard) once no cluster is warming; the
//! route configurations that they name; virtual hosts (one request without names on a stream, delta only) once a route
//! configuration wants them.

mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meltemi_names::TypeUrl;
use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;

use super::{Held, Node, stream};
use session::{Incoming, Session};

/// Which of the protocol's two forms a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Incremental; Istio's default.
    Delta,
    /// State of the world.
    Sotw,
}

/// Decides about a resource by type and name: the reason to refuse it, or none.
type Refusal = Box<dyn Fn(TypeUrl, &str) -> Option<String> + Send>;

/// A client like Envoy. It reads only when it is asked to: one that is left alone is a stalled one.
pub struct Sidecar {
    channel: Channel,
    node: Node,
    form: Form,
    session: Session,
    subscriptions: BTreeMap<TypeUrl, Subscription>,
    held: Held,
    refusal: Option<Refusal>,
}

/// What one answer brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its type.
    pub kind: TypeUrl,
    /// The resources in it, in its order.
    pub resources: Vec<String>,
    /// The resources that it removes.
    pub removed: Vec<String>,
    /// The encoded size of the whole answer.
    pub bytes: usize,
    /// Why it was refused, if it was.
    pub refused: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Subscription {
    /// Of a wildcard, none.
    names: BTreeSet<String>,
    /// State of the world: of the last response accepted.
    version: String,
    /// State of the world: of the last response.
    nonce: String,
}

impl Sidecar {
    /// Connects to the server at `address` and asks for the clusters.
    ///
    /// # Errors
    /// When nobody listens there, or the server refuses the stream.
    pub async fn connect(address: SocketAddr, node: Node, form: Form) -> Result<Self> {
        Self::over(stream::connect(address).await?, node, form).await
    }

    /// As [`Sidecar::connect`], over a connection that is there.
    ///
    /// # Errors
    /// When the server refuses the stream.
    pub async fn over(channel: Channel, node: Node, form: Form) -> Result<Self> {
        let session = Session::open(channel.clone(), form, &node, &BTreeMap::new(), &Held::default()).await?;
        let subscriptions = BTreeMap::from([(TypeUrl::Cluster, Subscription::default())]);
        Ok(Self { channel, node, form, session, subscriptions, held: Held::default(), refusal: None })
    }

    /// What it holds.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// From now on it refuses an answer with a resource for which `refusal` has a reason, and applies nothing of it.
    pub fn refuse(&mut self, refusal: impl Fn(TypeUrl, &str) -> Option<String> + Send + 'static) {
        self.refusal = Some(Box::new(refusal));
    }

    /// From now on it accepts everything again.
    pub fn accept(&mut self) {
        self.refusal = None;
    }

    /// Drops the stream, opens another and subscribes to all that it was subscribed to; in delta form with the versions
    /// that it holds.
    ///
    /// # Errors
    /// When the server refuses the stream.
    pub async fn reconnect(&mut self) -> Result<()> {
        self.reconnect_over(self.channel.clone()).await
    }

    /// As [`Sidecar::reconnect`], over another connection: to another replica, or to a server that was started anew.
    ///
    /// # Errors
    /// When the server refuses the stream.
    pub async fn reconnect_over(&mut self, channel: Channel) -> Result<()> {
        self.channel = channel;
        for subscription in self.subscriptions.values_mut() {
            subscription.nonce.clear();
        }
        self.session =
            Session::open(self.channel.clone(), self.form, &self.node, &self.subscriptions, &self.held)
                .await?;
        Ok(())
    }

    /// Waits for the next answer, applies it (or refuses it), acknowledges it and asks for what it names.
    ///
    /// # Errors
    /// When the server ends the stream, or sends what it should not.
    pub async fn step(&mut self) -> Result<Step> {
        let incoming = self.session.receive().await?;
        let kind = incoming.kind;
        // Taken out and put back: a copy of thousands of names for each answer would cost more than the server's work.
        let Some(mut subscription) = self.subscriptions.remove(&kind) else {
            bail!("the server sent {kind}, which nobody asked for");
        };
        let refused = self.refusal.as_ref().and_then(|refusal| {
            incoming.resources.iter().find_map(|(name, _)| {
                refusal(kind, name).map(|reason| format!("Error adding/updating {name}: {reason}"))
            })
        });
        let mut is_rewarming = false;
        if refused.is_none() {
            match self.apply(&incoming, &subscription) {
                Ok(is_warming) => is_rewarming = is_warming && kind == TypeUrl::Cluster,
                Err(error) => {
                    self.subscriptions.insert(kind, subscription);
                    return Err(error);
                }
            }
            subscription.version.clone_from(&incoming.version);
        }
        subscription.nonce.clone_from(&incoming.nonce);
        let acknowledged = self.session.acknowledge(kind, &subscription, refused.as_deref()).await;
        self.subscriptions.insert(kind, subscription);
        acknowledged?;
        // Endpoints and virtual hosts name nothing; endpoints end the warming that listeners wait for.
        let names_others = match kind {
            TypeUrl::VirtualHost => false,
            TypeUrl::Endpoint => !self.subscriptions.contains_key(&TypeUrl::Listener),
            _ => true,
        };
        if names_others {
            self.follow(is_rewarming).await?;
        }
        Ok(Step {
            kind,
            resources: incoming.resources.into_iter().map(|(name, _)| name).collect(),
            removed: incoming.removed,
            bytes: incoming.bytes,
            refused,
        })
    }

    /// Takes answers until what it holds is such; returns the steps it took.
    ///
    /// # Errors
    /// When it is not such after `limit`, or the server ends the stream; with what it holds.
    pub async fn until(&mut self, limit: Duration, is_such: impl Fn(&Held) -> bool) -> Result<Vec<Step>> {
        let deadline = Instant::now() + limit;
        let mut steps = Vec::new();
        while !is_such(&self.held) {
            let step = timeout_at(deadline, self.step()).await.with_context(|| {
                let held: Vec<_> = TypeUrl::ALL
                    .into_iter()
                    .map(|kind| format!("{kind} {:?}", self.held.names(kind)))
                    .collect();
                format!("not so after {limit:?} and {} answers; held: {}", steps.len(), held.join(", "))
            })??;
            steps.push(step);
        }
        Ok(steps)
    }

    /// Says whether an EDS cluster began to warm.
    fn apply(&mut self, incoming: &Incoming, subscription: &Subscription) -> Result<bool> {
        let kind = incoming.kind;
        let mut is_warming = false;
        for (name, resource) in &incoming.resources {
            let is_wanted = is_wildcard(kind) || subscription.names.contains(name);
            // One that was unsubscribed while it was on its way is dropped, as Envoy does.
            if is_wanted && self.held.insert(kind, name, resource.clone())? {
                is_warming |= self.held.warming().contains(name);
            }
        }
        for name in &incoming.removed {
            self.held.remove(kind, name);
        }
        if incoming.is_complete {
            let names: BTreeSet<&str> = incoming.resources.iter().map(|(name, _)| name.as_str()).collect();
            self.held.retain(kind, |name| names.contains(name));
        }
        Ok(is_warming)
    }

    /// Asks for what is named by what is held, and gives up what is no longer.
    async fn follow(&mut self, is_rewarming: bool) -> Result<()> {
        let assignments = self.held.wanted_assignments();
        // A warming cluster subscribes anew: in state-of-the-world form that is a request, even for the same names.
        let again = is_rewarming && self.form == Form::Sotw;
        self.subscribe(TypeUrl::Endpoint, assignments, again).await?;
        if self.held.warming().is_empty() && !self.subscriptions.contains_key(&TypeUrl::Listener) {
            self.subscribe_to_all(TypeUrl::Listener).await?;
        }
        self.subscribe(TypeUrl::Route, self.held.wanted_routes(), false).await?;
        if self.form == Form::Delta
            && self.held.wants_virtual_hosts()
            && !self.subscriptions.contains_key(&TypeUrl::VirtualHost)
        {
            self.subscribe_to_all(TypeUrl::VirtualHost).await?;
        }
        Ok(())
    }

    async fn subscribe_to_all(&mut self, kind: TypeUrl) -> Result<()> {
        let subscription = Subscription::default();
        self.session.subscribe(kind, &subscription, &BTreeSet::new()).await?;
        self.subscriptions.insert(kind, subscription);
        Ok(())
    }

    async fn subscribe(&mut self, kind: TypeUrl, names: BTreeSet<String>, again: bool) -> Result<()> {
        let before = self.subscriptions.get(&kind).cloned();
        if names.is_empty() && before.is_none() {
            return Ok(());
        }
        let mut subscription = before.unwrap_or_default();
        if subscription.names == names && !again {
            return Ok(());
        }
        let before = std::mem::replace(&mut subscription.names, names);
        self.session.subscribe(kind, &subscription, &before).await?;
        let is_kept = |name: &str| subscription.names.contains(name);
        self.held.retain(kind, is_kept);
        self.subscriptions.insert(kind, subscription);
        Ok(())
    }
}

/// The types of which Envoy asks for all there are, with an empty list of names.
fn is_wildcard(kind: TypeUrl) -> bool {
    matches!(kind, TypeUrl::Cluster | TypeUrl::Listener | TypeUrl::VirtualHost)
}
