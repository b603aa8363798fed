//! Requests that go where their hash says.

use serde_json::{Value, json};

use super::{MYAPP, Routes, caller, destination_rule, object, service, virtual_service};
use crate::key::PartKey;
use meltemi_names::Kind;

/// Two services, of which `default/myapp` is hashed as `rule` says.
fn hashed(rule: Value) -> Routes {
    Routes::of(
        caller("default"),
        [
            service("default/myapp", 80, "http"),
            service("default/plain", 80, "http"),
            destination_rule("default/myapp", rule),
        ],
    )
}

fn by(consistent_hash: Value) -> Value {
    json!({"loadBalancer": {"consistentHash": consistent_hash}})
}

fn policies(routes: &Routes) -> Value {
    routes.route(MYAPP)["route"]["hash_policy"].clone()
}

#[test]
fn each_part_of_a_request_can_be_hashed() {
    let policy = |hash: Value| policies(&hashed(json!({"host": "myapp", "trafficPolicy": by(hash)})));
    assert_eq!(policy(json!({"httpHeaderName": "X-User"})), json!([{"header": {"header_name": "x-user"}}]));
    assert_eq!(policy(json!({"useSourceIp": true})), json!([{"connection_properties": {"source_ip": true}}]));
    assert_eq!(policy(json!({"httpQueryParameterName": "u"})), json!([{"query_parameter": {"name": "u"}}]));
    assert_eq!(policy(json!({"httpCookie": {"name": "c"}})), json!([{"cookie": {"name": "c"}}]));
    assert_eq!(
        policy(
            json!({"httpCookie": {"name": "c", "ttl": "0s", "path": "/p", "attributes": [{"name": "SameSite", "value": "Lax"}]}})
        ),
        json!([{"cookie": {"name": "c", "ttl": "0s", "path": "/p", "attributes": [{"name": "SameSite", "value": "Lax"}]}}])
    );
    assert_eq!(policy(json!({"ringHash": {}})), Value::Null, "nothing is hashed");
}

#[test]
fn a_retry_may_take_the_host_of_the_hash_again() {
    let routes = hashed(json!({"host": "myapp", "trafficPolicy": by(json!({"useSourceIp": true}))}));
    assert_eq!(routes.route(MYAPP)["route"]["retry_policy"].get("retry_host_predicate"), None);
    let plain = routes.route("80/plain.default.svc.cluster.local");
    assert_eq!(plain["route"].get("hash_policy"), None);
    assert!(plain["route"]["retry_policy"].get("retry_host_predicate").is_some());
    let origin: Vec<String> = routes.resource(MYAPP).origin().iter().map(ToString::to_string).collect();
    assert_eq!(origin, ["Service default/myapp", "DestinationRule default/myapp"]);
}

#[test]
fn the_nearest_policy_of_a_destination_counts() {
    let mut routes = hashed(json!({
        "host": "myapp",
        "trafficPolicy": {
            "loadBalancer": {"consistentHash": {"httpHeaderName": "top"}},
            "portLevelSettings": [{"port": {"number": 8080}, "loadBalancer": {"consistentHash": {"httpHeaderName": "port"}}}],
        },
        "subsets": [
            {"name": "v1", "labels": {}, "trafficPolicy": by(json!({"httpHeaderName": "subset"}))},
            {"name": "v2", "labels": {}},
        ],
    }));
    let mut header = |destination: Value| {
        routes.apply([virtual_service(
            "default/v",
            json!({"hosts": ["myapp"], "http": [{"route": [{"destination": destination}]}]}),
        )]);
        policies(&routes)[0]["header"]["header_name"].clone()
    };
    assert_eq!(header(json!({"host": "myapp"})), "top");
    assert_eq!(header(json!({"host": "myapp", "port": {"number": 8080}})), "port");
    assert_eq!(header(json!({"host": "myapp", "subset": "v1"})), "subset");
    assert_eq!(header(json!({"host": "myapp", "subset": "v2"})), "top");
    assert_eq!(header(json!({"host": "plain"})), Value::Null);
}

#[test]
fn of_several_destinations_each_adds_its_policy_and_retries_stay_as_they_are() {
    let mut routes = hashed(json!({
        "host": "myapp", "trafficPolicy": by(json!({"httpHeaderName": "a"})),
        "subsets": [{"name": "v2", "labels": {}, "trafficPolicy": by(json!({"httpHeaderName": "b"}))}],
    }));
    let split = json!([
        {"destination": {"host": "myapp"}, "weight": 1},
        {"destination": {"host": "myapp", "subset": "v2"}, "weight": 1},
        {"destination": {"host": "myapp", "port": {"number": 80}}, "weight": 1},
    ]);
    routes.apply([virtual_service("default/v", json!({"hosts": ["myapp"], "http": [{"route": split}]}))]);
    assert_eq!(
        policies(&routes),
        json!([{"header": {"header_name": "a"}}, {"header": {"header_name": "b"}}])
    );
    assert!(routes.route(MYAPP)["route"]["retry_policy"].get("retry_host_predicate").is_some());
}

#[test]
fn a_rule_is_found_behind_an_external_name_and_by_a_wildcard() {
    let wild =
        json!({"host": "*.default.svc.cluster.local", "trafficPolicy": by(json!({"httpHeaderName": "w"}))});
    let mut routes = Routes::of(
        caller("default"),
        [service("default/myapp", 80, "http"), destination_rule("default/wild", wild)],
    );
    assert_eq!(policies(&routes), json!([{"header": {"header_name": "w"}}]));
    let alias = json!({"type": "ExternalName", "externalName": "myapp.default.svc.cluster.local"});
    routes.apply([
        object(Kind::Service, "shop/alias", alias),
        virtual_service("default/v", json!({"hosts": ["myapp"], "http": [{"route": [{"destination": {"host": "alias.shop.svc.cluster.local"}}]}]})),
    ]);
    assert_eq!(policies(&routes), json!([{"header": {"header_name": "w"}}]));
}

#[test]
fn namespaces_with_other_rules_have_other_bodies_and_without_hashing_the_same() {
    let mut routes = hashed(
        json!({"host": "myapp", "exportTo": ["."], "trafficPolicy": by(json!({"httpHeaderName": "mine"}))}),
    );
    let bodies_for = |routes: &Routes, namespace: &str| {
        routes.memo.take_cost();
        let (_, members) = PartKey::Routes(caller(namespace)).observe(&routes.memo, routes.store.mesh());
        for member in members.iter() {
            member.observe(&routes.memo, routes.store.mesh());
        }
        routes.memo.take_cost().made("virtual host body")
    };
    assert_eq!(bodies_for(&routes, "other"), 1, "that of myapp alone, which the rule is not for");
    let pool = json!({"host": "myapp.default.svc.cluster.local", "trafficPolicy": {"connectionPool": {"http": {"maxRetries": 1}}}});
    routes.apply([destination_rule("third/myapp", pool)]);
    assert_eq!(bodies_for(&routes, "third"), 0, "its rule says nothing of hashes");
}

#[test]
fn a_rule_that_hashes_nothing_remakes_nothing() {
    let mut routes = hashed(json!({"host": "myapp"}));
    routes.memo.take_cost();
    routes.apply([destination_rule(
        "default/myapp",
        json!({"host": "myapp", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}),
    )]);
    assert_eq!(routes.memo.take_cost().made.values().sum::<usize>(), 0);
}
