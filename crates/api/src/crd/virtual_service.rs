//! VirtualService.

use super::schema::{
    Schema, array, boolean, duration, int32, map, number, object, one_of, string, strings, uint32,
};
use super::traffic_policy::port_number;

pub(super) fn spec() -> Schema {
    object([
        ("hosts", strings().about("The hosts whose traffic this routes.")),
        ("gateways", strings().about("Where it is routed; `mesh`, the default, is every sidecar.")),
        ("exportTo", strings().about("The namespaces that see this; none: as the mesh's settings say.")),
        ("http", array(http_route()).about("Routes of requests; the first that matches counts.")),
        ("tls", array(tls_route()).about("Routes of TLS connections that are passed through.")),
        ("tcp", array(tcp_route()).about("Routes of other connections.")),
    ])
    .about("Where the traffic of a host goes.")
}

fn http_route() -> Schema {
    let share = object([("value", number())]);
    let route = object([
        ("destination", destination()),
        ("weight", int32().about("Its share.")),
        ("headers", headers()),
    ]);
    let mirror = object([("destination", destination()), ("percentage", share.clone())]);
    object([
        ("name", string().about("For logs, and for tools that change this route.")),
        ("match", array(http_match()).about("Which requests; one of these must match. None: all.")),
        ("route", array(route.required(&["destination"])).about("Where they go, by weight.")),
        ("redirect", redirect()),
        ("directResponse", direct_response()),
        ("delegate", object([("name", string()), ("namespace", string())])),
        ("rewrite", rewrite()),
        ("timeout", duration().about("How long a request may take; none: for ever.")),
        ("retries", retries()),
        ("fault", fault()),
        ("mirror", destination().about("Older spelling of mirrors.")),
        ("mirrors", array(mirror.required(&["destination"])).about("Who gets a copy of the requests.")),
        ("mirrorPercentage", share),
        ("mirrorPercent", uint32().nullable()),
        // Both spellings are in Istio's schema.
        ("mirror_percent", uint32().nullable()),
        ("corsPolicy", cors_policy()),
        ("headers", headers()),
    ])
}

fn destination() -> Schema {
    object([
        ("host", string().about("A service; a short name is of this object's namespace.")),
        ("subset", string().about("A subset of a DestinationRule.")),
        ("port", port_number()),
    ])
    .required(&["host"])
}

fn string_match() -> Schema {
    object([("exact", string()), ("prefix", string()), ("regex", string())])
        .at_most_one(&["exact", "prefix", "regex"])
}

fn http_match() -> Schema {
    object([
        ("name", string()),
        ("uri", string_match()),
        ("scheme", string_match()),
        ("method", string_match()),
        ("authority", string_match()),
        ("headers", map(string_match())),
        ("withoutHeaders", map(string_match())),
        ("queryParams", map(string_match())),
        ("port", uint32()),
        ("sourceLabels", map(string())),
        ("sourceNamespace", string()),
        ("gateways", strings()),
        ("ignoreUriCase", boolean()),
        ("statPrefix", string()),
    ])
}

fn redirect() -> Schema {
    object([
        ("uri", string()),
        ("prefixRewrite", string()),
        ("authority", string()),
        ("port", uint32()),
        ("derivePort", one_of(&["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"])),
        ("scheme", string()),
        ("redirectCode", uint32()),
    ])
    .at_most_one(&["port", "derivePort"])
    .about("The answer is a redirection.")
}

fn direct_response() -> Schema {
    let body =
        object([("string", string()), ("bytes", string().format("byte"))]).at_most_one(&["string", "bytes"]);
    object([("status", uint32()), ("body", body)])
        .required(&["status"])
        .about("The sidecar answers by itself.")
}

fn rewrite() -> Schema {
    object([
        ("uri", string()),
        ("authority", string()),
        ("uriRegexRewrite", object([("match", string()), ("rewrite", string())])),
    ])
    .about("What is changed before the request goes on.")
}

fn retries() -> Schema {
    object([
        ("attempts", int32().about("Retries at most; 0: none.")),
        ("perTryTimeout", duration()),
        ("retryOn", string().about("Envoy's conditions, and status codes.")),
        ("retryRemoteLocalities", boolean().nullable()),
        ("retryIgnorePreviousHosts", boolean().nullable()),
        ("backoff", duration()),
    ])
    .about("Which requests are tried again.")
}

fn fault() -> Schema {
    let percentage = object([("value", number())]);
    let delay = object([
        ("percentage", percentage.clone()),
        ("percent", int32().about("Older spelling of percentage.")),
        ("fixedDelay", duration()),
        ("exponentialDelay", duration()),
    ])
    .at_most_one(&["fixedDelay", "exponentialDelay"]);
    let abort = object([
        ("percentage", percentage),
        ("httpStatus", int32()),
        ("grpcStatus", string()),
        ("http2Error", string()),
    ])
    .at_most_one(&["httpStatus", "grpcStatus", "http2Error"]);
    object([("delay", delay), ("abort", abort)]).about("Made on purpose, for tests.")
}

fn cors_policy() -> Schema {
    object([
        ("allowOrigin", strings().about("Older spelling of allowOrigins.")),
        ("allowOrigins", array(string_match())),
        ("allowMethods", strings()),
        ("allowHeaders", strings()),
        ("exposeHeaders", strings()),
        ("maxAge", duration()),
        ("allowCredentials", boolean().nullable()),
        ("unmatchedPreflights", one_of(&["UNSPECIFIED", "FORWARD", "IGNORE"])),
    ])
}

fn headers() -> Schema {
    let operations = object([("set", map(string())), ("add", map(string())), ("remove", strings())]);
    object([("request", operations.clone()), ("response", operations)]).about("Headers that are changed.")
}

fn connection_match() -> Schema {
    object([
        ("destinationSubnets", strings()),
        ("port", uint32()),
        ("sourceLabels", map(string())),
        ("gateways", strings()),
        ("sourceNamespace", string()),
    ])
}

fn connection_route() -> Schema {
    array(object([("destination", destination()), ("weight", int32())]).required(&["destination"]))
}

fn tls_route() -> Schema {
    let matches = connection_match().with([("sniHosts", strings())]).required(&["sniHosts"]);
    object([("match", array(matches)), ("route", connection_route())]).required(&["match"])
}

fn tcp_route() -> Schema {
    let matches = connection_match().with([("sourceSubnet", string())]);
    object([("match", array(matches)), ("route", connection_route())])
}
