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

#[cfg(test)]
mod tests {
    use super::Hosts;
    use meltemi_api::sidecar::EgressHost;
    use meltemi_names::Host;

    fn hosts(written: &[&str]) -> Vec<EgressHost> {
        written.iter().map(|text| EgressHost::parse(text).unwrap()).collect()
    }

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    #[test]
    fn a_service_is_imported_by_its_namespace_and_host_unless_it_is_left_out() {
        let viewer = "shop".into();
        let written = hosts(&["./*", "web/*.web.svc.cluster.local", "~*/s9.web.svc.cluster.local"]);
        let hosts = Hosts { viewer: &viewer, hosts: &written };
        let import = |namespace: &str, name: &str| hosts.import(&namespace.into(), &host(name));
        assert!(import("shop", "a.shop.svc.cluster.local"));
        assert!(import("web", "a.web.svc.cluster.local"));
        assert!(!import("web", "s9.web.svc.cluster.local"), "left out");
        assert!(!import("web", "a.example.com"), "another host of the namespace");
        assert!(!import("bank", "a.web.svc.cluster.local"), "another namespace");
        assert!(hosts.exact().is_none());
    }

    #[test]
    fn a_rule_for_a_wildcard_is_imported_by_a_host_that_it_covers_and_a_service_is_not() {
        let viewer = "shop".into();
        let written = hosts(&["web/a.example.com"]);
        let hosts = Hosts { viewer: &viewer, hosts: &written };
        assert!(hosts.import_rule(&"web".into(), &host("*.example.com")));
        assert!(!hosts.import_rule(&"web".into(), &host("b.example.com")));
        assert!(!hosts.import(&"web".into(), &host("*.example.com")));
        assert_eq!(hosts.exact(), Some(vec![("web".into(), host("a.example.com"))]));
    }
}
