//! A proxy in front of the API server that misbehaves on demand: faults that the real one has, but not when a test asks.
//!
//! What no fault is set for passes through, byte for byte and as soon as it comes.

mod answer;
mod body;
mod forward;
mod lines;
mod listen;
mod rules;
#[cfg(test)]
mod tests;

pub use rules::Fault;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::keys::Identity;
use super::wait::{Seen, until};
use super::{Access, Cluster, ports};
use forward::Upstream;
use rules::{Order, Rules};

/// How long [`Proxy::await_watches`] waits.
const LIMIT: Duration = Duration::from_secs(60);

/// A proxy in front of one cluster's API server. Dropping it closes it with all its connections.
///
/// It speaks TLS with a certificate of the cluster's own authority, and passes on who asks: an [`Access`] through it
/// differs from one without it by its address alone.
///
/// A fault, and whatever else is for some requests only, is given a *part*: the request's method and path must hold that
/// text, for instance `/endpointslices`, `PATCH /apis/networking.istio.io` or, for all of them, nothing.
pub struct Proxy {
    address: SocketAddr,
    upstream: Arc<Upstream>,
    identity: Identity,
    access: Access,
    listener: Mutex<Option<JoinHandle<()>>>,
}

impl Proxy {
    /// Starts one on 127.0.0.1.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        Self::start_at(cluster, Ipv4Addr::LOCALHOST).await
    }

    /// Starts one at that address of this machine, for pods in network namespaces to reach.
    ///
    /// # Errors
    /// When the address is not this machine's.
    pub async fn start_at(cluster: &Cluster, address: Ipv4Addr) -> Result<Self> {
        let mut proxy = Self {
            address: SocketAddr::from((address, ports::free()?)),
            upstream: Arc::new(Upstream::new(cluster.address(), cluster.dial().clone(), Rules::new())),
            identity: cluster.server_identity(&[&address.to_string()])?,
            access: cluster.access().clone(),
            listener: Mutex::new(None),
        };
        proxy.address = proxy.listen().await?;
        Ok(proxy)
    }

    /// `access`, through this proxy.
    pub fn access(&self, access: &Access) -> Access {
        access.through(&format!("https://{}", self.address))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on that fault, for requests that hold `part` (watches under way among them), besides those set before.
    pub fn set(&self, part: &str, fault: Fault) {
        self.rules().set(part, fault);
    }

    /// Takes all faults away; what they hold back goes on.
    pub fn heal(&self) {
        self.rules().heal();
    }

    /// Refuses connections, and breaks those there are: as when the machine of the API server is off.
    pub async fn refuse(&self) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = listener {
            listener.abort();
            // Its end closes the socket and, with the tasks it owns, the connections.
            drop(listener.await);
        }
    }

    /// Takes connections again, after [`Proxy::refuse`].
    ///
    /// # Errors
    /// When another process took the port meanwhile.
    pub async fn accept(&self) -> Result<()> {
        self.listen().await.map(drop)
    }

    /// Breaks the watches that hold `part`, in the middle of their stream.
    pub fn cut_watches(&self, part: &str) {
        self.rules().order(part, Order::Cut);
    }

    /// Ends the watches that hold `part` as the API server does when their time is over.
    pub fn end_watches(&self, part: &str) {
        self.rules().order(part, Order::End);
    }

    /// Tells the watches that hold `part` that what they are at is too old (410 Gone, as an event), and ends them.
    pub fn expire_watches(&self, part: &str) {
        self.rules().order(part, Order::Expire);
    }

    /// How many watches that hold `part` are under way.
    pub fn watches(&self, part: &str) -> usize {
        self.rules().watches(part)
    }

    /// How many requests that hold `part` came so far.
    pub fn requests(&self, part: &str) -> usize {
        self.rules().requests(part)
    }

    /// Waits until at least `count` watches that hold `part` are under way.
    ///
    /// # Errors
    /// When they are not within a minute.
    pub async fn await_watches(&self, part: &str, count: usize) -> Result<()> {
        until(&format!("{count} watches of `{part}`"), LIMIT, async || {
            let found = self.watches(part);
            Ok(if found >= count { Seen::Yes(()) } else { Seen::NotYet(format!("{found}")) })
        })
        .await
    }

    /// What the API server answers now to a GET of `path`, to be answered later by [`Fault::Answer`].
    ///
    /// # Errors
    /// When the answer is not 200.
    pub async fn record(&self, path: &str) -> Result<Bytes> {
        match self.upstream.get(path, self.access.token()).await? {
            (200, text) => Ok(text.into()),
            (status, text) => bail!("{path}: {status}: {text}"),
        }
    }

    async fn listen(&self) -> Result<SocketAddr> {
        let listener =
            listen::Listener::bind(self.address, &self.identity).await.context("the proxy's socket")?;
        let address = listener.address()?;
        let task = tokio::spawn(listener.run(Arc::clone(&self.upstream)));
        let before = self.listener.lock().unwrap_or_else(PoisonError::into_inner).replace(task);
        // It listened on the same port, so there was none.
        drop(before);
        Ok(address)
    }

    fn rules(&self) -> &Rules {
        self.upstream.rules()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listener) = listener {
            listener.abort();
        }
    }
}
