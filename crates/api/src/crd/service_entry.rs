//! ServiceEntry.

use super::schema::{Schema, array, object, one_of, port, string, strings};
use super::selector::workload_selector;
use super::workload_entry::located;

pub(super) fn spec() -> Schema {
    let service_port = object([
        ("number", port()),
        ("protocol", string().max_length(256)),
        ("name", string().max_length(256)),
        ("targetPort", port()),
    ]);
    let ports = array(service_port.required(&["number", "name"])).max_items(256).keyed_by("name").rule(
        "self.all(one, self.exists_one(other, other.number == one.number))",
        "a port's number is used once",
    );
    object([
        (
            "hosts",
            array(string().rule("self != '*'", "a host cannot be `*` alone"))
                .min_items(1)
                .max_items(256)
                .about("The names by which the service is called."),
        ),
        (
            "addresses",
            array(string().max_length(64)).max_items(256).about("Virtual addresses, or CIDR blocks."),
        ),
        ("ports", ports.about("The service's ports.")),
        ("location", one_of(&["MESH_EXTERNAL", "MESH_INTERNAL"]).about("Whether it is part of the mesh.")),
        (
            "resolution",
            one_of(&["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"])
                .about("How its endpoints are found; none: where the connection was going."),
        ),
        ("endpoints", array(located()).max_items(4096).about("Where it is.")),
        ("workloadSelector", workload_selector()),
        ("exportTo", strings().about("The namespaces that see this; none: as the mesh's settings say.")),
        ("subjectAltNames", strings()),
    ])
    .required(&["hosts"])
    .only_one(&["workloadSelector", "endpoints"])
    .rule(
        "!has(self.addresses) || !has(self.resolution) || self.resolution in ['NONE', 'STATIC'] \
         || !self.addresses.exists(address, address.contains('/'))",
        "CIDR blocks are for resolution NONE and STATIC only",
    )
    .rule(
        "!has(self.endpoints) || (has(self.resolution) && self.resolution != 'NONE')",
        "resolution NONE, which is the default, has no endpoints",
    )
    .rule(
        "!has(self.endpoints) || !has(self.resolution) || self.resolution != 'DNS_ROUND_ROBIN' \
         || self.endpoints.size() <= 1",
        "resolution DNS_ROUND_ROBIN has one endpoint at most",
    )
    .about("A service that Kubernetes does not know.")
}
