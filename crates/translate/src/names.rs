//! The table of names that agents answer their workloads' DNS from (NDS; Istio: pkg/dns/server/name_table.go).
//!
//! Knows: which addresses a name has for a kind of caller. Must not know: how an agent answers, Envoy.   Start at [`NamesKey`].
//! Invariant: a service that changes encodes its own names; the table is put together from all of them, by pointer.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_catalog::Resource;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::endpoints::{EndpointAddress, EndpointsOf, Health};
use meltemi_model::proxy::IpFamily;
use meltemi_model::read::Read;
use meltemi_model::service::{ServiceId, ServiceOf, ServiceShape, VisibleServices};
use meltemi_names::{Kind, Namespace, TypeUrl};
use meltemi_proto::istio::networking::nds::v1::NameTable;
use meltemi_proto::istio::networking::nds::v1::name_table::NameInfo;

use crate::encode::{Piece, assembled};
use crate::key::{Made, Members};

/// The names that some callers know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamesKey {
    /// Whose services.
    pub namespace: Namespace,
    /// Which addresses are of use.
    pub family: IpFamily,
}

/// The part of a layer that is the one table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PartOfNames(pub(crate) NamesKey);

impl Question for PartOfNames {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: names";

    fn answer(&self, _read: &Read<'_>) -> Members {
        vec![self.0.clone().into()]
    }
}

impl Question for NamesKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "table of names";

    fn answer(&self, read: &Read<'_>) -> Made {
        let services = read.ask(VisibleServices(self.namespace.clone()));
        let names = |service: &ServiceId| read.ask(NamesOf { service: service.clone(), family: self.family });
        let pieces: Vec<_> = services.iter().map(names).collect();
        let pieces = pieces.iter().filter_map(|piece| piece.as_ref().as_ref());
        let (body, version) = assembled(pieces);
        // The one resource of its type has no name (Istio: pilot/pkg/xds/nds.go). It is made from all services and says so of none.
        Some(Arc::new(Resource::new(TypeUrl::NameTable, "".into(), version, body)))
    }
}

/// The names of one service, as entries of a table; none if there is no address to answer with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct NamesOf {
    service: ServiceId,
    family: IpFamily,
}

impl Question for NamesOf {
    type World = Mesh;
    type Answer = Option<Piece>;
    const NAME: &'static str = "names of a service";

    fn answer(&self, read: &Read<'_>) -> Option<Piece> {
        let shape = read.ask(ServiceOf(self.service.clone()));
        let shape = shape.as_ref().as_ref()?;
        let mut table = BTreeMap::new();
        if shape.is_headless() {
            self.headless(read, shape, &mut table);
        } else {
            let addresses = shape.addresses(true).iter();
            let usable =
                addresses.filter(|address| self.family.takes(**address) && !address.is_unspecified());
            let ips: Vec<String> = usable.map(ToString::to_string).collect();
            if !ips.is_empty() {
                table.insert(shape.id.host.to_string(), info(shape, shape.id.name(), ips));
            }
        }
        (!table.is_empty()).then(|| Piece::of(&NameTable { table }))
    }
}

impl NamesOf {
    /// A headless service is its ready endpoints, as in Kubernetes' own DNS; each of them that has a name has it below the service's.
    fn headless(&self, read: &Read<'_>, shape: &ServiceShape, table: &mut BTreeMap<String, NameInfo>) {
        let endpoints = read.ask(EndpointsOf(self.service.clone()));
        let mut all: BTreeSet<IpAddr> = BTreeSet::new();
        let mut named: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
        let ready =
            endpoints.values().flat_map(|all| all.iter()).filter(|found| found.health == Health::Healthy);
        for endpoint in ready {
            let EndpointAddress::Ip(address) = endpoint.address else { continue };
            if !self.family.takes(address) {
                continue;
            }
            all.insert(address);
            if let Some(name) = &endpoint.hostname {
                named.entry(name).or_default().insert(address);
            }
        }
        let texts = |addresses: BTreeSet<IpAddr>| addresses.iter().map(ToString::to_string).collect();
        if all.is_empty() {
            return;
        }
        table.insert(shape.id.host.to_string(), info(shape, shape.id.name(), texts(all)));
        for (name, addresses) in named {
            let short = format!("{name}.{}", shape.id.name());
            table.insert(format!("{name}.{}", shape.id.host), info(shape, &short, texts(addresses)));
        }
    }
}

/// What an agent is told of a name. Of Kubernetes' it makes the short forms itself.
#[allow(deprecated, reason = "a field that nobody reads any more is left empty")]
fn info(shape: &ServiceShape, short: &str, ips: Vec<String>) -> NameInfo {
    let kubernetes = shape.id.object.kind == Kind::Service;
    NameInfo {
        ips,
        registry: if kubernetes { "Kubernetes" } else { "External" }.to_owned(),
        shortname: if kubernetes { short.to_owned() } else { String::new() },
        namespace: if kubernetes { shape.id.namespace().to_string() } else { String::new() },
        alt_hosts: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
