//! `trafficPolicy` of a DestinationRule: for the service, a subset, a port.

use super::connection_pool::connection_pool;
use super::schema::{
    Schema, array, boolean, duration, int32, map, number, object, one_of, percent, string, strings, uint32,
    uint64,
};

/// The whole policy.
pub(super) fn traffic_policy() -> Schema {
    let of_a_port = per_port().with([("port", port_number())]);
    let tunnel = object([("protocol", string()), ("targetHost", string()), ("targetPort", uint32())])
        .required(&["targetHost", "targetPort"])
        .about("Connections go through a tunnel.");
    let retry_budget = object([
        ("percent", percent().nullable()),
        ("minRetryConcurrency", uint32()),
        ("budgetInterval", string()),
    ]);
    per_port().with([
        (
            "portLevelSettings",
            array(of_a_port)
                .max_items(4096)
                .about("For single ports; such a policy replaces this one as a whole."),
        ),
        ("tunnel", tunnel),
        ("proxyProtocol", object([("version", one_of(&["V1", "V2"]))])),
        ("retryBudget", retry_budget.about("Retries in proportion to the requests under way.")),
    ])
}

/// What can be said for a port alone, too.
fn per_port() -> Schema {
    object([
        ("loadBalancer", load_balancer()),
        ("connectionPool", connection_pool()),
        ("outlierDetection", outlier_detection()),
        ("tls", client_tls()),
    ])
}

/// A reference to a port, by its number.
pub(super) fn port_number() -> Schema {
    object([("number", uint32())])
}

fn load_balancer() -> Schema {
    let backend_utilization = object([
        ("metricNamesForComputingUtilization", strings()),
        ("errorUtilizationPenaltyPercent", uint32()),
        ("weightUpdatePeriod", string()),
        ("weightStabilizationPeriod", string()),
        ("weightExpirationPeriod", string()),
    ]);
    let warmup = object([
        ("duration", duration().about("How long a new endpoint is spared.")),
        ("minimumPercent", percent().nullable().about("Its share at the start.")),
        ("aggression", number().at_least(0).nullable().about("How fast its share grows.")),
    ]);
    let simple =
        one_of(&["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"]);
    object([
        ("simple", simple.about("One of the plain ways to choose.")),
        ("consistentHash", consistent_hash()),
        ("backendUtilization", backend_utilization),
        ("localityLbSetting", locality_lb_setting()),
        ("zoneAwareLbSetting", zone_aware_lb_setting()),
        ("warmup", warmup.required(&["duration"]).about("New endpoints get their share by and by.")),
        ("warmupDurationSecs", duration().about("Older spelling of warmup.duration.")),
    ])
    .at_most_one(&["simple", "consistentHash", "backendUtilization"])
    .about("Which endpoint a connection or request goes to.")
}

fn consistent_hash() -> Schema {
    let attribute = object([("name", string()), ("value", string())]).required(&["name"]);
    let cookie = object([
        ("name", string()),
        ("path", string()),
        // A time of 0s is a cookie of the session, so there is no rule.
        ("ttl", string()),
        ("attributes", array(attribute)),
    ]);
    object([
        ("httpHeaderName", string()),
        ("httpCookie", cookie.required(&["name"])),
        ("useSourceIp", boolean()),
        ("httpQueryParameterName", string()),
        ("ringHash", object([("minimumRingSize", uint64())])),
        ("maglev", object([("tableSize", uint64())])),
        ("minimumRingSize", uint64().about("Older spelling of ringHash.minimumRingSize.")),
    ])
    .at_most_one_of_each(&[
        &["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"],
        &["ringHash", "maglev"],
    ])
    .about("Equal requests go to equal endpoints.")
}

fn failover() -> Schema {
    array(object([("from", string()), ("to", string())]))
}

fn locality_lb_setting() -> Schema {
    object([
        ("distribute", array(object([("from", string()), ("to", map(uint32()))]))),
        ("failover", failover()),
        ("failoverPriority", strings()),
        ("enabled", boolean().nullable()),
    ])
}

fn zone_aware_lb_setting() -> Schema {
    object([
        ("enabled", boolean().nullable()),
        ("failover", failover()),
        ("failoverPriority", strings()),
        ("minClusterSize", uint32().at_least(1).nullable()),
    ])
}

fn outlier_detection() -> Schema {
    object([
        ("splitExternalLocalOriginErrors", boolean()),
        ("consecutiveLocalOriginFailures", uint32().nullable()),
        ("consecutiveGatewayErrors", uint32().nullable()),
        ("consecutive5xxErrors", uint32().nullable()),
        ("consecutiveErrors", int32().about("Has no effect: see consecutive5xxErrors.")),
        ("interval", duration().about("How often endpoints are looked at.")),
        ("baseEjectionTime", duration().about("How long an endpoint is left out the first time.")),
        ("maxEjectionPercent", int32().about("How many of the endpoints may be left out.")),
        ("minHealthPercent", int32()),
        ("outlierDetectionHttpErrorCodes", array(uint64().at_least(100).at_most(599))),
    ])
    .about("Endpoints that fail are left out for a while.")
}

fn client_tls() -> Schema {
    object([
        ("mode", one_of(&["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"])),
        ("clientCertificate", string()),
        ("privateKey", string()),
        ("caCertificates", string()),
        ("credentialName", string()),
        ("subjectAltNames", strings()),
        ("sni", string()),
        ("insecureSkipVerify", boolean().nullable()),
        ("caCrl", string()),
    ])
    .about("How connections to the service are encrypted.")
}
