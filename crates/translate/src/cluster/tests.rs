//! Expectations are written by hand from Istio's behaviour (facts of sections 3, 6 and 8), not with the builders.

use serde_json::{Value, json};

use super::{ClusterKey, FixedKey, ServicePartKey};
use crate::fixture::{Fixture, key, part, port, service};
use crate::key::{PartKey, ResourceKey};
use meltemi_catalog::Need;
use meltemi_model::proxy::IpFamily;
use meltemi_model::service::ServiceId;
use meltemi_names::{Kind, Protocol, TypeUrl};

const CART: &str = "
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  clusterIP: 10.0.0.1
  selector: {app: cart}
  ports:
  - {name: http, port: 80, targetPort: 8080}
";

fn rule(spec: &str) -> String {
    rule_named("shop/cart", spec)
}

fn rule_named(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}

fn whole(fixture: &Fixture) -> Value {
    fixture.cluster("shop", "shop/cart", "outbound|80||cart.shop.svc.cluster.local")
}

fn with_policy(policy: &str) -> Value {
    let fixture = Fixture::new(CART);
    let mut fixture = fixture;
    fixture.apply(&rule(&format!("{{host: cart, trafficPolicy: {policy}}}")));
    whole(&fixture)
}

const UNLIMITED: u32 = 4_294_967_295;

#[test]
fn a_service_without_a_rule_gets_istios_defaults() {
    let fixture = Fixture::new(CART);
    let name = "outbound|80||cart.shop.svc.cluster.local";
    assert_eq!(
        whole(&fixture),
        json!({
            "name": name,
            "alt_stat_name": "outbound|80||cart.shop.svc.cluster.local;",
            "type": "EDS",
            "eds_cluster_config": {
                "eds_config": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
                "service_name": name,
            },
            "connect_timeout": "10s",
            "lb_policy": "LEAST_REQUEST",
            "circuit_breakers": {"thresholds": [{
                "max_connections": UNLIMITED,
                "max_pending_requests": UNLIMITED,
                "max_requests": UNLIMITED,
                "max_retries": UNLIMITED,
            }]},
            "common_lb_config": {"healthy_panic_threshold": {}},
            "metadata": {"filter_metadata": {
                "istio": {
                    "services": [{"host": "cart.shop.svc.cluster.local", "name": "cart", "namespace": "shop"}],
                },
                "meltemi": {"service": "cart.shop.svc.cluster.local;cart;shop"},
            }},
        })
    );
}

#[test]
fn a_cluster_needs_its_assignment_and_knows_what_made_it() {
    let mut fixture = Fixture::new(CART);
    fixture.apply(&rule("{host: cart, subsets: [{name: v1, labels: {version: v1}}]}"));
    let members = fixture.service("shop", "shop/cart");
    let (_, made) = members
        .iter()
        .find(|member| matches!(member, ResourceKey::Cluster(key) if matches!(**key, ClusterKey::Outbound { subset: Some(_), .. })))
        .unwrap()
        .observe(&fixture.memo, fixture.mesh());
    let made = made.unwrap();
    let name = "outbound|80|v1|cart.shop.svc.cluster.local";
    assert_eq!(made.needs(), [Need { type_url: TypeUrl::Endpoint, name: name.into() }]);
    assert_eq!(made.origin(), [service("shop/cart"), key(Kind::DestinationRule, "shop/cart")]);
}

#[test]
fn a_subset_is_a_cluster_and_an_assignment_of_its_own_on_every_port() {
    let mut fixture = Fixture::new(&CART.replace("  - {", "  - {name: grpc-api, port: 9000}\n  - {"));
    fixture.apply(&rule("{host: cart, subsets: [{name: v1, labels: {version: v1}}]}"));
    let names: Vec<String> = fixture.resources("shop", "shop/cart").into_keys().collect();
    assert_eq!(
        names,
        [
            "CDS outbound|80|v1|cart.shop.svc.cluster.local",
            "CDS outbound|80||cart.shop.svc.cluster.local",
            "CDS outbound|9000|v1|cart.shop.svc.cluster.local",
            "CDS outbound|9000||cart.shop.svc.cluster.local",
            "EDS outbound|80|v1|cart.shop.svc.cluster.local",
            "EDS outbound|80||cart.shop.svc.cluster.local",
            "EDS outbound|9000|v1|cart.shop.svc.cluster.local",
            "EDS outbound|9000||cart.shop.svc.cluster.local",
        ]
    );
    let v1 = fixture.cluster("shop", "shop/cart", "outbound|80|v1|cart.shop.svc.cluster.local");
    assert_eq!(
        v1["metadata"]["filter_metadata"]["istio"],
        json!({
            "config": "/apis/networking.istio.io/v1/namespaces/shop/destination-rule/cart",
            "subset": "v1",
            "services": [{"host": "cart.shop.svc.cluster.local", "name": "cart", "namespace": "shop"}],
        })
    );
}

#[test]
fn the_protocol_of_a_port_decides_what_is_spoken_upstream() {
    let options = |port: &str| {
        let fixture = Fixture::new(&CART.replace("{name: http, port: 80, targetPort: 8080}", port));
        let mut options = whole(&fixture)["typed_extension_protocol_options"]
            ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
            .take();
        options.as_object_mut().map(|options| options.remove("@type"));
        options
    };
    assert_eq!(options("{name: http, port: 80}"), Value::Null);
    assert_eq!(options("{name: tcp-x, port: 80}"), Value::Null);
    let http2 = json!({"explicit_http_config": {"http2_protocol_options": {}}});
    assert_eq!(options("{name: http2, port: 80}"), http2);
    assert_eq!(options("{name: grpc-web, port: 80}"), http2);
    assert_eq!(
        options("{name: unnamed, port: 80}"),
        json!({"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": {}}})
    );
}

#[test]
fn a_headless_service_is_called_at_the_address_that_the_client_chose() {
    let mut fixture = Fixture::new(&CART.replace("10.0.0.1", "None"));
    fixture.apply(&rule("{host: cart, trafficPolicy: {loadBalancer: {simple: RANDOM}}}"));
    let names: Vec<String> = fixture.resources("shop", "shop/cart").into_keys().collect();
    assert_eq!(names, ["CDS outbound|80||cart.shop.svc.cluster.local"]);
    let cluster = whole(&fixture);
    assert_eq!(
        (&cluster["type"], &cluster["lb_policy"]),
        (&json!("ORIGINAL_DST"), &json!("CLUSTER_PROVIDED"))
    );
    assert_eq!(cluster.get("eds_cluster_config"), None);
}

#[test]
fn where_nothing_is_redirected_a_headless_service_is_balanced_over_its_endpoints() {
    let members = |fixture: &Fixture, redirected| {
        let part = PartKey::Service(ServicePartKey { redirected, ..part("shop", "shop/cart") });
        part.observe(&fixture.memo, fixture.mesh()).1
    };
    let mut fixture = Fixture::new(&CART.replace("10.0.0.1", "None"));
    fixture.apply(&rule("{host: cart, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}"));
    let resources = fixture.decoded(&members(&fixture, false));
    let name = "outbound|80||cart.shop.svc.cluster.local";
    let cluster = &resources[&format!("CDS {name}")];
    assert_eq!((&cluster["type"], &cluster["lb_policy"]), (&json!("EDS"), &json!("LEAST_REQUEST")));
    assert!(resources.contains_key(&format!("EDS {name}")), "{:?}", resources.keys());
    // A service with an address is the same for all.
    let fixture = Fixture::new(CART);
    assert_eq!(members(&fixture, false), members(&fixture, true));
}

#[test]
fn passthrough_balancing_makes_an_original_destination_cluster() {
    let cluster = with_policy("{loadBalancer: {simple: PASSTHROUGH}}");
    assert_eq!(
        (&cluster["type"], &cluster["lb_policy"]),
        (&json!("ORIGINAL_DST"), &json!("CLUSTER_PROVIDED"))
    );
}

#[test]
fn each_balancer_is_envoys_own() {
    let lb = |written: &str| {
        let cluster = with_policy(&format!("{{loadBalancer: {written}}}"));
        let config =
            ["ring_hash_lb_config", "maglev_lb_config", "round_robin_lb_config", "least_request_lb_config"]
                .into_iter()
                .find_map(|name| Some((name, cluster.get(name)?.clone())));
        (cluster.get("lb_policy").cloned(), config)
    };
    // ROUND_ROBIN is Envoy's zero value, which JSON leaves out.
    assert_eq!(lb("{simple: ROUND_ROBIN}"), (None, None));
    assert_eq!(lb("{simple: RANDOM}"), (Some(json!("RANDOM")), None));
    assert_eq!(lb("{simple: LEAST_CONN}"), (Some(json!("LEAST_REQUEST")), None));
    assert_eq!(
        lb("{consistentHash: {useSourceIp: true}}"),
        (Some(json!("RING_HASH")), Some(("ring_hash_lb_config", json!({"minimum_ring_size": 1024}))))
    );
    assert_eq!(
        lb("{consistentHash: {httpHeaderName: x-user, ringHash: {minimumRingSize: 64}}}"),
        (Some(json!("RING_HASH")), Some(("ring_hash_lb_config", json!({"minimum_ring_size": 64}))))
    );
    assert_eq!(
        lb("{consistentHash: {httpHeaderName: x-user, maglev: {tableSize: 101}}}"),
        (Some(json!("MAGLEV")), Some(("maglev_lb_config", json!({"table_size": 101}))))
    );
    assert_eq!(
        lb("{simple: ROUND_ROBIN, warmup: {duration: 30s, aggression: 2}}"),
        (
            None,
            Some((
                "round_robin_lb_config",
                json!({"slow_start_config": {
                    "slow_start_window": "30s",
                    "aggression": {"default_value": 2.0},
                    "min_weight_percent": {"value": 10.0},
                }})
            ))
        )
    );
}

#[test]
fn a_connection_pool_limits_what_it_writes_and_nothing_else() {
    let cluster = with_policy(
        "{connectionPool: {
            tcp: {maxConnections: 10, connectTimeout: 1500ms, idleTimeout: 1h, maxConnectionDuration: 1m,
                  tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}},
            http: {http1MaxPendingRequests: 5, http2MaxRequests: 6, maxRetries: 7, maxRequestsPerConnection: 8}}}",
    );
    assert_eq!(
        cluster["circuit_breakers"]["thresholds"],
        json!([{"max_connections": 10, "max_pending_requests": 5, "max_requests": 6, "max_retries": 7}])
    );
    assert_eq!(cluster["connect_timeout"], json!("1.500s"));
    assert_eq!(
        cluster["upstream_connection_options"],
        json!({"tcp_keepalive": {"keepalive_probes": 3, "keepalive_time": 7200, "keepalive_interval": 75}})
    );
    let options = &cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    assert_eq!(
        options["common_http_protocol_options"],
        json!({"idle_timeout": "3600s", "max_connection_duration": "60s", "max_requests_per_connection": 8})
    );
    assert_eq!(options["explicit_http_config"], json!({"http_protocol_options": {}}));
}

#[test]
fn http_can_be_sent_on_as_http2_or_as_it_came() {
    let upstream = |http: &str| {
        let cluster = with_policy(&format!("{{connectionPool: {{http: {http}}}}}"));
        cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
            .clone()
    };
    assert_eq!(
        upstream("{h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 9}")["explicit_http_config"],
        json!({"http2_protocol_options": {"max_concurrent_streams": 9}})
    );
    let both = upstream("{useClientProtocol: true}");
    assert_eq!(
        both["use_downstream_protocol_config"],
        json!({"http_protocol_options": {}, "http2_protocol_options": {}})
    );
}

#[test]
fn outliers_are_found_as_the_rule_says_and_never_by_success_rate() {
    let cluster = with_policy(
        "{outlierDetection: {consecutive5xxErrors: 3, consecutiveGatewayErrors: 0, interval: 5s,
            baseEjectionTime: 1m, maxEjectionPercent: 50, minHealthPercent: 40}}",
    );
    assert_eq!(
        cluster["outlier_detection"],
        json!({
            "enforcing_success_rate": 0,
            "consecutive_5xx": 3,
            "enforcing_consecutive_5xx": 100,
            "consecutive_gateway_failure": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "interval": "5s",
            "base_ejection_time": "60s",
            "max_ejection_percent": 50,
        })
    );
    assert_eq!(cluster["common_lb_config"], json!({"healthy_panic_threshold": {"value": 40.0}}));
    let split = with_policy(
        "{outlierDetection: {splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 4}}",
    );
    assert_eq!(
        split["outlier_detection"],
        json!({
            "enforcing_success_rate": 0,
            "split_external_local_origin_errors": true,
            "consecutive_local_origin_failure": 4,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_local_origin_success_rate": 0,
        })
    );
}

#[test]
fn the_mesh_says_how_long_to_wait_for_a_connection() {
    let mut fixture = Fixture::new(CART);
    fixture.apply(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: 'connectTimeout: 2s'}}",
    );
    assert_eq!(whole(&fixture)["connect_timeout"], json!("2s"));
}

fn fixed(key: ClusterKey) -> Value {
    let fixture = Fixture::new(CART);
    fixture.decoded(&[key.into()]).into_values().next().unwrap()
}

#[test]
fn fixed_clusters_are_the_black_hole_and_the_passthrough() {
    let fixture = Fixture::new("");
    let (_, members) = fixture.memo.observe(FixedKey, fixture.mesh());
    let made = fixture.decoded(&members);
    assert_eq!(
        made["CDS BlackHoleCluster"],
        json!({"name": "BlackHoleCluster", "alt_stat_name": "BlackHoleCluster;", "type": "STATIC", "connect_timeout": "10s",
            "metadata": {"filter_metadata": {"meltemi": {"service": ";BlackHoleCluster;"}}}})
    );
    let passthrough = &made["CDS PassthroughCluster"];
    assert_eq!(passthrough["alt_stat_name"], json!("PassthroughCluster;"));
    assert_eq!(
        (&passthrough["type"], &passthrough["lb_policy"]),
        (&json!("ORIGINAL_DST"), &json!("CLUSTER_PROVIDED"))
    );
    let options = &passthrough["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    assert_eq!(options["common_http_protocol_options"], json!({"idle_timeout": "300s"}));
    assert_eq!(
        options["use_downstream_protocol_config"],
        json!({"http_protocol_options": {}, "http2_protocol_options": {}})
    );
    assert_eq!(made.len(), 2);
}

#[test]
fn what_comes_in_and_fits_no_port_keeps_the_passthroughs_statistics() {
    let cluster = fixed(ClusterKey::InboundPassthrough { family: IpFamily::V4 });
    assert_eq!(cluster["name"], json!("InboundPassthroughCluster"));
    assert_eq!(cluster["alt_stat_name"], json!("PassthroughCluster;"));
    assert_eq!(
        cluster["upstream_bind_config"],
        json!({"source_address": {"address": "127.0.0.6", "port_value": 0}})
    );
}

fn inbound(family: IpFamily) -> ClusterKey {
    ClusterKey::Inbound {
        service: ServiceId::of(&service("shop/cart")),
        port: port(80),
        target: port(8080),
        protocol: Protocol::Http,
        family,
        sidecar: None,
        endpoint: None,
    }
}

#[test]
fn an_inbound_cluster_leads_to_the_application_with_the_services_own_limits() {
    let mut fixture = Fixture::new(CART);
    fixture.apply(&rule("{host: cart, trafficPolicy: {connectionPool: {tcp: {maxConnections: 10}}, loadBalancer: {simple: RANDOM}}}"));
    let made = fixture.decoded(&[inbound(IpFamily::V4).into()]);
    assert_eq!(
        made["CDS inbound|8080||"],
        json!({
            "name": "inbound|8080||",
            "alt_stat_name": "inbound|8080||;",
            "type": "ORIGINAL_DST",
            "lb_policy": "CLUSTER_PROVIDED",
            "connect_timeout": "10s",
            "circuit_breakers": {"thresholds": [{
                "max_connections": 10,
                "max_pending_requests": UNLIMITED,
                "max_requests": UNLIMITED,
                "max_retries": UNLIMITED,
            }]},
            "upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}},
            "cleanup_interval": "9223372035s",
            "metadata": {"filter_metadata": {"istio": {
                "config": "/apis/networking.istio.io/v1/namespaces/shop/destination-rule/cart",
                "services": [{"host": "cart.shop.svc.cluster.local", "name": "cart", "namespace": "shop"}],
            }}},
        })
    );
    assert_eq!(
        fixed(inbound(IpFamily::V6))["upstream_bind_config"]["source_address"]["address"],
        json!("::6")
    );
}

#[test]
fn inbound_traffic_can_be_sent_to_loopback() {
    let mut fixture = Fixture::new(CART);
    fixture.apply(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: 'inboundTrafficPolicy: {mode: LOCALHOST}'}}",
    );
    let made = fixture.decoded(&[inbound(IpFamily::V4).into()]);
    let cluster = &made["CDS inbound|8080||"];
    assert_eq!(cluster["type"], json!("STATIC"));
    assert_eq!(
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"],
        json!({"socket_address": {"address": "127.0.0.1", "port_value": 8080}})
    );
    assert_eq!(cluster.get("upstream_bind_config"), None);
}

#[test]
fn a_rules_field_that_no_cluster_reads_remakes_no_cluster() {
    let mut fixture = Fixture::new(CART);
    let written = "{host: cart, subsets: [{name: v1, labels: {version: v1}}]";
    fixture.apply(&rule(&format!("{written}}}")));
    fixture.resources("shop", "shop/cart");
    let cost = fixture.apply(&rule(&format!("{written}, exportTo: [\"*\"]}}")));
    assert_eq!((cost.made("rule"), cost.made("cluster"), cost.made("assignment")), (1, 0, 0));
}

#[test]
fn a_subsets_policy_remakes_its_own_cluster_only() {
    let mut fixture = Fixture::new(CART);
    let written = |policy: &str| {
        rule(&format!(
            "{{host: cart, subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}, trafficPolicy: {policy}}}]}}"
        ))
    };
    fixture.apply(&written("{loadBalancer: {simple: ROUND_ROBIN}}"));
    fixture.resources("shop", "shop/cart");
    let cost = fixture.apply(&written("{loadBalancer: {simple: RANDOM}}"));
    assert_eq!((cost.made("cluster"), cost.changed("cluster"), cost.made("assignment")), (1, 1, 0));
}

#[test]
fn what_two_namespaces_see_alike_is_made_once() {
    let mut fixture = Fixture::new(CART);
    fixture.apply(&rule("{host: cart, subsets: [{name: v1, labels: {version: v1}}]}"));
    fixture.memo.take_cost();
    fixture.resources("shop", "shop/cart");
    fixture.resources("bank", "shop/cart");
    let cost = fixture.memo.take_cost();
    assert_eq!((cost.made("cluster"), cost.made("assignment"), cost.made("members of a service")), (2, 2, 1));
}

#[test]
fn an_unrelated_object_remakes_nothing() {
    let mut fixture = Fixture::new(CART);
    fixture.apply(&rule("{host: cart}"));
    fixture.resources("shop", "shop/cart");
    let mut cost = fixture.apply(&CART.replace("name: cart", "name: other"));
    assert_eq!(cost.made.values().sum::<usize>(), 0, "{cost:?}");
    cost = fixture.apply(&rule_named("shop/other", "{host: other}"));
    let expected = std::collections::BTreeMap::from([("any rule in a namespace", 1)]);
    assert_eq!(cost.made, expected, "there were rules before, and are: it ends there");
}

#[test]
fn a_subset_that_is_gone_from_its_rule_has_no_cluster() {
    let mut fixture = Fixture::new(CART);
    fixture.apply(&rule("{host: cart, subsets: [{name: v1, labels: {version: v1}}]}"));
    assert_eq!(fixture.service("shop", "shop/cart").len(), 4);
    fixture.delete(key(Kind::DestinationRule, "shop/cart"));
    assert_eq!(fixture.service("shop", "shop/cart").len(), 2);
}

#[test]
fn localities_share_by_weight_where_a_setting_orders_them() {
    let common = |service: &str, policy: &str| {
        let mut fixture = Fixture::new(service);
        fixture.apply(&rule(&format!("{{host: cart, trafficPolicy: {policy}}}")));
        whole(&fixture)["common_lb_config"].clone()
    };
    let near = CART.replace("spec:", "spec:\n  trafficDistribution: PreferClose");
    let outlier = "{outlierDetection: {consecutive5xxErrors: 3}}";
    let plain = json!({"healthy_panic_threshold": {}});
    let weighted = json!({"healthy_panic_threshold": {}, "locality_weighted_lb_config": {}});
    assert_eq!(common(&near, outlier), weighted);
    assert_eq!(common(&near, "{connectionPool: {tcp: {maxConnections: 9}}}"), weighted);
    // The mesh's own failover orders localities, and lets Envoy choose among endpoints of equal ones.
    assert_eq!(common(CART, outlier), plain);
    let setting = |outlier: &str, setting: &str| {
        format!("{{{outlier}loadBalancer: {{localityLbSetting: {{{setting}}}}}}}")
    };
    let outlier = "outlierDetection: {consecutive5xxErrors: 3}, ";
    assert_eq!(common(&near, &setting(outlier, "enabled: true")), plain);
    let labels = "failoverPriority: [version]";
    assert_eq!(common(CART, &setting(outlier, labels)), weighted);
    assert_eq!(common(CART, &setting("", labels)), plain);
    let regions = "failover: [{from: eu, to: us}]";
    assert_eq!(common(CART, &setting(outlier, regions)), weighted);
    assert_eq!(common(CART, &setting("", "distribute: [{from: '*', to: {eu: 100}}]")), weighted);
    assert_eq!(common(CART, &setting(outlier, "enabled: false, failoverPriority: [version]")), plain);
    let zones = |written: &str| common(CART, &format!("{{loadBalancer: {{zoneAwareLbSetting: {written}}}}}"));
    assert_eq!(zones("{minClusterSize: 3}")["zone_aware_lb_config"], json!({"min_cluster_size": 3}));
    assert_eq!(zones("{enabled: false}")["zone_aware_lb_config"], json!({"routing_enabled": {}}));
}
