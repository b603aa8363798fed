//! The names and bodies that all simulated sidecars share, each known once: a sidecar holds a number per resource.
//!
//! Knows: resources as encoded. Must not know: who holds what.
//! Invariant: a number, once given, means the same name or body for ever; a body is decoded once, however many get it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use anyhow::{Context, Result};
use meltemi_names::TypeUrl;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::answer::Entry;
use crate::learn::learn;
use crate::requests;

/// How many types a sidecar subscribes to: clusters, endpoints, listeners, routes, virtual hosts, by [`TypeUrl`]'s order.
pub const KINDS: usize = 5;

/// The names and bodies met so far. Clones by pointer.
#[derive(Clone, Debug, Default)]
pub struct Catalogue(Arc<RwLock<Known>>);

/// Numbers of a resource: its name's, its body's. Names are counted per type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Index of the name among those of its type.
    pub name: u32,
    /// Index of the body among all; never 0, which a holder may use for none.
    pub body: u32,
}

/// What is known, for reading.
#[derive(Debug)]
pub struct Known {
    names: [Names; KINDS],
    numbers: HashMap<Hash, Numbers, BuildHasherDefault<Hashed>>,
    bodies: Vec<Body>,
}

#[derive(Debug, Default)]
struct Names {
    by_number: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
}

/// What is known of one body.
#[derive(Debug, Default)]
pub struct Body {
    /// Name and version, as a reconnect tells that they are held ([`requests::held`]).
    pub told: Box<[u8]>,
    /// The numbers of the names that it makes a sidecar ask for: assignments of a cluster, routes of a listener.
    pub asks: Box<[u32]>,
    /// Whether it is a route configuration whose virtual hosts are resources of their own.
    pub virtual_hosts: bool,
}

impl Default for Known {
    fn default() -> Self {
        // Number 0 is nobody's.
        Self { names: Default::default(), numbers: HashMap::default(), bodies: vec![Body::default()] }
    }
}

impl Catalogue {
    /// The numbers of these resources, in their order; what is new is read and remembered.
    ///
    /// # Errors
    /// When one is not what its type says.
    pub fn numbers(&self, kind: TypeUrl, resources: &[Entry<'_>]) -> Result<Vec<Numbers>> {
        let hashes: Vec<Hash> = resources.iter().map(|resource| hash(kind, resource)).collect();
        {
            let known = self.known();
            let all: Option<Vec<Numbers>> =
                hashes.iter().map(|hash| known.numbers.get(hash).copied()).collect();
            if let Some(all) = all {
                return Ok(all);
            }
        }
        // A panic while writing ends the whole measurement; nothing reads the half after it.
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        resources.iter().zip(hashes).map(|(resource, hash)| known.add(kind, resource, hash)).collect()
    }

    /// What is known, locked for reading.
    pub fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The body of that number.
    pub fn body(&self, number: u32) -> &Body {
        // Numbers are given here alone and never taken back.
        &self.bodies[number as usize]
    }

    /// The name of that number.
    pub fn name(&self, kind: TypeUrl, number: u32) -> &str {
        &self.names[kind as usize].by_number[number as usize]
    }

    /// The number of that name, if any resource or reference had it.
    pub fn number(&self, kind: TypeUrl, name: &str) -> Option<u32> {
        self.names[kind as usize].numbers.get(name).copied()
    }

    /// The number of the first name of that type of which `is_it` is true.
    pub fn find(&self, kind: TypeUrl, is_it: impl Fn(&str) -> bool) -> Option<u32> {
        (0..)
            .zip(&self.names[kind as usize].by_number)
            .find(|(_, name)| is_it(name))
            .map(|(number, _)| number)
    }

    fn add(&mut self, kind: TypeUrl, resource: &Entry<'_>, hash: Hash) -> Result<Numbers> {
        if let Some(numbers) = self.numbers.get(&hash) {
            return Ok(*numbers);
        }
        let name =
            std::str::from_utf8(resource.name).with_context(|| format!("the name of one of the {kind}"))?;
        let version = std::str::from_utf8(resource.version).with_context(|| format!("{kind} `{name}`"))?;
        let learnt = learn(kind, resource.resource).with_context(|| format!("{kind} `{name}`"))?;
        let asked = match kind {
            TypeUrl::Cluster => TypeUrl::Endpoint,
            _ => TypeUrl::Route,
        };
        let asks = learnt.names.iter().map(|name| self.names[asked as usize].intern(name)).collect();
        let body = u32::try_from(self.bodies.len()).context("more bodies than a number can say")?;
        self.bodies.push(Body {
            told: requests::held(name, version),
            asks,
            virtual_hosts: learnt.virtual_hosts,
        });
        let numbers = Numbers { name: self.names[kind as usize].intern(name), body };
        self.numbers.insert(hash, numbers);
        Ok(numbers)
    }
}

impl Names {
    fn intern(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.by_number.len()).unwrap_or(u32::MAX);
        let name: Arc<str> = name.into();
        self.by_number.push(Arc::clone(&name));
        self.numbers.insert(name, number);
        number
    }
}

/// Of type and name, and of the version or (where the server gives none) the bytes.
type Hash = (u64, u64);

fn hash(kind: TypeUrl, resource: &Entry<'_>) -> Hash {
    let name = xxh3_64_with_seed(resource.name, kind as u64);
    // Istiod gives no versions in delta; then the bytes tell bodies apart.
    let body = if resource.version.is_empty() { resource.resource } else { resource.version };
    (name, xxh3_64(body))
}

/// For a table whose keys are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= xxh3_64(bytes);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = self.0.rotate_left(32) ^ value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
