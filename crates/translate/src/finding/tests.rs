//! The mistakes that people make across objects.

use meltemi_names::Kind;

use super::FindingsOf;
use crate::fixture::{Fixture, key};

const CART: &str = "
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart-1, namespace: shop}
spec: {address: 10.1.0.1, labels: {app: cart, version: v1}}
---
";

const RULE: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec: {host: cart, subsets: [{name: v1, labels: {version: v1}}]}
---
";

fn route(name: &str, hosts: &str, http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{hosts: [{hosts}], http: [{http}]}}\n---\n"
    )
}

/// Findings of an object as `code field: message`, and the hint on a line of its own.
fn findings(fixture: &Fixture, kind: Kind, name: &str) -> Vec<String> {
    let (_, found) = fixture.memo.observe(FindingsOf(key(kind, name)), fixture.mesh());
    found
        .iter()
        .map(|finding| {
            let hint = finding.hint.as_ref().map(|hint| format!("\n{hint}")).unwrap_or_default();
            assert_eq!(finding.key, Some(key(kind, name)));
            assert!(finding.in_force.is_some(), "{finding:?} does not say what happens");
            format!("{} {}: {}{hint}", finding.code, finding.field, finding.message)
        })
        .collect()
}

fn of_route(yaml: &str) -> Vec<String> {
    findings(&Fixture::new(&format!("{CART}{yaml}")), Kind::VirtualService, "shop/x")
}

#[test]
fn what_fits_together_has_no_findings() {
    let yaml = route("x", "cart", "{route: [{destination: {host: cart, subset: v1, port: {number: 80}}}]}");
    let fixture = Fixture::new(&format!("{CART}{RULE}{yaml}"));
    for (kind, name) in [
        (Kind::Service, "shop/cart"),
        (Kind::WorkloadEntry, "shop/cart-1"),
        (Kind::DestinationRule, "shop/cart"),
        (Kind::VirtualService, "shop/x"),
    ] {
        assert_eq!(findings(&fixture, kind, name), Vec::<String>::new());
    }
}

#[test]
fn a_destination_that_is_no_service_is_named_with_the_nearest() {
    assert_eq!(
        of_route(&route("x", "cart", "{route: [{destination: {host: crat}}]}")),
        [
            "host-not-found spec.http[0].route[0].destination.host: `crat` stands for crat.shop.svc.cluster.local, and no service has that host\n\
         is Service shop/cart meant? Its host is cart.shop.svc.cluster.local"
        ]
    );
    assert_eq!(
        of_route(&route("x", "cart", "{route: [{destination: {host: cart.shop}}]}")),
        ["host-not-found spec.http[0].route[0].destination.host: no service has the host `cart.shop`\n\
         a host with a dot is taken as it is: write cart.shop.svc.cluster.local"]
    );
}

#[test]
fn a_service_that_is_not_exported_here_is_said_to_be_so() {
    let fixture = Fixture::new(&format!(
        "{}{}",
        CART.replace(
            "metadata: {name: cart, namespace: shop}",
            "metadata: {name: cart, namespace: bank, annotations: {networking.istio.io/exportTo: .}}"
        ),
        route("x", "a.com", "{route: [{destination: {host: cart.bank.svc.cluster.local}}]}")
    ));
    assert_eq!(
        findings(&fixture, Kind::VirtualService, "shop/x"),
        [
            "host-not-found spec.http[0].route[0].destination.host: Service bank/cart is not exported to namespace shop\n\
         add shop to its annotation networking.istio.io/exportTo"
        ]
    );
}

#[test]
fn a_missing_subset_is_named_with_those_that_exist() {
    let with = "{route: [{destination: {host: cart, subset: v1}, weight: 90}, {destination: {host: cart, subset: v3}, weight: 10}]}";
    assert_eq!(
        of_route(&format!("{RULE}{}", route("x", "cart", with))),
        [
            "subset-not-found spec.http[0].route[1].destination.subset: cart.shop.svc.cluster.local has no subset `v3`\n\
         DestinationRule shop/cart has `v1`; add `v3` there, then give it weight"
        ]
    );
    let mirror = "{route: [{destination: {host: cart}}], mirror: {host: cart, subset: v1}}";
    assert_eq!(
        of_route(&route("x", "cart", mirror)),
        [
            "subset-not-found spec.http[0].mirror.subset: cart.shop.svc.cluster.local has no subset `v1`: no DestinationRule is in force for it\n\
         add a DestinationRule in namespace shop with host cart and subset `v1`"
        ]
    );
}

#[test]
fn a_finding_goes_when_its_cause_goes() {
    let mut fixture = Fixture::new(&format!(
        "{CART}{}",
        route("x", "cart", "{route: [{destination: {host: cart, subset: v1}}]}")
    ));
    assert_eq!(findings(&fixture, Kind::VirtualService, "shop/x").len(), 1);
    fixture.apply(RULE);
    assert_eq!(findings(&fixture, Kind::VirtualService, "shop/x"), Vec::<String>::new());
}

#[test]
fn a_missing_port_is_named_with_those_that_exist() {
    assert_eq!(
        of_route(&route("x", "cart", "{route: [{destination: {host: cart, port: {number: 8080}}}]}")),
        [
            "port-not-found spec.http[0].route[0].destination.port.number: Service shop/cart has no port 8080\n\
         its ports are `80`; the port is the Service's own, not its targetPort"
        ]
    );
}

#[test]
fn of_two_virtual_services_with_one_host_the_older_decides() {
    let routes = "{route: [{destination: {host: cart}}]}";
    let yaml = format!("{}{}", route("a", "cart", routes), route("x", "cart.shop.svc.cluster.local", routes));
    assert_eq!(
        of_route(&yaml),
        [
            "duplicate-host spec.hosts[0]: VirtualService shop/a has the host `cart.shop.svc.cluster.local` too, and is older\n\
         move the rules into one of them, or delete one"
        ]
    );
    let fixture = Fixture::new(&format!("{CART}{yaml}"));
    assert_eq!(findings(&fixture, Kind::VirtualService, "shop/a"), Vec::<String>::new());
}

#[test]
fn a_host_of_the_cluster_without_a_service_is_a_finding_and_others_are_not() {
    let routes = "{route: [{destination: {host: cart}}]}";
    assert_eq!(
        of_route(&route("x", "desk, example.com, '*.shop.svc.cluster.local'", routes)),
        [
            "host-not-found spec.hosts[0]: `desk` stands for desk.shop.svc.cluster.local, and no service has that host"
        ]
    );
}

fn of_rule(spec: &str) -> Vec<String> {
    let rule = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: x, namespace: shop}}\nspec: {spec}\n---\n"
    );
    findings(&Fixture::new(&format!("{CART}{rule}")), Kind::DestinationRule, "shop/x")
}

#[test]
fn a_rule_for_no_service_is_a_finding() {
    assert_eq!(of_rule("{host: crat}").len(), 1);
    assert_eq!(
        of_rule("{host: '*.desk.svc.cluster.local'}"),
        ["host-not-found spec.host: no service has a host under `*.desk.svc.cluster.local`"]
    );
    assert_eq!(of_rule("{host: '*.shop.svc.cluster.local'}"), Vec::<String>::new());
}

#[test]
fn a_subset_that_nobody_matches_is_named_with_what_workloads_carry() {
    assert_eq!(
        of_rule("{host: cart, subsets: [{name: two, labels: {version: v2}}]}"),
        [
            "subset-without-endpoints spec.subsets[0].labels: no workload of Service shop/cart carries `version=v2`\n\
         label its workloads so, or change the subset; they carry `version=v1`"
        ]
    );
}

#[test]
fn settings_for_a_port_that_the_service_lacks_are_a_finding() {
    assert_eq!(
        of_rule(
            "{host: cart, trafficPolicy: {portLevelSettings: [{port: {number: 8080}, loadBalancer: {simple: RANDOM}}]}}"
        ),
        [
            "port-not-found spec.trafficPolicy.portLevelSettings[0].port.number: Service shop/cart has no port 8080\n\
          its ports are `80`; the port is the Service's own, not its targetPort"
        ]
    );
}

#[test]
fn what_an_older_rule_says_already_is_a_finding() {
    let fixture = Fixture::new(&format!("{CART}{RULE}{}", RULE.replace("name: cart", "name: later")));
    assert_eq!(findings(&fixture, Kind::DestinationRule, "shop/cart"), Vec::<String>::new());
    assert_eq!(
        findings(&fixture, Kind::DestinationRule, "shop/later"),
        [
            "overruled-subset spec.subsets[0].name: DestinationRule shop/cart has a subset `v1` too, and is older\n\
         move both into one DestinationRule"
        ]
    );
}

#[test]
fn a_service_whose_slices_name_nobody_that_is_there_says_so() {
    let alone = CART.split("---").next().unwrap();
    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: cart-1, namespace: shop, labels: {kubernetes.io/service-name: cart}}, addressType: IPv4, ports: [{name: http, port: 80}], endpoints: [{addresses: [10.0.0.1], targetRef: {kind: Pod, name: gone}}]}";
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: other, namespace: shop}}";
    let fixture = Fixture::new(&format!("{alone}---\n{slice}\n---\n{pod}"));
    assert_eq!(
        findings(&fixture, Kind::Service, "shop/cart"),
        [
            "service-without-endpoints spec: Service shop/cart has EndpointSlices, and none of their endpoints can be used\n\
             an endpoint is used when its pod (targetRef) is there, and it is ready or `terminating: false` is written"
        ]
    );
}

#[test]
fn a_service_that_selects_nothing_comes_with_the_lines_to_add() {
    let alone = CART.split("---").next().unwrap();
    let fixture = Fixture::new(alone);
    let found = findings(&fixture, Kind::Service, "shop/cart");
    assert_eq!(
        found,
        [
            "service-without-endpoints spec.selector: Service shop/cart selects nothing: no EndpointSlice, pod or WorkloadEntry\n\
         to name an endpoint, add\n\
         apiVersion: networking.istio.io/v1\n\
         kind: WorkloadEntry\n\
         metadata: {name: cart-1, namespace: shop}\n\
         spec:\n  \
           address: 127.0.0.1\n  \
           labels: {app: \"cart\"}\n  \
           ports: {http: 8080}"
        ]
    );
    // The lines do what they say.
    let lines = found[0].split_once("add\n").unwrap().1;
    let mut fixture = fixture;
    fixture.apply(lines);
    assert_eq!(findings(&fixture, Kind::Service, "shop/cart"), Vec::<String>::new());
    assert_eq!(findings(&fixture, Kind::WorkloadEntry, "shop/cart-1"), Vec::<String>::new());
}

#[test]
fn a_workload_entry_that_nobody_selects_or_that_is_a_name_is_a_finding() {
    let fixture =
        Fixture::new(&CART.replace(
            "address: 10.1.0.1, labels: {app: cart,",
            "address: db.example.com, labels: {app: desk,",
        ));
    assert_eq!(
        findings(&fixture, Kind::WorkloadEntry, "shop/cart-1"),
        [
            "workload-without-service spec.labels: no Service or ServiceEntry in namespace shop selects these labels\n\
         give it all the labels of a Service's selector",
        ]
    );
}

#[test]
fn a_workload_entry_at_a_name_serves_entries_that_resolve_names_alone() {
    let named = CART.replace("address: 10.1.0.1,", "address: db.example.com,");
    let mut fixture = Fixture::new(&named);
    let of_entry = |fixture: &Fixture| findings(fixture, Kind::WorkloadEntry, "shop/cart-1");
    assert_eq!(
        of_entry(&fixture),
        [
            "address-not-an-ip spec.address: `db.example.com` is a name; an endpoint of a Service is an IP address or a Unix socket\n\
         write its IP address, or select it by a ServiceEntry with resolution: DNS",
        ]
    );
    fixture.apply(
        "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: db, namespace: shop}, spec: {hosts: [db.mesh], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}], workloadSelector: {labels: {app: cart}}}}",
    );
    assert_eq!(of_entry(&fixture), Vec::<String>::new());
}

/// A ServiceEntry of namespace `shop`.
fn service_entry(name: &str, spec: &str) -> String {
    format!(
        "---\n{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}, namespace: shop}}, spec: {{ports: [{{number: 80, name: http, protocol: HTTP}}], {spec}}}}}\n"
    )
}

#[test]
fn a_service_entry_that_nobody_serves_is_a_finding() {
    let entry = |spec: &str| findings(&Fixture::new(&service_entry("x", spec)), Kind::ServiceEntry, "shop/x");
    assert_eq!(
        entry("hosts: [a.com], resolution: STATIC"),
        [
            "service-without-endpoints spec.endpoints: ServiceEntry shop/x has no endpoints\nname where it is, or write resolution: DNS"
        ]
    );
    assert_eq!(
        entry("hosts: [a.com], resolution: STATIC, workloadSelector: {labels: {app: x}}"),
        [
            "service-without-endpoints spec.workloadSelector: ServiceEntry shop/x selects nothing: no WorkloadEntry or Pod of namespace shop\ngive them all the labels of the selector"
        ]
    );
    for fine in ["hosts: [a.com]", "hosts: [a.com], resolution: DNS"] {
        assert_eq!(entry(fine), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn a_host_of_two_services_is_a_finding_at_the_one_that_is_not_meant() {
    let host = "hosts: [cart.shop.svc.cluster.local]";
    let fixture = Fixture::new(&format!("{CART}{}", service_entry("x", host)));
    assert_eq!(
        findings(&fixture, Kind::ServiceEntry, "shop/x"),
        [
            "host-clash spec.hosts[0]: Service shop/cart declares `cart.shop.svc.cluster.local` too\nnobody takes a host from a Service; name another host"
        ]
    );
    // Two that agree are one service; of two that do not, the older is meant.
    let pair = |spec: &str| {
        Fixture::new(&format!("{}{}", service_entry("x", "hosts: [a.com]"), service_entry("y", spec)))
    };
    let agree = pair("hosts: [a.com]");
    assert_eq!(findings(&agree, Kind::ServiceEntry, "shop/y"), Vec::<String>::new());
    let differ = pair("hosts: [a.com], resolution: DNS");
    assert_eq!(findings(&differ, Kind::ServiceEntry, "shop/x"), Vec::<String>::new());
    assert_eq!(
        findings(&differ, Kind::ServiceEntry, "shop/y"),
        [
            "host-clash spec.hosts[0]: ServiceEntry shop/x declares `a.com` too\nkeep one of them, or export each to other namespaces"
        ]
    );
}

#[test]
fn connections_that_nothing_tells_apart_reach_the_older_entry() {
    let tcp = |name: &str| {
        service_entry(name, &format!("hosts: [{name}.com]")).replace("protocol: HTTP", "protocol: TCP")
    };
    let fixture = Fixture::new(&format!("{}{}", tcp("x"), tcp("y")));
    assert_eq!(
        findings(&fixture, Kind::ServiceEntry, "shop/y"),
        [
            "port-shadowed spec.ports[0]: nothing tells connections to port 80 from those to x.com of ServiceEntry shop/x, which is older\ngive the entry addresses, or the port another number or the protocol TLS"
        ]
    );
}

#[test]
fn only_one_config_map_holds_the_settings() {
    let settings = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: {namespace}}}\ndata: {{mesh: 'connectTimeout: 2s'}}\n---\n"
        )
    };
    let fixture = Fixture::new(&format!("{}{}", settings("a"), settings("b")));
    assert_eq!(findings(&fixture, Kind::ConfigMap, "a/istio"), Vec::<String>::new());
    assert_eq!(
        findings(&fixture, Kind::ConfigMap, "b/istio"),
        [
            "settings-not-in-force data.mesh: ConfigMap a/istio holds the mesh's settings too\nkeep one of them"
        ]
    );
}

#[test]
fn of_two_services_that_nothing_tells_apart_the_younger_says_whom_its_callers_reach() {
    let service = |name: &str, port: &str, ip: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{{ip}selector: {{app: cart}}, ports: [{{name: http, port: 81}}, {port}]}}\n---\n"
        )
    };
    let tcp = "{name: tcp, port: 5432}";
    let fixture = Fixture::new(&[CART, &service("a", tcp, ""), &service("b", tcp, "")].concat());
    assert_eq!(findings(&fixture, Kind::Service, "shop/a"), [""; 0]);
    assert_eq!(
        findings(&fixture, Kind::Service, "shop/b"),
        [
            "port-shadowed spec.ports[1]: nothing tells connections to port 5432 from those to Service shop/a, which is older\ngive each of them a clusterIP, or another port"
        ]
    );
    let ips = ["clusterIP: 10.96.0.1, ", "clusterIP: 10.96.0.2, "];
    let fixture = Fixture::new(&[CART, &service("a", tcp, ips[0]), &service("b", tcp, ips[1])].concat());
    assert_eq!(findings(&fixture, Kind::Service, "shop/b"), [""; 0]);
    let mysql = "{name: mysql, port: 5432}";
    let fixture = Fixture::new(&[CART, &service("a", tcp, ""), &service("b", mysql, "")].concat());
    assert_eq!(findings(&fixture, Kind::Service, "shop/b").len(), 1);
    let undeclared = "{name: x, port: 5432}";
    let fixture = Fixture::new(&[CART, &service("a", tcp, ""), &service("b", undeclared, "")].concat());
    assert_eq!(findings(&fixture, Kind::Service, "shop/b"), [""; 0]);
}

fn object(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n---\n"
    )
}

#[test]
fn rules_for_connections_need_a_port_and_a_destination() {
    let rules = object(
        "x",
        "{hosts: [cart], tcp: [{match: [{port: 80}], route: [{destination: {host: cart, subset: v9}}]}]}",
    );
    assert_eq!(
        of_route(&rules),
        [
            "rule-without-port spec.tcp[0]: no service of these hosts has a port that carries TCP, or whose protocol is found out \
             for this rule\nname the Service's port tcp-..., or correct match.port; requests of HTTP ports are routed by `http`",
            "subset-not-found spec.tcp[0].route[0].destination.subset: cart.shop.svc.cluster.local has no subset `v9`: no \
             DestinationRule is in force for it\nadd a DestinationRule in namespace shop with host cart and subset `v9`",
        ]
    );
}

#[test]
fn a_delegate_that_is_missing_or_contradicts_is_told_where_it_is_named() {
    let root = |delegate: &str| {
        object(
            "x",
            &format!(
                "{{hosts: [cart], http: [{{match: [{{uri: {{prefix: /a}}}}], delegate: {{name: {delegate}}}}}]}}"
            ),
        )
    };
    assert_eq!(
        of_route(&root("leaf")),
        [
            "delegate-not-found spec.http[0].delegate: there is no VirtualService shop/leaf\nadd it, without hosts, or correct the \
          name; the namespace is this object's unless it is written"
        ]
    );
    let leaf =
        object("leaf", "{http: [{match: [{uri: {prefix: /b}}], route: [{destination: {host: cart}}]}]}");
    assert_eq!(
        of_route(&format!("{}{leaf}", root("leaf")))[0].lines().next().unwrap(),
        "delegate-conflict spec.http[0].delegate: http[0].match[0] of VirtualService shop/leaf contradicts every match of this \
         rule, in `uri`"
    );
    let fixture = Fixture::new(&format!("{CART}{leaf}"));
    assert_eq!(
        findings(&fixture, Kind::VirtualService, "shop/leaf"),
        [
            "unused-delegate spec: it has no hosts, and no VirtualService delegates to it\nadd hosts, or delegate to it by \
          http[].delegate of one that has hosts"
        ]
    );
}
