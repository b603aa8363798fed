//! One simulated sidecar that asks state-of-the-world: every answer of a type is the whole of it; pure.
//!
//! Knows: what an older Envoy asks and when. Must not know: sockets, the clock.
//! The order is Envoy's: all clusters, the assignments that they name, all listeners, the route configurations that those
//! name. What an answer names is learnt once for all sidecars, by the hash of its bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::envoy::service::discovery::v3::DiscoveryRequest;
use meltemi_proto::meltemi::envelope::DiscoveryResponse;
use xxhash_rust::xxh3::Xxh3;

use crate::catalogue::KINDS;
use crate::learn::learn;
use crate::sidecar::Brought;

/// What such a client subscribes to, in the order in which it does.
const ORDER: [TypeUrl; 4] = [TypeUrl::Cluster, TypeUrl::Endpoint, TypeUrl::Listener, TypeUrl::Route];

/// What answers name, learnt once. Clones by pointer.
#[derive(Clone, Debug, Default)]
pub struct Memory(Arc<Mutex<HashMap<u128, Arc<[String]>>>>);

/// One simulated sidecar.
#[derive(Debug)]
pub struct Sotw {
    node: Arc<Node>,
    memory: Memory,
    /// The names asked for, per type; empty for all.
    names: [Arc<[String]>; KINDS],
    versions: [String; KINDS],
    /// Resources of the last answer of each type.
    held: [usize; KINDS],
    asked: [bool; KINDS],
}

impl Sotw {
    /// A sidecar that holds nothing.
    pub fn new(node: Arc<Node>, memory: Memory) -> Self {
        Self {
            node,
            memory,
            names: std::array::from_fn(|_| Arc::default()),
            versions: Default::default(),
            held: [0; KINDS],
            asked: [false; KINDS],
        }
    }

    /// The requests with which it opens a stream.
    pub fn open(&mut self) -> Vec<DiscoveryRequest> {
        self.asked[TypeUrl::Cluster as usize] = true;
        let asked = ORDER.into_iter().filter(|kind| self.asked[*kind as usize]);
        let mut requests: Vec<DiscoveryRequest> =
            asked.map(|kind| self.request(kind, String::new())).collect();
        if let Some(first) = requests.first_mut() {
            first.node = Some((*self.node).clone());
        }
        requests
    }

    /// Takes an answer and says what follows from it, acknowledgement included.
    ///
    /// # Errors
    /// When the server sends what nobody asked for, or what is not what its type says.
    pub fn take(
        &mut self,
        answer: &DiscoveryResponse,
        requests: &mut Vec<DiscoveryRequest>,
    ) -> Result<Brought> {
        let kind = TypeUrl::parse(&answer.type_url)
            .filter(|kind| ORDER.contains(kind))
            .with_context(|| format!("the server sent {}, which nobody asked for", answer.type_url))?;
        self.versions[kind as usize].clone_from(&answer.version_info);
        self.held[kind as usize] = answer.resources.len();
        requests.push(self.request(kind, answer.nonce.clone()));
        match kind {
            TypeUrl::Cluster => self.follow(TypeUrl::Endpoint, kind, answer, requests)?,
            TypeUrl::Listener => self.follow(TypeUrl::Route, kind, answer, requests)?,
            TypeUrl::Endpoint if !self.asked[TypeUrl::Listener as usize] => {
                self.ask(TypeUrl::Listener, requests);
            }
            _ => {}
        }
        Ok(Brought { kind: kind as usize, resources: answer.resources.len(), ..Brought::default() })
    }

    /// Whether all it asked for was answered.
    pub fn is_settled(&self) -> bool {
        let holds = |kind: TypeUrl| self.held[kind as usize] >= self.names[kind as usize].len().max(1);
        ORDER.into_iter().all(|kind| self.asked[kind as usize] && holds(kind))
    }

    /// How many resources it holds of each type.
    pub fn counts(&self) -> [usize; KINDS] {
        self.held
    }

    /// Asks for what the resources of an answer name, if those are other names than before.
    fn follow(
        &mut self,
        next: TypeUrl,
        kind: TypeUrl,
        answer: &DiscoveryResponse,
        requests: &mut Vec<DiscoveryRequest>,
    ) -> Result<()> {
        let names = self.memory.names(kind, &answer.resources)?;
        if self.names[next as usize] != names || !self.asked[next as usize] {
            self.names[next as usize] = names;
            self.ask(next, requests);
        }
        Ok(())
    }

    fn ask(&mut self, kind: TypeUrl, requests: &mut Vec<DiscoveryRequest>) {
        self.asked[kind as usize] = true;
        requests.push(self.request(kind, String::new()));
    }

    fn request(&self, kind: TypeUrl, nonce: String) -> DiscoveryRequest {
        DiscoveryRequest {
            type_url: kind.as_str().to_owned(),
            version_info: self.versions[kind as usize].clone(),
            response_nonce: nonce,
            resource_names: self.names[kind as usize].to_vec(),
            ..DiscoveryRequest::default()
        }
    }
}

impl Memory {
    /// The names that these resources make a sidecar ask for, in order.
    fn names(&self, kind: TypeUrl, resources: &[Bytes]) -> Result<Arc<[String]>> {
        let mut hasher = Xxh3::with_seed(kind as u64);
        for resource in resources {
            hasher.update(resource);
        }
        let hash = hasher.digest128();
        // A panic while writing ends the whole measurement; nothing reads the half after it.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(names) = known.get(&hash) {
            return Ok(Arc::clone(names));
        }
        let mut names = Vec::new();
        for resource in resources {
            names.extend(learn(kind, resource).with_context(|| format!("one of the {kind}"))?.names);
        }
        names.sort_unstable();
        names.dedup();
        let names: Arc<[String]> = names.into();
        known.insert(hash, Arc::clone(&names));
        Ok(names)
    }
}
