//! EnvoyFilter.

use super::schema::{Schema, anything, array, int32, map, object, one_of, port, string, uint32};
use super::selector::{target_refs, workload_selector};

pub(super) fn spec() -> Schema {
    let apply_to = one_of(&[
        "INVALID",
        "LISTENER",
        "FILTER_CHAIN",
        "NETWORK_FILTER",
        "HTTP_FILTER",
        "ROUTE_CONFIGURATION",
        "VIRTUAL_HOST",
        "HTTP_ROUTE",
        "CLUSTER",
        "EXTENSION_CONFIG",
        "BOOTSTRAP",
        "LISTENER_FILTER",
    ]);
    let config_patch = object([
        ("applyTo", apply_to.about("What kind of thing is patched.")),
        ("match", matches()),
        ("patch", patch()),
    ]);
    object([
        ("workloadSelector", workload_selector()),
        ("targetRefs", target_refs()),
        ("configPatches", array(config_patch).about("The patches, in their order.")),
        ("priority", int32().about("Lower is earlier; objects of the root namespace come first.")),
    ])
    .only_one(&["workloadSelector", "targetRefs"])
    .about("Patches of the configuration that a proxy gets.")
}

fn matches() -> Schema {
    object([
        ("context", one_of(&["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"])),
        ("proxy", object([("proxyVersion", string()), ("metadata", map(string()))])),
        ("listener", listener()),
        ("routeConfiguration", route_configuration()),
        (
            "cluster",
            object([
                ("portNumber", uint32()),
                ("service", string()),
                ("subset", string()),
                ("name", string()),
            ]),
        ),
        (
            "waypoint",
            object([("portNumber", port()), ("filter", filter()), ("route", object([("name", string())]))]),
        ),
    ])
    .at_most_one(&["listener", "routeConfiguration", "cluster", "waypoint"])
    .rule(
        "has(self.waypoint) == (has(self.context) && self.context == 'WAYPOINT')",
        "waypoint goes with context WAYPOINT, and with no other",
    )
    .about("Where the patch is made; none: everywhere.")
}

fn filter() -> Schema {
    object([("name", string()), ("subFilter", object([("name", string())]))])
}

fn listener() -> Schema {
    let filter_chain = object([
        ("name", string()),
        ("sni", string()),
        ("transportProtocol", string()),
        ("transportSocket", string()),
        ("applicationProtocols", string()),
        ("filter", filter()),
        ("destinationPort", uint32()),
    ]);
    object([
        ("portNumber", uint32()),
        ("portName", string()),
        ("filterChain", filter_chain),
        ("listenerFilter", string()),
        ("name", string()),
    ])
}

fn route_configuration() -> Schema {
    let route =
        object([("name", string()), ("action", one_of(&["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"]))]);
    let virtual_host = object([("name", string()), ("domainName", string()), ("route", route)]);
    object([
        ("portNumber", uint32()),
        ("portName", string()),
        ("gateway", string()),
        ("vhost", virtual_host),
        ("name", string()),
    ])
}

fn patch() -> Schema {
    let operation = one_of(&[
        "INVALID",
        "MERGE",
        "ADD",
        "REMOVE",
        "INSERT_BEFORE",
        "INSERT_AFTER",
        "INSERT_FIRST",
        "REPLACE",
        "MERGE_AND_REPLACE_LIST",
    ]);
    object([
        ("operation", operation),
        ("value", anything().about("Envoy's configuration; any of it.")),
        ("filterClass", one_of(&["UNSPECIFIED", "AUTHN", "AUTHZ", "STATS"])),
    ])
}
