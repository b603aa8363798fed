//! Expectations are written by hand from Istio's behaviour (facts of section 7), not with the builders.

use serde_json::{Value, json};

use crate::fixture::Fixture;

const CART: &str = "
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  selector: {app: cart}
  ports:
  - {name: http, port: 80, targetPort: 8080}
---
";

fn entry(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n---\n"
    )
}

const SUBSETS: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec:
  host: cart
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
";

fn whole(fixture: &Fixture) -> Value {
    fixture.assignment("shop", "shop/cart", "outbound|80||cart.shop.svc.cluster.local")
}

fn subset(fixture: &Fixture, name: &str) -> Value {
    fixture.assignment("shop", "shop/cart", &format!("outbound|80|{name}|cart.shop.svc.cluster.local"))
}

/// `address:port` of every endpoint, and its health if it is not healthy.
fn addresses(assignment: &Value) -> Vec<String> {
    let localities = assignment["endpoints"].as_array().cloned().unwrap_or_default();
    let endpoints = localities.iter().flat_map(|locality| locality["lb_endpoints"].as_array().unwrap());
    endpoints
        .map(|endpoint| {
            let address = &endpoint["endpoint"]["address"]["socket_address"];
            let health = endpoint["health_status"].as_str().unwrap_or("none");
            let health = if health == "HEALTHY" { String::new() } else { format!(" {health}") };
            format!("{}:{}{health}", address["address"].as_str().unwrap(), address["port_value"])
        })
        .collect()
}

#[test]
fn an_assignment_says_where_who_and_how_much() {
    let fixture = Fixture::new(&format!(
        "{CART}{}",
        entry(
            "cart-v1",
            "{address: 10.1.0.1, labels: {app: cart, version: v1}, locality: eu/eu-1/rack, weight: 3}"
        )
    ));
    assert_eq!(
        whole(&fixture),
        json!({
            "cluster_name": "outbound|80||cart.shop.svc.cluster.local",
            "endpoints": [{
                "locality": {"region": "eu", "zone": "eu-1", "sub_zone": "rack"},
                "load_balancing_weight": 3,
                "lb_endpoints": [{
                    "endpoint": {"address": {"socket_address": {"address": "10.1.0.1", "port_value": 8080}}},
                    "health_status": "HEALTHY",
                    "load_balancing_weight": 3,
                    "metadata": {"filter_metadata": {"istio": {"workload": "cart-v1;shop;cart;v1;Kubernetes"}}},
                }],
            }],
        })
    );
}

#[test]
fn a_service_without_endpoints_has_an_assignment_that_says_so() {
    let fixture = Fixture::new(CART);
    assert_eq!(whole(&fixture), json!({"cluster_name": "outbound|80||cart.shop.svc.cluster.local"}));
}

#[test]
fn a_subset_has_the_endpoints_that_carry_its_labels() {
    let fixture = Fixture::new(&format!(
        "{CART}{SUBSETS}{}{}",
        entry("a", "{address: 10.1.0.1, labels: {app: cart, version: v1}}"),
        entry("b", "{address: 10.1.0.2, labels: {app: cart, version: v2}, ports: {http: 9090}}"),
    ));
    assert_eq!(addresses(&whole(&fixture)), ["10.1.0.1:8080", "10.1.0.2:9090"]);
    assert_eq!(addresses(&subset(&fixture, "v1")), ["10.1.0.1:8080"]);
    assert_eq!(addresses(&subset(&fixture, "v2")), ["10.1.0.2:9090"]);
}

#[test]
fn localities_come_sorted_with_the_sum_of_their_weights() {
    let fixture = Fixture::new(&format!(
        "{CART}{}{}{}",
        entry("a", "{address: 10.1.0.3, labels: {app: cart}, locality: us/us-1}"),
        entry("b", "{address: 10.1.0.1, labels: {app: cart}, locality: us/us-1, weight: 4}"),
        entry("c", "{address: 10.1.0.2, labels: {app: cart}, locality: eu/eu-1}"),
    ));
    let assignment = whole(&fixture);
    assert_eq!(addresses(&assignment), ["10.1.0.2:8080", "10.1.0.1:8080", "10.1.0.3:8080"]);
    let weights: Vec<_> = assignment["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["load_balancing_weight"].clone())
        .collect();
    assert_eq!(weights, [json!(1), json!(5)]);
}

const SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-x, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.2.0.1], conditions: {ready: true}}
- {addresses: [10.2.0.2], conditions: {ready: false, serving: false, terminating: false}, nodeName: n1}
- {addresses: [10.2.0.3], conditions: {ready: false, serving: true, terminating: true}}
---
";

#[test]
fn an_unhealthy_endpoint_is_sent_as_such_and_a_terminating_one_is_not() {
    let fixture = Fixture::new(&format!("{CART}{SLICE}"));
    assert_eq!(addresses(&whole(&fixture)), ["10.2.0.1:8080", "10.2.0.2:8080 UNHEALTHY"]);
}

#[test]
fn with_a_panic_threshold_unhealthy_endpoints_are_left_out() {
    let fixture = Fixture::new(&format!(
        "{CART}{SLICE}{}",
        SUBSETS
            .replace("  subsets:", "  trafficPolicy: {outlierDetection: {minHealthPercent: 30}}\n  subsets:")
    ));
    assert_eq!(addresses(&whole(&fixture)), ["10.2.0.1:8080"]);
}

#[test]
fn node_local_traffic_stays_on_the_callers_node() {
    use crate::fixture::part;
    use crate::key::PartKey;

    let local = CART.replace("spec:", "spec:\n  internalTrafficPolicy: Local");
    let fixture = Fixture::new(&format!("{local}{SLICE}"));
    let on = |node: Option<&str>| {
        let mut part = part("shop", "shop/cart");
        part.node = node.map(Into::into);
        let (_, members) = PartKey::Service(part).observe(&fixture.memo, fixture.mesh());
        addresses(&fixture.decoded(&members)["EDS outbound|80||cart.shop.svc.cluster.local"])
    };
    assert_eq!(on(Some("n1")), ["10.2.0.2:8080 UNHEALTHY"]);
    assert_eq!(on(Some("n2")), Vec::<String>::new());
    assert_eq!(on(None), ["10.2.0.1:8080"], "a caller without a node takes endpoints without one");
}

#[test]
fn a_proxy_gets_the_addresses_that_it_reaches() {
    use crate::fixture::part;
    use crate::key::PartKey;
    use meltemi_model::proxy::IpFamily;

    let v6 = entry("b", "{address: '2001:db8::1', labels: {app: cart}}");
    let mut fixture =
        Fixture::new(&format!("{CART}{}{v6}", entry("a", "{address: 10.1.0.1, labels: {app: cart}}")));
    let seen = |fixture: &Fixture, family| {
        let part = PartKey::Service(crate::cluster::ServicePartKey { family, ..part("shop", "shop/cart") });
        let (_, members) = part.observe(&fixture.memo, fixture.mesh());
        addresses(&fixture.decoded(&members)["EDS outbound|80||cart.shop.svc.cluster.local"])
    };
    assert_eq!(seen(&fixture, IpFamily::V4), ["10.1.0.1:8080"]);
    assert_eq!(seen(&fixture, IpFamily::V6), ["2001:db8::1:8080"]);
    assert_eq!(seen(&fixture, IpFamily::Dual), ["10.1.0.1:8080", "2001:db8::1:8080"]);
    // With one family there is nothing to choose, and all proxies share one assignment.
    fixture.delete(crate::fixture::key(meltemi_names::Kind::WorkloadEntry, "shop/b"));
    fixture.memo.take_cost();
    for family in [IpFamily::V4, IpFamily::V6, IpFamily::Dual] {
        assert_eq!(seen(&fixture, family), ["10.1.0.1:8080"]);
    }
    assert_eq!(fixture.memo.take_cost().made("assignment"), 0, "the one of proxies of both families");
}

#[test]
fn one_endpoint_remakes_the_assignments_that_hold_it_and_no_other() {
    let other = CART.replace("cart", "other");
    let mut fixture = Fixture::new(&format!(
        "{CART}{other}{SUBSETS}{}{}{}",
        entry("a", "{address: 10.1.0.1, labels: {app: cart, version: v1}, locality: eu/eu-1}"),
        entry("b", "{address: 10.1.0.2, labels: {app: cart, version: v2}, locality: eu/eu-1}"),
        entry("c", "{address: 10.1.0.3, labels: {app: cart, version: v2}, locality: us/us-1}"),
    ));
    fixture.resources("shop", "shop/cart");
    fixture.resources("shop", "shop/other");
    let cost = fixture
        .apply(&entry("b", "{address: 10.1.0.4, labels: {app: cart, version: v2}, locality: eu/eu-1}"));
    assert_eq!(cost.made("assignment"), 2, "the service and its subset v2: {cost:?}");
    assert_eq!(cost.made("locality of an assignment"), 2, "of one locality: {cost:?}");
    assert_eq!((cost.made("cluster"), cost.made("endpoints")), (0, 1));
    assert_eq!(addresses(&subset(&fixture, "v2")), ["10.1.0.4:8080", "10.1.0.3:8080"]);
}

#[test]
fn a_new_endpoint_reaches_the_service_that_waits_for_it() {
    let mut fixture = Fixture::new(CART);
    whole(&fixture);
    fixture.apply(&entry("a", "{address: 10.1.0.1, labels: {app: cart}}"));
    assert_eq!(addresses(&whole(&fixture)), ["10.1.0.1:8080"]);
}

#[test]
fn a_unix_socket_is_an_address() {
    let fixture = Fixture::new(&format!(
        "{CART}{}",
        entry("a", "{address: 'unix:///run/cart.sock', labels: {app: cart}}")
    ));
    assert_eq!(
        whole(&fixture)["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"],
        json!({"pipe": {"path": "/run/cart.sock"}})
    );
}

#[test]
fn a_subset_may_select_by_the_place_where_endpoints_run() {
    let by_zone = SUBSETS.replace("labels: {version: v1}", "labels: {topology.kubernetes.io/zone: eu-1}");
    let fixture = Fixture::new(&format!(
        "{CART}{by_zone}{}{}",
        entry("a", "{address: 10.1.0.1, labels: {app: cart}, locality: eu/eu-1}"),
        entry("b", "{address: 10.1.0.2, labels: {app: cart}, locality: eu/eu-2}"),
    ));
    assert_eq!(addresses(&subset(&fixture, "v1")), ["10.1.0.1:8080"]);
    let rule = crate::fixture::key(meltemi_names::Kind::DestinationRule, "shop/cart");
    let (_, findings) = fixture.memo.observe(crate::finding::FindingsOf(rule), fixture.mesh());
    let fields: Vec<&str> = findings.iter().map(|finding| finding.field.as_str()).collect();
    assert_eq!(fields, ["spec.subsets[1].labels"], "nobody is in v2; v1 has its endpoint");
}

#[test]
fn a_pod_with_two_addresses_is_one_endpoint() {
    use crate::fixture::part;
    use crate::key::PartKey;
    use meltemi_model::proxy::IpFamily;

    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop, labels: {app: cart}}, status: {podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: '2001:db8::1'}]}}";
    let fixture = Fixture::new(&format!("{CART}{pod}"));
    let seen = |family| {
        let part = PartKey::Service(crate::cluster::ServicePartKey { family, ..part("shop", "shop/cart") });
        let (_, members) = part.observe(&fixture.memo, fixture.mesh());
        addresses(&fixture.decoded(&members)["EDS outbound|80||cart.shop.svc.cluster.local"])
    };
    assert_eq!(seen(IpFamily::V4), ["10.1.0.1:8080"]);
    assert_eq!(seen(IpFamily::V6), ["2001:db8::1:8080"]);
    assert_eq!(seen(IpFamily::Dual), ["10.1.0.1:8080"]);
}

#[test]
fn a_draining_endpoint_is_sent_as_such() {
    let drained = CART.replace(
        "name: cart, namespace: shop",
        "name: cart, namespace: shop, labels: {istio.io/persistent-session: cart}",
    );
    let fixture = Fixture::new(&format!("{drained}{SLICE}"));
    assert_eq!(
        addresses(&whole(&fixture)),
        ["10.2.0.1:8080", "10.2.0.2:8080 UNHEALTHY", "10.2.0.3:8080 DRAINING"]
    );
}

/// Endpoints of four places, as pods on nodes: of the zone eu-1 there are two, on n1 and n2.
fn places() -> String {
    let place = |node: &str, ip: u8, region: &str, zone: &str, rack: &str| {
        format!(
            "apiVersion: v1\nkind: Node\nmetadata: {{name: {node}, labels: {{topology.kubernetes.io/region: {region}, topology.kubernetes.io/zone: {zone}, topology.istio.io/subzone: {rack}}}}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: cart-{ip}, namespace: shop, labels: {{app: cart}}}}\nspec: {{nodeName: {node}}}\nstatus: {{podIP: 10.1.0.{ip}}}\n---\n"
        )
    };
    [
        place("n1", 1, "eu", "eu-1", "a"),
        place("n2", 2, "eu", "eu-1", "a"),
        place("n3", 3, "eu", "eu-1", "b"),
        place("n4", 4, "eu", "eu-2", "a"),
        place("n5", 5, "us", "us-1", "a"),
    ]
    .concat()
}

/// `last part of the address=priority`, in the order in which they are sent, to a caller there.
fn priorities(fixture: &Fixture, region: &str, zone: &str, sub_zone: &str, node: &str) -> String {
    use crate::fixture::part;
    use crate::key::PartKey;

    let mut part = part("shop", "shop/cart");
    part.locality =
        Some(meltemi_names::Locality { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() });
    part.node = Some(node.into());
    let (_, members) = PartKey::Service(part).observe(&fixture.memo, fixture.mesh());
    let assignment = &fixture.decoded(&members)["EDS outbound|80||cart.shop.svc.cluster.local"];
    let localities = assignment["endpoints"].as_array().unwrap();
    let mut found = Vec::new();
    for locality in localities {
        for endpoint in locality["lb_endpoints"].as_array().unwrap() {
            let address = endpoint["endpoint"]["address"]["socket_address"]["address"].as_str().unwrap();
            let priority = locality["priority"].as_u64().unwrap_or(0);
            found.push(format!("{}={priority}", address.rsplit('.').next().unwrap()));
        }
    }
    found.join(" ")
}

fn preferring(what: &str) -> String {
    CART.replace("spec:", &format!("spec:\n  trafficDistribution: {what}"))
}

#[test]
fn a_service_that_says_nothing_has_all_endpoints_alike() {
    let fixture = Fixture::new(&format!("{CART}{}", places()));
    assert_eq!(priorities(&fixture, "eu", "eu-1", "a", "n1"), "1=0 2=0 3=0 4=0 5=0");
}

#[test]
fn the_same_zone_comes_first_then_the_region() {
    for name in ["PreferClose", "PreferSameZone"] {
        let fixture = Fixture::new(&format!("{}{}", preferring(name), places()));
        assert_eq!(priorities(&fixture, "eu", "eu-1", "", "n1"), "1=0 2=0 3=0 4=1 5=2");
        assert_eq!(priorities(&fixture, "eu", "eu-2", "", "n1"), "1=1 2=1 3=1 4=0 5=2");
        assert_eq!(priorities(&fixture, "us", "us-1", "", "n1"), "1=1 2=1 3=1 4=1 5=0", "without a gap");
        assert_eq!(priorities(&fixture, "asia", "asia-1", "", "n1"), "1=0 2=0 3=0 4=0 5=0");
    }
}

#[test]
fn the_same_node_comes_first_then_the_sub_zone() {
    let fixture = Fixture::new(&format!("{}{}", preferring("PreferSameNode"), places()));
    assert_eq!(priorities(&fixture, "eu", "eu-1", "a", "n1"), "1=0 2=1 3=2 4=3 5=4");
    assert_eq!(priorities(&fixture, "eu", "eu-1", "a", "n9"), "1=0 2=0 3=1 4=2 5=3", "nobody is on its node");
}

#[test]
fn the_weight_of_each_part_of_a_locality_is_its_own() {
    let fixture = Fixture::new(&format!("{}{}", preferring("PreferSameNode"), places()));
    let mut part = crate::fixture::part("shop", "shop/cart");
    part.locality = Some(meltemi_names::Locality::parse("eu/eu-1/a"));
    part.node = Some("n1".into());
    let (_, members) = crate::key::PartKey::Service(part).observe(&fixture.memo, fixture.mesh());
    let assignment = &fixture.decoded(&members)["EDS outbound|80||cart.shop.svc.cluster.local"];
    let weights: Vec<_> =
        assignment["endpoints"].as_array().unwrap().iter().map(|l| &l["load_balancing_weight"]).collect();
    assert_eq!(weights, [1, 1, 1, 1, 1]);
}

#[test]
fn the_field_counts_before_the_annotation_and_that_before_the_namespaces() {
    let annotated = |service: &str, text: &str| {
        service.replace(
            "name: cart, namespace: shop",
            &format!("name: cart, namespace: shop, annotations: {{networking.istio.io/traffic-distribution: {text}}}"),
        )
    };
    let namespace = |text: &str| {
        format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, annotations: {{networking.istio.io/traffic-distribution: {text}}}}}}}"
        )
    };
    let seen = |service: &str, namespace: &str| {
        let fixture = Fixture::new(&format!("{service}{}{namespace}", places()));
        priorities(&fixture, "eu", "eu-1", "a", "n1")
    };
    let (alike, zone, node) = ("1=0 2=0 3=0 4=0 5=0", "1=0 2=0 3=0 4=1 5=2", "1=0 2=1 3=2 4=3 5=4");
    assert_eq!(seen(&annotated(CART, "preferclose"), ""), zone);
    assert_eq!(
        seen(&annotated(&preferring("PreferSameNode"), "PreferClose"), &namespace("PreferClose")),
        node
    );
    assert_eq!(seen(CART, &namespace("PreferSameNode")), node);
    assert_eq!(seen(&annotated(CART, "Any"), &namespace("PreferSameNode")), alike);
    assert_eq!(seen(&preferring("Nearby"), &namespace("PreferSameNode")), alike);
}

#[test]
fn a_rule_that_speaks_of_localities_overrules_the_service() {
    let rule = SUBSETS.replace(
        "  subsets:",
        "  trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: false}}}\n  subsets:",
    );
    let fixture = Fixture::new(&format!("{}{}{rule}", preferring("PreferClose"), places()));
    assert_eq!(priorities(&fixture, "eu", "eu-1", "a", "n1"), "1=0 2=0 3=0 4=0 5=0");
}

#[test]
fn traffic_that_stays_on_the_node_has_nothing_nearer() {
    let local = preferring("PreferSameNode").replace("spec:", "spec:\n  internalTrafficPolicy: Local");
    let fixture = Fixture::new(&format!("{local}{}", places()));
    assert_eq!(priorities(&fixture, "eu", "eu-1", "a", "n2"), "2=0");
}

#[test]
fn callers_that_see_the_same_distances_share_what_is_encoded() {
    let fixture = Fixture::new(&format!("{}{}", preferring("PreferClose"), places()));
    priorities(&fixture, "eu", "eu-1", "a", "n1");
    fixture.memo.take_cost();
    priorities(&fixture, "eu", "eu-1", "b", "n7");
    let cost = fixture.memo.take_cost();
    assert_eq!(
        (cost.made("assignment"), cost.made("locality of an assignment")),
        (0, 0),
        "zone is all that is read"
    );
    priorities(&fixture, "us", "us-1", "a", "n1");
    let cost = fixture.memo.take_cost();
    assert_eq!((cost.made("assignment"), cost.made("picked endpoints")), (1, 0), "{cost:?}");
}
