//! Sidecar.

use super::connection_pool::connection_pool;
use super::schema::{Schema, array, object, one_of, string, strings};
use super::selector::workload_selector;
use super::server::{server_port, server_tls};
use super::traffic_policy::port_number;

pub(super) fn spec() -> Schema {
    let capture_mode = one_of(&["DEFAULT", "IPTABLES", "NONE"]);
    let ingress = object([
        ("port", server_port()),
        ("bind", string()),
        ("captureMode", capture_mode.clone()),
        ("defaultEndpoint", string().about("Where the application listens.")),
        ("tls", server_tls()),
        ("connectionPool", connection_pool()),
    ]);
    let egress = object([
        ("port", server_port()),
        ("bind", string()),
        ("captureMode", capture_mode),
        ("hosts", strings().about("The services that are called, as namespace/host.")),
    ]);
    let egress_proxy = object([("host", string()), ("subset", string()), ("port", port_number())]);
    object([
        ("workloadSelector", workload_selector()),
        ("ingress", array(ingress.required(&["port"])).about("What the sidecar takes for its application.")),
        ("egress", array(egress.required(&["hosts"])).about("What the application calls.")),
        ("inboundConnectionPool", connection_pool()),
        (
            "outboundTrafficPolicy",
            object([
                ("mode", one_of(&["REGISTRY_ONLY", "ALLOW_ANY"])),
                ("egressProxy", egress_proxy.required(&["host"])),
            ]),
        ),
    ])
    .about("What a sidecar needs to know of the mesh.")
}
