//! Where requests go: clusters, weights, mirrors, and what a virtual host needs for that.

use meltemi_catalog::Need;
use meltemi_names::{Kind, TypeUrl};
use serde_json::{Value, json};

use super::{MYAPP, Routes, caller, myapp, object, service, virtual_service};

fn cluster(subset: &str) -> String {
    format!("outbound|80|{subset}|myapp.default.svc.cluster.local")
}

fn needs(routes: &Routes, name: &str) -> Vec<String> {
    let resource = routes.resource(name);
    assert!(resource.needs().iter().all(|Need { type_url, .. }| *type_url == TypeUrl::Cluster));
    resource.needs().iter().map(|need| need.name.to_string()).collect()
}

/// The canary of the article: ninety to v1, ten to v2.
#[test]
fn weights_become_weighted_clusters_without_those_of_zero() {
    let split = |v1: u32, v2: u32| {
        json!([{"route": [
            {"destination": {"host": "myapp", "subset": "v1"}, "weight": v1},
            {"destination": {"host": "myapp", "subset": "v2"}, "weight": v2},
        ]}])
    };
    let routes = myapp(split(90, 10));
    let route = routes.route(MYAPP);
    assert_eq!(
        route["route"]["weighted_clusters"],
        json!({"clusters": [{"name": cluster("v1"), "weight": 90}, {"name": cluster("v2"), "weight": 10}]})
    );
    assert_eq!(route["decorator"], json!({"operation": "myapp:80/*"}));
    assert_eq!(needs(&routes, MYAPP), [cluster("v1"), cluster("v2")]);

    let routes = myapp(split(0, 100));
    assert_eq!(
        routes.route(MYAPP)["route"]["weighted_clusters"],
        json!({"clusters": [{"name": cluster("v2"), "weight": 100}]})
    );
    assert_eq!(needs(&routes, MYAPP), [cluster("v2")]);

    let routes = myapp(split(0, 0));
    assert_eq!(routes.route(MYAPP)["direct_response"], json!({"status": 503}), "Envoy takes no empty choice");
}

#[test]
fn weights_beyond_envoys_bound_keep_their_proportion() {
    let routes = myapp(json!([{"route": [
        {"destination": {"host": "myapp", "subset": "v1"}, "weight": 4_000_000_000_u32},
        {"destination": {"host": "myapp", "subset": "v2"}, "weight": 2_000_000_000},
    ]}]));
    assert_eq!(
        routes.route(MYAPP)["route"]["weighted_clusters"]["clusters"],
        json!([{"name": cluster("v1"), "weight": 2_000_000_000}, {"name": cluster("v2"), "weight": 1_000_000_000}])
    );
}

#[test]
fn of_one_destination_the_weight_is_not_read() {
    for weight in [0, 1, 100] {
        let routes = myapp(
            json!([{"route": [{"destination": {"host": "myapp", "subset": "green"}, "weight": weight}]}]),
        );
        assert_eq!(routes.route(MYAPP)["route"]["cluster"], cluster("green"));
    }
}

#[test]
fn a_destination_is_written_whether_or_not_it_exists() {
    let route = |destination: Value| {
        let routes = myapp(json!([{"route": [{"destination": destination}]}]));
        routes.route(MYAPP)["route"]["cluster"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        route(json!({"host": "gone", "subset": "v9"})),
        "outbound|80|v9|gone.default.svc.cluster.local"
    );
    assert_eq!(
        route(json!({"host": "myapp", "port": {"number": 9090}})),
        "outbound|9090||myapp.default.svc.cluster.local"
    );
    assert_eq!(route(json!({"host": "reviews.prod"})), "outbound|80||reviews.prod");
    assert_eq!(route(json!({"host": "a.b.svc.cluster.local"})), "outbound|80||a.b.svc.cluster.local");
}

#[test]
fn an_external_name_is_replaced_by_what_it_stands_for() {
    let alias = json!({"type": "ExternalName", "externalName": "real.shop.svc.cluster.local"});
    let mut routes = myapp(json!([{"route": [{"destination": {"host": "alias"}}]}]));
    assert_eq!(routes.route(MYAPP)["route"]["cluster"], "outbound|80||alias.default.svc.cluster.local");
    routes.apply([object(Kind::Service, "default/alias", alias)]);
    assert_eq!(routes.route(MYAPP)["route"]["cluster"], "outbound|80||real.shop.svc.cluster.local");
    let further = json!({"type": "ExternalName", "externalName": "last.shop.svc.cluster.local"});
    routes.apply([object(Kind::Service, "shop/real", further)]);
    assert_eq!(routes.route(MYAPP)["route"]["cluster"], "outbound|80||last.shop.svc.cluster.local");
    let back = json!({"type": "ExternalName", "externalName": "alias.default.svc.cluster.local"});
    routes.apply([object(Kind::Service, "shop/last", back)]);
    routes.route(MYAPP);
}

#[test]
fn a_mirror_is_the_same_in_all_spellings() {
    let mirrored = |more: Value| {
        let mut rule = json!({"route": [{"destination": {"host": "myapp", "subset": "v1"}}]});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let routes = myapp(json!([rule]));
        (routes.route(MYAPP)["route"]["request_mirror_policies"].clone(), needs(&routes, MYAPP))
    };
    let policy = |numerator: u32| {
        json!([{
            "cluster": cluster("v2"),
            "runtime_fraction": {"default_value": {"numerator": numerator, "denominator": "MILLION"}},
            "trace_sampled": false,
            "disable_shadow_host_suffix_append": true,
        }])
    };
    let both = vec![cluster("v1"), cluster("v2")];
    let v2 = json!({"host": "myapp", "subset": "v2"});
    assert_eq!(mirrored(json!({"mirror": v2})), (policy(1_000_000), both.clone()));
    // As in the article.
    assert_eq!(mirrored(json!({"mirror": v2, "mirrorPercent": 100})), (policy(1_000_000), both.clone()));
    assert_eq!(mirrored(json!({"mirror": v2, "mirror_percent": 25})), (policy(250_000), both.clone()));
    assert_eq!(
        mirrored(json!({"mirror": v2, "mirrorPercentage": {"value": 12.5}})),
        (policy(125_000), both.clone())
    );
    assert_eq!(
        mirrored(json!({"mirrors": [{"destination": v2, "percentage": {"value": 0.01}}]})),
        (policy(100), both)
    );
    assert_eq!(
        mirrored(json!({"mirror": v2, "mirrorPercentage": {"value": 0}})),
        (Value::Null, vec![cluster("v1")])
    );
}

#[test]
fn a_virtual_host_says_what_it_was_made_from() {
    let routes = myapp(json!([{"route": [{"destination": {"host": "myapp"}}]}]));
    let origin = |name| routes.resource(name).origin().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(origin(MYAPP), ["Service default/myapp", "VirtualService default/myapp"]);
    assert_eq!(origin("80/allow_any"), [] as [&str; 0]);
    assert_eq!(routes.resource(MYAPP).parent().unwrap().as_str(), "80");
}

#[test]
fn blue_and_green_are_switched_by_the_subset_alone() {
    let to = |subset: &str| {
        virtual_service(
            "default/myapp",
            json!({"hosts": ["myapp"], "http": [{"route": [{"destination": {"host": "myapp", "subset": subset}}]}]}),
        )
    };
    let mut routes = Routes::of(caller("default"), [service("default/myapp", 80, "http"), to("blue")]);
    assert_eq!(routes.route(MYAPP)["route"]["cluster"], cluster("blue"));
    routes.apply([to("green")]);
    assert_eq!(routes.route(MYAPP)["route"]["cluster"], cluster("green"));
    assert_eq!(routes.route(MYAPP)["decorator"]["operation"], "myapp.default.svc.cluster.local:80/*");
}
