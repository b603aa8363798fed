//! Which services and VirtualServices the hosts of an egress listener import (Istio: pilot/pkg/model/sidecar.go).

use meltemi_api::sidecar::{EgressHost, EgressNamespace};
use meltemi_names::{Host, Namespace};

/// The hosts of an egress listener, as proxies of one namespace read them.
#[derive(Clone, Copy, Debug)]
pub struct Hosts<'a> {
    /// Whose proxies.
    pub viewer: &'a Namespace,
    /// As written.
    pub hosts: &'a [EgressHost],
}

impl Hosts<'_> {
    fn speaks_of(self, entry: &EgressHost, namespace: &Namespace) -> bool {
        match &entry.namespace {
            EgressNamespace::Own => namespace == self.viewer,
            EgressNamespace::Any => true,
            EgressNamespace::Named(named) => named == namespace,
        }
    }

    fn leaves_out(self, namespace: &Namespace, host: &Host) -> bool {
        let mut excluded = self.hosts.iter().filter(|entry| entry.excluded);
        excluded.any(|entry| self.speaks_of(entry, namespace) && entry.host.covers(host))
    }

    /// Whether the service of that host, of an object in `namespace`, is imported.
    pub fn import(self, namespace: &Namespace, host: &Host) -> bool {
        let mut taken = self.hosts.iter().filter(|entry| !entry.excluded);
        taken.any(|entry| self.speaks_of(entry, namespace) && entry.host.covers(host))
            && !self.leaves_out(namespace, host)
    }

    /// Whether a VirtualService in `namespace` is imported by that host of its own: a wildcard also by a host that it covers.
    pub fn import_rule(self, namespace: &Namespace, host: &Host) -> bool {
        let meets = |entry: &EgressHost| entry.host.covers(host) || host.covers(&entry.host);
        let mut taken = self.hosts.iter().filter(|entry| !entry.excluded);
        taken.any(|entry| self.speaks_of(entry, namespace) && meets(entry))
            && !self.leaves_out(namespace, host)
    }

    /// The hosts with their namespaces, if each names one of each: then nothing else needs to be looked at.
    pub fn exact(self) -> Option<Vec<(Namespace, Host)>> {
        let taken = self.hosts.iter().filter(|entry| !entry.excluded);
        taken
            .map(|entry| {
                let namespace = match &entry.namespace {
                    EgressNamespace::Own => self.viewer.clone(),
                    EgressNamespace::Named(named) => named.clone(),
                    EgressNamespace::Any => return None,
                };
                (!entry.host.is_wildcard()).then(|| (namespace, entry.host.clone()))
            })
            .collect()
    }
}
