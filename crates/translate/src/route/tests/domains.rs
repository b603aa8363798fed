//! By which domains a service is called, and who has a domain that two could have.

use meltemi_model::proxy::IpFamily;
use meltemi_names::Kind;
use serde_json::json;

use super::{Routes, RoutesKey, caller, object, service, virtual_service};

#[test]
fn a_service_has_its_names_short_forms_and_addresses() {
    let cart = || {
        object(
            Kind::Service,
            "shop/cart",
            json!({"clusterIPs": ["10.0.0.9", "fd00::9"], "ports": [{"name": "http", "port": 80}]}),
        )
    };
    let domains = |key| Routes::of(key, [cart()]).domains("80/cart.shop.svc.cluster.local");
    let (full, absolute) = ("cart.shop.svc.cluster.local", "cart.shop.svc.cluster.local.");
    assert_eq!(domains(caller("shop")), [full, absolute, "cart", "cart.shop.svc", "cart.shop", "10.0.0.9"]);
    assert_eq!(domains(caller("bank")), [full, absolute, "cart.shop", "cart.shop.svc", "10.0.0.9"]);
    let dual = RoutesKey { family: IpFamily::Dual, ..caller("bank") };
    assert_eq!(domains(dual), [full, absolute, "cart.shop", "cart.shop.svc", "10.0.0.9", "[fd00::9]"]);
    assert_eq!(domains(RoutesKey { domain: None, ..caller("shop") }), [full, absolute, "10.0.0.9"]);
    assert_eq!(
        domains(RoutesKey { domain: Some("other.example".into()), ..caller("shop") }),
        [full, absolute, "10.0.0.9"]
    );
}

#[test]
fn a_headless_service_has_the_names_below_its_own_too() {
    let events = [object(
        Kind::Service,
        "shop/cart",
        json!({"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}),
    )];
    assert_eq!(
        Routes::of(caller("bank"), events).domains("80/cart.shop.svc.cluster.local"),
        [
            "cart.shop.svc.cluster.local",
            "cart.shop.svc.cluster.local.",
            "cart.shop",
            "cart.shop.svc",
            "*.cart.shop.svc.cluster.local",
            "*.cart.shop.svc.cluster.local.",
            "*.cart.shop",
            "*.cart.shop.svc",
        ]
    );
}

#[test]
fn an_external_name_that_stands_for_a_service_adds_its_domains() {
    let alias = json!({"type": "ExternalName", "externalName": "cart.shop.svc.cluster.local"});
    let routes = Routes::of(
        caller("bank"),
        [service("shop/cart", 80, "http"), object(Kind::Service, "bank/basket", alias)],
    );
    assert_eq!(
        routes.domains("80/cart.shop.svc.cluster.local"),
        [
            "cart.shop.svc.cluster.local",
            "cart.shop.svc.cluster.local.",
            "cart.shop",
            "cart.shop.svc",
            "basket.bank.svc.cluster.local",
            "basket.bank.svc.cluster.local.",
            "basket",
            "basket.bank.svc",
            "basket.bank",
        ]
    );
}

#[test]
fn an_alias_of_an_alias_stands_for_the_service_too() {
    let named = |target: &str| json!({"type": "ExternalName", "externalName": target});
    let routes = Routes::of(
        caller("bank"),
        [
            service("shop/cart", 80, "http"),
            object(Kind::Service, "shop/first", named("cart.shop.svc.cluster.local")),
            object(Kind::Service, "shop/second", named("first.shop.svc.cluster.local")),
            object(Kind::Service, "shop/here", named("there.shop.svc.cluster.local")),
            object(Kind::Service, "shop/there", named("here.shop.svc.cluster.local")),
        ],
    );
    let domains = routes.domains("80/cart.shop.svc.cluster.local");
    for alias in ["first.shop", "second.shop"] {
        assert!(domains.iter().any(|domain| domain == alias), "{alias} in {domains:?}");
    }
    assert!(!domains.iter().any(|domain| domain.contains("here")), "two that name each other name nothing");
}

#[test]
fn a_domain_stays_with_the_earlier_virtual_host() {
    let routes = Routes::of(
        caller("bank"),
        [
            service("shop/cart", 80, "http"),
            virtual_service(
                "bank/a",
                json!({"hosts": ["cart.shop"], "http": [{"directResponse": {"status": 418}}]}),
            ),
        ],
    );
    assert_eq!(routes.domains("80/cart.shop"), ["cart.shop"]);
    assert_eq!(
        routes.domains("80/cart.shop.svc.cluster.local"),
        ["cart.shop.svc.cluster.local", "cart.shop.svc.cluster.local.", "cart.shop.svc"]
    );
}

#[test]
fn two_services_with_one_address_share_it_not() {
    let at = |place| {
        object(
            Kind::Service,
            place,
            json!({"clusterIP": "10.0.0.9", "ports": [{"name": "http", "port": 80}]}),
        )
    };
    let routes = Routes::of(caller("bank"), [at("shop/a"), at("shop/b")]);
    assert!(routes.domains("80/a.shop.svc.cluster.local").contains(&"10.0.0.9".to_owned()));
    assert!(!routes.domains("80/b.shop.svc.cluster.local").contains(&"10.0.0.9".to_owned()));
}
