//! WorkloadEntry, which is also an endpoint of a ServiceEntry and the template of a WorkloadGroup.

use super::schema::{Schema, map, object, port, string, uint32};

pub(super) fn spec() -> Schema {
    located().about("A workload outside Kubernetes.")
}

/// A workload that says where it is.
pub(super) fn located() -> Schema {
    workload().rule("has(self.address) || has(self.network)", "an address is needed, or a network")
}

/// A workload that need not.
pub(super) fn workload() -> Schema {
    let address = string()
        .max_length(256)
        .rule(
            "!self.startsWith('unix://') || self.startsWith('unix:///') || self.startsWith('unix://@')",
            "a unix domain socket is an absolute path (unix:///path) or an abstract name (unix://@name)",
        )
        .rule(
            "!self.startsWith('unix://') || !self.endsWith('/')",
            "a unix domain socket cannot be a folder",
        );
    let ports = map(port()).max_entries(128).rule(
        "self.all(name, name.size() < 63 && name.matches('^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$'))",
        "a port's name is of letters, digits and `-`, up to 62 of them",
    );
    object([
        ("address", address.about("An IP address, a DNS name or unix:///path.")),
        ("ports", ports.about("Its ports, by the names of the service's ports.")),
        ("labels", map(string()).max_entries(256).about("As on a pod.")),
        ("network", string().max_length(2048)),
        ("locality", string().max_length(2048).about("region/zone/subzone")),
        ("weight", uint32().about("Its share; an endpoint of weight 2 gets twice that of 1.")),
        ("serviceAccount", string().max_length(253).about("Whose identity it has.")),
    ])
    .rule(
        "!(has(self.address) && self.address.startsWith('unix://') && has(self.ports))",
        "a unix domain socket has no ports",
    )
}
