//! Which virtual hosts there are, and which VirtualService decides in each.

use meltemi_names::Kind;
use serde_json::{Value, json};

use super::{Routes, aged, caller, mesh_config, object, selector, service, virtual_service};

fn to(host: &str) -> Value {
    json!([{"route": [{"destination": {"host": host}}]}])
}

/// To which cluster the first route of a virtual host leads.
fn leads_to(routes: &Routes, name: &str) -> String {
    routes.routes(name)[0]["route"]["cluster"].as_str().unwrap().to_owned()
}

#[test]
fn a_port_has_a_virtual_host_for_each_service_and_one_for_the_rest() {
    let routes = Routes::of(
        caller("shop"),
        [
            service("shop/cart", 80, "http"),
            service("bank/pay", 80, "grpc"),
            service("bank/db", 80, "tcp"),
            service("bank/web", 8080, "http2"),
        ],
    );
    assert_eq!(
        routes.hosts_of("80"),
        ["cart.shop.svc.cluster.local", "pay.bank.svc.cluster.local", "allow_any"]
    );
    assert_eq!(routes.hosts_of("8080"), ["web.bank.svc.cluster.local", "allow_any"]);
    assert_eq!(routes.names().len(), 2 + 3 + 2);
}

#[test]
fn the_head_of_a_route_configuration_asks_for_its_virtual_hosts() {
    let routes = Routes::of(caller("shop"), [service("shop/cart", 80, "http")]);
    assert_eq!(
        routes.json("80"),
        json!({
            "name": "80",
            "validate_clusters": false,
            "max_direct_response_body_size_bytes": 1_048_576,
            "ignore_port_in_host_matching": true,
            "vhds": {"config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}},
        })
    );
    let whole = Routes::of(
        super::RoutesKey { virtual_hosts: false, ..caller("shop") },
        [service("shop/cart", 80, "http")],
    );
    assert!(whole.json("80").get("vhds").is_none());
}

#[test]
fn a_virtual_host_is_called_as_the_client_needs_it() {
    let events = || [service("shop/cart", 80, "http")];
    let alone = Routes::of(caller("shop"), events());
    assert_eq!(alone.json("80/cart.shop.svc.cluster.local")["name"], "80/cart.shop.svc.cluster.local");
    assert_eq!(alone.json("80/allow_any")["name"], "80/allow_any");
    let whole = Routes::of(super::RoutesKey { virtual_hosts: false, ..caller("shop") }, events());
    assert_eq!(whole.json("80/cart.shop.svc.cluster.local")["name"], "cart.shop.svc.cluster.local:80");
    assert_eq!(whole.json("80/allow_any")["name"], "allow_any");
}

#[test]
fn unknown_hosts_pass_or_are_refused_as_the_mesh_says() {
    let mut routes = Routes::of(caller("shop"), [service("shop/cart", 80, "http")]);
    assert_eq!(
        routes.json("80/allow_any"),
        json!({
            "name": "80/allow_any", "domains": ["*"], "include_request_attempt_count": true,
            "routes": [{"name": "allow_any", "match": {"prefix": "/"}, "route": {"cluster": "PassthroughCluster", "timeout": "0s"}}],
        })
    );
    routes.apply([mesh_config(json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}))]);
    assert_eq!(routes.hosts_of("80"), ["cart.shop.svc.cluster.local", "block_all"]);
    assert_eq!(
        routes.json("80/block_all"),
        json!({
            "name": "80/block_all", "domains": ["*"], "include_request_attempt_count": true,
            "routes": [{"name": "block_all", "match": {"prefix": "/"}, "direct_response": {"status": 502}}],
        })
    );
}

#[test]
fn without_a_virtual_service_all_goes_to_the_service_with_istios_retries() {
    let routes = Routes::of(caller("shop"), [service("shop/cart", 80, "http")]);
    assert_eq!(
        routes.json("80/cart.shop.svc.cluster.local")["routes"],
        json!([{
            "name": "default",
            "match": {"prefix": "/"},
            "decorator": {"operation": "cart.shop.svc.cluster.local:80/*"},
            "route": {
                "cluster": "outbound|80||cart.shop.svc.cluster.local",
                "timeout": "0s",
                "max_grpc_timeout": "0s",
                "retry_policy": {
                    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
                    "num_retries": 2,
                    "retry_host_predicate": [{
                        "name": "envoy.retry_host_predicates.previous_hosts",
                        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                    }],
                    "host_selection_retry_max_attempts": 5,
                },
            },
        }])
    );
}

#[test]
fn a_port_of_unknown_protocol_has_a_configuration_of_its_own_where_it_has_an_address() {
    let events = [
        object(Kind::Service, "shop/own", json!({"clusterIP": "10.0.0.7", "ports": [{"port": 9000}]})),
        object(Kind::Service, "shop/pods", json!({"clusterIP": "None", "ports": [{"port": 9000}]})),
        object(Kind::Service, "shop/bare", json!({"ports": [{"port": 9000}]})),
    ];
    let routes = Routes::of(caller("shop"), events);
    assert_eq!(routes.hosts_of("own.shop.svc.cluster.local:9000"), ["own.shop.svc.cluster.local"]);
    assert_eq!(routes.domains("own.shop.svc.cluster.local:9000/own.shop.svc.cluster.local"), ["*"]);
    assert_eq!(routes.hosts_of("pods.shop.svc.cluster.local:9000"), ["pods.shop.svc.cluster.local"]);
    assert_eq!(routes.hosts_of("bare.shop.svc.cluster.local:9000"), [] as [&str; 0]);
    let all = [
        "bare.shop.svc.cluster.local",
        "own.shop.svc.cluster.local",
        "pods.shop.svc.cluster.local",
        "allow_any",
    ];
    assert_eq!(routes.hosts_of("9000"), all);
}

#[test]
fn the_oldest_of_two_virtual_services_for_a_host_has_it_whole() {
    let mut routes = Routes::of(
        caller("shop"),
        [
            service("shop/cart", 80, "http"),
            aged(20, virtual_service("shop/a", json!({"hosts": ["cart"], "http": to("young")}))),
            aged(10, virtual_service("shop/b", json!({"hosts": ["cart"], "http": to("old")}))),
        ],
    );
    let name = "80/cart.shop.svc.cluster.local";
    assert_eq!(leads_to(&routes, name), "outbound|80||old.shop.svc.cluster.local");
    routes.apply([aged(5, virtual_service("shop/a", json!({"hosts": ["cart"], "http": to("young")})))]);
    assert_eq!(leads_to(&routes, name), "outbound|80||young.shop.svc.cluster.local");
}

#[test]
fn an_own_private_virtual_service_goes_before_an_exported_and_that_before_a_public_one() {
    let private = virtual_service(
        "shop/private",
        json!({"hosts": ["cart.bank.svc.cluster.local"], "exportTo": ["."], "http": to("private")}),
    );
    let exported = virtual_service(
        "b/exported",
        json!({"hosts": ["cart.bank.svc.cluster.local"], "exportTo": ["shop"], "http": to("exported")}),
    );
    let public =
        virtual_service("a/public", json!({"hosts": ["cart.bank.svc.cluster.local"], "http": to("public")}));
    let name = "80/cart.bank.svc.cluster.local";
    let mesh = [service("bank/cart", 80, "http"), aged(3, private), aged(2, exported), aged(1, public)];
    let of = |namespace| leads_to(&Routes::of(caller(namespace), mesh.clone()), name);
    assert_eq!(of("shop"), "outbound|80||private.shop.svc.cluster.local");
    assert_eq!(of("else"), "outbound|80||public.a.svc.cluster.local");
    let without = |gone: usize| {
        mesh.iter()
            .enumerate()
            .filter(|(at, _)| *at != gone)
            .map(|(_, event)| event.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        leads_to(&Routes::of(caller("shop"), without(1)), name),
        "outbound|80||exported.b.svc.cluster.local"
    );
    assert_eq!(
        leads_to(&Routes::of(caller("b"), without(3)), name),
        "outbound|80||cart.bank.svc.cluster.local"
    );
}

#[test]
fn an_exact_host_goes_before_a_wildcard_and_a_longer_wildcard_before_a_shorter() {
    let routes = Routes::of(
        caller("shop"),
        [
            service("shop/cart", 80, "http"),
            service("shop/pay", 80, "http"),
            service("bank/till", 80, "http"),
            aged(1, virtual_service("shop/a", json!({"hosts": ["*.local"], "http": to("wide")}))),
            aged(
                2,
                virtual_service(
                    "shop/b",
                    json!({"hosts": ["*.shop.svc.cluster.local"], "http": to("narrow")}),
                ),
            ),
            aged(3, virtual_service("shop/c", json!({"hosts": ["cart"], "http": to("exact")}))),
        ],
    );
    assert_eq!(
        leads_to(&routes, "80/cart.shop.svc.cluster.local"),
        "outbound|80||exact.shop.svc.cluster.local"
    );
    assert_eq!(
        leads_to(&routes, "80/pay.shop.svc.cluster.local"),
        "outbound|80||narrow.shop.svc.cluster.local"
    );
    assert_eq!(
        leads_to(&routes, "80/till.bank.svc.cluster.local"),
        "outbound|80||wide.shop.svc.cluster.local"
    );
    assert_eq!(
        routes.hosts_of("80").len(),
        4,
        "a wildcard that covers services is no virtual host: {:?}",
        routes.hosts_of("80")
    );
}

#[test]
fn hosts_that_no_service_has_are_served_on_port_80_and_beside_services() {
    let routes = Routes::of(
        caller("shop"),
        [
            service("shop/cart", 80, "http"),
            service("shop/web", 8080, "http"),
            virtual_service("shop/a", json!({"hosts": ["example.com", "reviews.prod"], "http": to("cart")})),
            virtual_service("shop/b", json!({"hosts": ["web", "web.example.com"], "http": to("web")})),
        ],
    );
    let on_80 =
        ["example.com", "reviews.prod", "web.example.com", "cart.shop.svc.cluster.local", "allow_any"];
    assert_eq!(routes.hosts_of("80"), on_80);
    assert_eq!(routes.hosts_of("8080"), ["web.example.com", "web.shop.svc.cluster.local", "allow_any"]);
    assert_eq!(routes.domains("80/example.com"), ["example.com"]);
}

#[test]
fn a_virtual_service_for_gateways_alone_does_not_touch_sidecars() {
    let with = |gateways| {
        let spec = json!({"hosts": ["cart"], "gateways": gateways, "http": to("other")});
        let routes =
            Routes::of(caller("shop"), [service("shop/cart", 80, "http"), virtual_service("shop/a", spec)]);
        leads_to(&routes, "80/cart.shop.svc.cluster.local")
    };
    assert_eq!(with(json!(["edge"])), "outbound|80||cart.shop.svc.cluster.local");
    assert_eq!(with(json!(["edge", "mesh"])), "outbound|80||other.shop.svc.cluster.local");
    assert_eq!(with(json!([])), "outbound|80||other.shop.svc.cluster.local");
}

#[test]
fn matches_on_the_caller_are_decided_here_and_without_any_left_the_default_stays() {
    let labelled = selector("app", "batch");
    let http = json!([{
        "match": [
            {"sourceLabels": {"app": "batch"}, "uri": {"prefix": "/labels"}},
            {"sourceNamespace": "bank", "uri": {"prefix": "/namespace"}},
            {"port": 8080, "uri": {"prefix": "/port"}},
            {"gateways": ["edge"], "uri": {"prefix": "/edge"}},
            {"gateways": ["mesh"], "sourceNamespace": "nobody", "uri": {"prefix": "/mesh"}},
        ],
        "route": [{"destination": {"host": "other"}}],
    }]);
    let mut spec = json!({"hosts": ["cart"], "http": http});
    let paths = |namespace: &str, selectors: &[_], spec: &Value| {
        let key = super::RoutesKey { selectors: selectors.into(), ..caller(namespace) };
        let routes =
            Routes::of(key, [service("shop/cart", 80, "http"), virtual_service("shop/a", spec.clone())]);
        let matches = routes.routes("80/cart.shop.svc.cluster.local").into_iter();
        matches.map(|route| route["match"]["prefix"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(paths("shop", &[], &spec), ["/mesh"]);
    assert_eq!(paths("bank", &[], &spec), ["/namespace", "/mesh"]);
    assert_eq!(paths("shop", std::slice::from_ref(&labelled), &spec), ["/labels", "/mesh"]);
    spec["http"][0]["match"].as_array_mut().unwrap().pop();
    assert_eq!(paths("shop", &[], &spec), ["/"], "none is left: the default route");
}
