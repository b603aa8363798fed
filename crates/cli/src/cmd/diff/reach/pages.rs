//! Why a caller has routes for port 80 at all: a host that none of the services it sees has is served beside those of that port.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_api::Spec;
use meltemi_api::sidecar::{EgressHost, EgressNamespace};
use meltemi_model::index::{destinations, qualified};
use meltemi_model::scope::Hosts;
use meltemi_model::service::host_of;
use meltemi_names::{Host, Namespace, ObjectKey, Protocol};

use super::{Both, hosts_of};

/// A service of HTTP at port 80.
struct Candidate<'a> {
    key: &'a ObjectKey,
    hosts: Vec<Host>,
    /// To whom it is shown, as written.
    shown: String,
}

/// Of the services of port 80 so many that every caller who sees some sees one of these, and nobody else does.
pub(super) fn keepers(mesh: &Both<'_>) -> BTreeSet<ObjectKey> {
    let all = candidates(mesh);
    let namespaces: BTreeSet<&Namespace> = mesh.all().map(|object| &object.meta.key.namespace).collect();
    let mut kept = BTreeSet::new();
    keep(&all, |_, _| true, &mut kept);
    let mut lists: BTreeSet<&[EgressHost]> = BTreeSet::new();
    for object in mesh.all() {
        if let Spec::Sidecar(sidecar) = &object.spec {
            lists.extend(sidecar.egress.iter().map(|egress| egress.hosts.as_slice()));
        }
    }
    for list in lists {
        let is_relative = list.iter().any(|entry| entry.namespace == EgressNamespace::Own);
        let owns: Vec<&Namespace> = if is_relative {
            namespaces.iter().copied().collect()
        } else {
            namespaces.iter().copied().take(1).collect()
        };
        for own in owns {
            let list = Hosts { viewer: own, hosts: list };
            let takes =
                |namespace: &Namespace, hosts: &[Host]| hosts.iter().any(|host| list.import(namespace, host));
            if !keep(&all, takes, &mut kept) {
                keep_by_rule(mesh, &all, takes, &mut kept);
            }
        }
    }
    kept
}

fn candidates<'a>(mesh: &Both<'a>) -> Vec<Candidate<'a>> {
    let counts =
        |port: u16, protocol: Protocol| port == 80 && (protocol.is_http() || protocol == Protocol::Auto);
    let all = mesh.all().filter_map(|object| {
        let key = &object.meta.key;
        match &object.spec {
            Spec::Service(service) => {
                let is_one = service.ports.iter().any(|port| counts(port.port.number(), port.protocol()));
                let shown = object.meta.annotations.value("networking.istio.io/exportTo").unwrap_or_default();
                let shown = shown.to_owned();
                is_one.then(|| Candidate { key, hosts: vec![host_of(key)], shown })
            }
            Spec::ServiceEntry(entry) => {
                let numbered = entry.ports.iter().filter_map(|port| Some((port.number?, port.protocol)));
                let is_one = numbered.into_iter().any(|(port, protocol)| counts(port.number(), protocol));
                let shown = format!("{:?}", entry.export_to);
                is_one.then(|| Candidate { key, hosts: entry.hosts.clone(), shown })
            }
            _ => None,
        }
    });
    all.collect()
}

/// Keeps the first of those that are taken, of each way to be shown; false if there is none.
fn keep(
    all: &[Candidate<'_>],
    takes: impl Fn(&Namespace, &[Host]) -> bool,
    kept: &mut BTreeSet<ObjectKey>,
) -> bool {
    let mut first: BTreeMap<(&str, &Namespace), &ObjectKey> = BTreeMap::new();
    for candidate in all {
        // To whom it is shown may be its namespace's matter.
        let class = (candidate.shown.as_str(), &candidate.key.namespace);
        if !first.contains_key(&class) && takes(&candidate.key.namespace, &candidate.hosts) {
            first.insert(class, candidate.key);
        }
    }
    kept.extend(first.values().map(|key| (*key).clone()));
    !first.is_empty()
}

/// Keeps a VirtualService that is taken and brings such a service with it, and that service.
fn keep_by_rule(
    mesh: &Both<'_>,
    all: &[Candidate<'_>],
    takes: impl Fn(&Namespace, &[Host]) -> bool,
    kept: &mut BTreeSet<ObjectKey>,
) {
    let by_host: BTreeMap<&Host, &ObjectKey> =
        all.iter().flat_map(|candidate| candidate.hosts.iter().map(|host| (host, candidate.key))).collect();
    for (key, service) in mesh.virtual_services() {
        let hosts: Vec<Host> = hosts_of(key, service).collect();
        if !takes(&key.namespace, &hosts) {
            continue;
        }
        let to = destinations(service).map(|to| qualified(&to.host, &key.namespace));
        let to: Vec<&ObjectKey> = to.filter_map(|host| by_host.get(&host).copied()).collect();
        if !to.is_empty() {
            kept.insert(key.clone());
            kept.extend(to.into_iter().cloned());
            return;
        }
    }
}
