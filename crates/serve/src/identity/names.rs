//! By which names clients call this control plane (Istio: getDNSNames in pilot/pkg/bootstrap/server.go).

use std::collections::BTreeSet;

use crate::config::Config;

/// The names in the certificate that the TLS port shows; sorted, each once.
pub(super) fn of(config: &Config) -> Vec<String> {
    let own = &config.own;
    let revision = match own.revision.as_str() {
        "" | "default" => None,
        revision => Some(format!("istiod-{revision}")),
    };
    let services = ["istiod", "istiod-remote", "istio-pilot"].into_iter().map(str::to_owned).chain(revision);
    let services = services.chain([own.service.to_string()]);
    let mut names: BTreeSet<String> =
        services.map(|service| format!("{service}.{}.svc", own.namespace.as_str())).collect();
    names.extend(config.identity.custom_hosts.iter().cloned());
    if config.cluster.is_none() {
        // For clients on this machine, and those that know an address only.
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        let ip = config.secure_xds.ip();
        if !ip.is_unspecified() {
            names.insert(ip.to_string());
        }
    }
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::config::{Config, Own};

    #[test]
    fn a_revision_has_a_name_of_its_own() {
        let own = Own { revision: "canary".to_owned(), namespace: "mesh".into(), ..Own::default() };
        let mut config = Config { own, ..Config::default() };
        config.identity.custom_hosts = vec!["mesh.example".to_owned()];
        let names = [
            "127.0.0.1",
            "::1",
            "istio-pilot.mesh.svc",
            "istiod-canary.mesh.svc",
            "istiod-remote.mesh.svc",
            "istiod.mesh.svc",
            "localhost",
            "meltemi.mesh.svc",
            "mesh.example",
        ];
        assert_eq!(of(&config), names);
        config.own.revision = "default".to_owned();
        assert!(!of(&config).iter().any(|name| name.starts_with("istiod-d")));
    }
}
