//! The addresses of hosts that have none: of 240.240.0.0/16 and of 2001:2::/48, where nothing is.
//!
//! A proxy that answers its workload's DNS tells it such an address, and so knows by the address which host a connection is for. Istio's
//! controller writes them into `status.addresses`; Meltemi writes nothing: an address follows from the host and from the older entries.
//! What is in the status counts, so that nothing moves when Meltemi takes a mesh over from Istiod.
//!
//! Must not know: proxies, Envoy.   Invariant: no two hosts of a mesh have the same address; a younger entry never moves an older one's.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use meltemi_memo::Question;
use meltemi_names::{Host, ObjectKey};

use super::{Age, ServiceId};
use crate::entry::IndexKey;
use crate::mesh::Mesh;
use crate::read::{self, Read, filed, none_filed};

/// How many addresses there are to give: the first and the last of the block are left out.
const PLACES: u32 = (1 << 16) - 2;

/// The address of that number, 1 to [`PLACES`], in both families.
fn at(place: u32) -> [IpAddr; 2] {
    let [_, _, high, low] = place.to_be_bytes();
    let low_bits = u16::from_be_bytes([high, low]);
    [
        IpAddr::V4(Ipv4Addr::new(240, 240, high, low)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0xf0f0, low_bits)),
    ]
}

/// The number at which the search for a host's place begins (FNV-1a, as good as any: it must only be the same everywhere).
fn first_place(id: &ServiceId) -> u32 {
    let bytes = id.namespace().as_str().bytes().chain([b'/']).chain(id.host.as_str().bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % PLACES
}

/// What an entry asks of the allocation: a change of its other fields ends here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wanted(ObjectKey);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Wishes {
    age: Age,
    /// The hosts, each with the addresses that it has by the entry's status.
    hosts: BTreeMap<Host, Vec<IpAddr>>,
}

impl Question for Wanted {
    type World = Mesh;
    type Answer = Option<Wishes>;
    const NAME: &'static str = "addresses that an entry wants";

    fn answer(&self, read: &Read<'_>) -> Option<Wishes> {
        let (meta, entry) = read::service_entry(read, &self.0)?;
        let hosts = entry.hosts.iter().filter(|host| entry.can_have_address(host)).map(|host| {
            let known = entry.allocated.iter().filter(|(of, _)| of == host).map(|(_, address)| *address);
            (host.clone(), known.collect())
        });
        Some(Wishes { age: Age::of(meta), hosts: hosts.collect() })
    }
}

/// All addresses that are given.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Allocation;

impl Question for Allocation {
    type World = Mesh;
    type Answer = BTreeMap<ServiceId, Vec<IpAddr>>;
    const NAME: &'static str = "allocated addresses";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mut all: Vec<(Age, ServiceId, Vec<IpAddr>)> = Vec::new();
        for object in filed(read, IndexKey::AllocatedEntries) {
            let wishes = read.ask(Wanted(object.clone()));
            let Some(wishes) = wishes.as_ref() else { continue };
            all.extend(wishes.hosts.iter().map(|(host, known)| {
                let id = ServiceId { object: object.clone(), host: host.clone() };
                (wishes.age.clone(), id, known.clone())
            }));
        }
        all.sort_unstable();
        let mut taken: BTreeSet<IpAddr> = BTreeSet::new();
        let mut given: Self::Answer = BTreeMap::new();
        // Entries of one namespace that name the same host are one service.
        let mut of_host: BTreeMap<(&str, &Host), Vec<IpAddr>> = BTreeMap::new();
        for (_, id, known) in all.iter().filter(|(_, _, known)| !known.is_empty()) {
            let fresh: Vec<IpAddr> = known.iter().copied().filter(|address| taken.insert(*address)).collect();
            if !fresh.is_empty() {
                of_host.entry((id.namespace().as_str(), &id.host)).or_default().extend(fresh);
            }
        }
        for (_, id, _) in &all {
            let addresses = match of_host.entry((id.namespace().as_str(), &id.host)) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => {
                    let first = first_place(id);
                    // Where the place is another's the next free one is taken; with none left the host goes without.
                    let free = (0..PLACES)
                        .map(|step| at((first + step) % PLACES + 1))
                        .find(|pair| pair.iter().all(|address| !taken.contains(address)));
                    let Some(free) = free else { continue };
                    taken.extend(free);
                    place.insert(free.to_vec())
                }
            };
            given.insert(id.clone(), addresses.clone());
        }
        given
    }
}

/// The addresses that a host was given because it has none; empty for one that has, or wants none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AllocatedTo(pub ServiceId);

impl Question for AllocatedTo {
    type World = Mesh;
    type Answer = Arc<[IpAddr]>;
    const NAME: &'static str = "allocated addresses of a host";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        read.ask(Allocation).get(&self.0).map(|all| all.as_slice().into()).unwrap_or_default()
    }
}

/// Whether any host is given addresses; while none is, it makes no difference whether a proxy answers DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AnyAllocated;

impl Question for AnyAllocated {
    type World = Mesh;
    type Answer = bool;
    const NAME: &'static str = "any allocated address";

    fn answer(&self, read: &Read<'_>) -> bool {
        !none_filed(read, IndexKey::AllocatedEntries)
    }
}
