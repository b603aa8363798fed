//! Gateway, of Istio (not of the Gateway API).

use super::schema::{Schema, array, map, object, string, strings};
use super::server::{server_port, server_tls};

pub(super) fn spec() -> Schema {
    let server = object([
        ("port", server_port().required(&["number", "protocol", "name"])),
        ("bind", string()),
        ("hosts", strings().about("The hosts that are served here.")),
        ("tls", server_tls()),
        ("defaultEndpoint", string()),
        ("name", string()),
    ]);
    object([
        ("servers", array(server.required(&["port", "hosts"])).about("What the gateway listens to.")),
        ("selector", map(string()).about("The labels of the gateway's pods.")),
    ])
    .about("What a proxy at the edge of the mesh listens to.")
}
