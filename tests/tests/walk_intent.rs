//! What users of the golden cases and of the examples want, asserted on the way of a request: one line a request, written by hand.
//!
//! The expected end is written as `90% v1, 10% v2` (subsets, or the host where there is none), `503 direct_response`, `301 LOCATION`.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use meltemi_model::Event;
use meltemi_names::TypeUrl;
use meltemi_tests::mesh;
use meltemi_views::{Engine, Options};
use meltemi_walk::{
    Action, Configuration, Destination, EndpointWay, Forward, Handling, Request, Seen, TlsOffer, Way, walk,
};

/// Names and values.
type Pairs = &'static [(&'static str, &'static str)];

/// A golden case, the sender's labels, what is asked for, with which headers, and how it ends.
type Row = (&'static str, Pairs, &'static str, Pairs, &'static str);

/// The objects of a file or a folder under the top of the repository.
fn events(path: &str) -> Result<Vec<Event>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let files = if path.is_dir() {
        std::fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?
    } else {
        vec![path.clone()]
    };
    let mut events = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let parsed = meltemi_api::parse(&text, "input.yaml", "default");
        let objects = parsed.documents.iter().filter_map(|document| document.object.clone());
        events.extend(objects.map(|object| Event::Upsert(std::sync::Arc::new(object))));
    }
    Ok(events)
}

/// What the sidecar `pod` (`name.namespace`) with these labels is served by these files.
fn configuration(inputs: &[&str], pod: &str, labels: &[(&str, &str)]) -> Result<Configuration> {
    let mut engine = Engine::new(Options { virtual_hosts: false, ..Options::default() });
    for input in inputs {
        engine.apply(events(input)?);
    }
    let client = engine.connect(mesh::proxy(pod, labels, "REDIRECT", false));
    let view = engine.view(client);
    let mut configuration = Configuration::default();
    for type_url in [TypeUrl::Listener, TypeUrl::Route, TypeUrl::Cluster, TypeUrl::Endpoint] {
        for live in view.all(type_url) {
            let resource = &live.resource;
            configuration.add(type_url, resource.name().as_str(), resource.body().to_vec());
        }
    }
    Ok(configuration)
}

/// The way of a request of the sidecar `client.default` with these labels, `METHOD http://HOST[:PORT]/PATH`, and headers.
fn way(inputs: &[&str], labels: &[(&str, &str)], asked: &str, headers: &[(&str, &str)]) -> Result<Way> {
    let configuration = configuration(inputs, "client.default", labels)?;
    let (method, url) = asked.split_once(" http://").context("METHOD http://...")?;
    let (authority, path) = url.split_once('/').context("a path")?;
    let port = authority.split_once(':').map_or(Ok(80), |(_, port)| port.parse())?;
    // These services have no address: any that is no other's will do.
    let destination = Destination { address: None, port };
    let mut request = Request::new(method, authority, &format!("/{path}"), destination);
    let own = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    request.headers = own.collect();
    Ok(walk(&configuration, &request)?)
}

fn action(way: &Way) -> Option<&Action> {
    match &way.handling {
        Some(Handling::Http(http)) => http.route.as_ref().map(|route| &route.action),
        _ => None,
    }
}

fn forward(way: &Way) -> Result<&Forward> {
    match action(way) {
        Some(Action::Forward(forward)) => Ok(forward),
        other => anyhow::bail!("it is not sent on: {other:?}"),
    }
}

fn end(way: &Way) -> String {
    let ends = way.seen.iter().map(|part| {
        let end = match (&part.seen, action(way)) {
            (Seen::Status { status, .. }, Some(Action::Redirect { location, .. })) => {
                format!("{status} {location}")
            }
            (Seen::Status { status, cause, .. }, _) => {
                let cause = serde_json::to_value(cause).unwrap_or_default();
                format!("{status} {}", cause.as_str().unwrap_or_default())
            }
            (Seen::Endpoint { cluster }, _) => match cluster.split('|').collect::<Vec<_>>()[..] {
                [_, _, "", host] => host.trim_end_matches(".default.svc.cluster.local").to_owned(),
                [_, _, subset, _] => subset.to_owned(),
                _ => cluster.clone(),
            },
            (Seen::Closed { cause, .. }, _) => {
                let cause = serde_json::to_value(cause).unwrap_or_default();
                format!("closed {}", cause.as_str().unwrap_or_default())
            }
            (other, _) => format!("{other:?}"),
        };
        if part.share.is_all() { end } else { format!("{}% {end}", part.share.0) }
    });
    ends.collect::<Vec<_>>().join(", ")
}

#[test]
fn requests_end_where_the_users_of_the_golden_cases_want() -> Result<()> {
    const NONE: Pairs = &[];
    const CLIENT: Pairs = &[("app", "client")];
    const ASKS: Pairs = &[("origin", "https://example.com"), ("access-control-request-method", "GET")];
    const FOREIGN: Pairs = &[("origin", "https://other.example"), ("access-control-request-method", "GET")];
    const BETA: Pairs = &[("app", "client"), ("team", "beta")];
    let rows: &[Row] = &[
        ("canary-90-10", CLIENT, "GET http://myapp/", NONE, "90% v1, 10% v2"),
        ("canary-90-10", CLIENT, "GET http://myapp.default.svc.cluster.local/", NONE, "90% v1, 10% v2"),
        ("weights-not-100", CLIENT, "GET http://myapp/", NONE, "75% v1, 25% v2"),
        ("canary-by-header", CLIENT, "GET http://myapp/", NONE, "v1"),
        ("canary-by-header", CLIENT, "GET http://myapp/", &[("x-canary", "true")], "v2"),
        ("canary-by-header", CLIENT, "GET http://myapp/", &[("x-canary", "yes")], "v1"),
        ("ab-by-query", CLIENT, "GET http://myapp/?version=b&flag", NONE, "v2"),
        ("ab-by-query", CLIENT, "GET http://myapp/?version=b", NONE, "v1"),
        ("ab-by-user-regex", CLIENT, "GET http://myapp/", &[("user", "user-123")], "v2"),
        ("ab-by-user-regex", CLIENT, "GET http://myapp/", &[("user", "user-12345")], "v1"),
        ("ab-by-cookie-regex", CLIENT, "GET http://myapp/", &[("cookie", "a=1; group=b")], "v2"),
        ("ab-by-cookie-regex", CLIENT, "GET http://myapp/", &[("cookie", "group=a")], "v1"),
        ("blue-green", CLIENT, "GET http://myapp/", NONE, "green"),
        ("direct-response", CLIENT, "GET http://myapp/", NONE, "503 direct_response"),
        ("fault-abort", CLIENT, "GET http://myapp/", &[("x-test", "chaos")], "503 fault_abort"),
        ("fault-abort", CLIENT, "GET http://myapp/", NONE, "myapp"),
        ("redirect-https", CLIENT, "GET http://myapp/old/1?q", NONE, "308 http://shop.example.com/new?q"),
        ("redirect-https", CLIENT, "GET http://myapp/x?q", NONE, "301 https://myapp/x?q"),
        ("method-and-authority", CLIENT, "POST http://myapp/", NONE, "v2"),
        ("method-and-authority", CLIENT, "GET http://myapp/", NONE, "v1"),
        ("matches-are-alternatives", CLIENT, "GET http://myapp/api/x", NONE, "v2"),
        ("matches-are-alternatives", CLIENT, "GET http://myapp/", &[("x-api", "")], "v2"),
        ("matches-are-alternatives", CLIENT, "GET http://myapp/never", NONE, "v1"),
        ("missing-subset", CLIENT, "GET http://myapp/", NONE, "503 unknown_cluster"),
        ("source-labels", BETA, "GET http://myapp/", NONE, "v2"),
        ("source-labels", CLIENT, "GET http://myapp/", NONE, "v1"),
        ("external-name-alias", CLIENT, "GET http://shop/", NONE, "myapp"),
        ("registry-only", CLIENT, "GET http://myapp/", NONE, "myapp"),
        ("registry-only", CLIENT, "GET http://elsewhere.example/", NONE, "502 direct_response"),
        ("rewrite-prefix", CLIENT, "GET http://myapp/shop/a", NONE, "myapp"),
        ("rewrite-prefix", CLIENT, "GET http://myapp/other", NONE, "404 no_route"),
        ("wildcard-host", CLIENT, "GET http://web/", NONE, "web"),
        ("delegate-by-team", CLIENT, "GET http://shop/cart", NONE, "cart.cart-team.svc.cluster.local"),
        ("delegate-by-team", CLIENT, "GET http://shop/pay/now", NONE, "pay"),
        ("delegate-by-team", CLIENT, "GET http://shop/elsewhere", NONE, "shop"),
        ("delegate-inherits", CLIENT, "GET http://shop/", NONE, "404 no_route"),
        (
            "delegate-inherits",
            CLIENT,
            "GET http://shop/",
            &[("x-user", "jason")],
            "99% cart, 1% 503 fault_abort",
        ),
        ("delegate-conflict", CLIENT, "GET http://shop/pay", NONE, "shop"),
        ("delegate-conflict", CLIENT, "GET http://shop/cart/1", NONE, "cart"),
        ("delegate-missing", CLIENT, "GET http://shop/a", NONE, "shop"),
        ("cors-origins", CLIENT, "OPTIONS http://myapp/", ASKS, "200 preflight"),
        ("cors-origins", CLIENT, "OPTIONS http://myapp/", &[("origin", "https://example.com")], "myapp"),
        ("cors-by-proxy-alone", CLIENT, "OPTIONS http://myapp/api", FOREIGN, "200 preflight"),
        ("cors-by-proxy-alone", CLIENT, "OPTIONS http://myapp/", FOREIGN, "myapp"),
        ("cors-older-spelling", CLIENT, "OPTIONS http://myapp/", ASKS, "200 preflight"),
        ("cors-older-spelling", CLIENT, "OPTIONS http://myapp/", FOREIGN, "myapp"),
        ("redirect-prefix", CLIENT, "GET http://myapp/old/1?q", NONE, "308 http://shop.example.com/new/1?q"),
        ("destination-external-name", CLIENT, "GET http://myapp/", NONE, "myapp"),
        (
            "flagger-canary",
            CLIENT,
            "GET http://podinfo:9898/",
            NONE,
            "95% podinfo-primary, 5% podinfo-canary",
        ),
        ("flagger-ab", CLIENT, "GET http://podinfo:9898/", NONE, "podinfo-primary"),
        ("flagger-ab", CLIENT, "GET http://podinfo:9898/", &[("x-canary", "insider")], "podinfo-canary"),
        (
            "flagger-ab",
            CLIENT,
            "GET http://podinfo:9898/",
            &[("cookie", "a=1;canary=always")],
            "podinfo-canary",
        ),
        (
            "flagger-session-affinity",
            CLIENT,
            "GET http://podinfo:9898/",
            &[("cookie", "flagger-cookie=LpsIaLdoNZ")],
            "podinfo-canary",
        ),
        (
            "flagger-session-affinity",
            CLIENT,
            "GET http://podinfo:9898/",
            NONE,
            "90% podinfo-primary, 10% podinfo-canary",
        ),
        ("flagger-mirror", CLIENT, "GET http://podinfo:9898/", NONE, "podinfo-primary"),
        (
            "flagger-delegate",
            CLIENT,
            "GET http://podinfo:9898/",
            NONE,
            "70% podinfo-primary, 30% podinfo-canary",
        ),
        ("argo-at-rest", CLIENT, "GET http://app/", NONE, "stable"),
        ("argo-step", CLIENT, "GET http://app/", NONE, "80% stable, 20% canary"),
        ("argo-new-hash", CLIENT, "GET http://app/", NONE, "stable"),
        ("argo-managed-routes", CLIENT, "GET http://app/", &[("agent", "Mozilla Chrome")], "canary"),
        ("argo-managed-routes", CLIENT, "POST http://app/", NONE, "75% stable, 25% canary"),
        ("argo-two-services", CLIENT, "GET http://app/", NONE, "95% app-stable, 5% app-canary"),
        ("entry-dns-endpoints", CLIENT, "GET http://legacy.example.com/", NONE, "legacy.example.com"),
        ("entry-external-name", CLIENT, "GET http://search/", NONE, "search.example.com"),
        ("entry-static-weights", CLIENT, "GET http://shop.example.com/", NONE, "shop.example.com"),
        ("entry-wildcard-http", CLIENT, "GET http://a.b.example.com/", NONE, "*.example.com"),
        ("entry-wildcard-http", CLIENT, "GET http://example.com/", NONE, "example.com"),
        ("entry-wildcard-http", CLIENT, "GET http://example.org/", NONE, "502 direct_response"),
        ("entry-without-endpoints", CLIENT, "GET http://empty.example.com/", NONE, "503 no_endpoint"),
    ];
    let mut wrong = Vec::new();
    for (case, labels, asked, headers, expected) in rows {
        let way = way(&[&format!("tests/golden/{case}/input.yaml")], labels, asked, headers)?;
        ensure!(way.unread.is_empty(), "{case}: {:?}", way.unread);
        if end(&way) != *expected {
            wrong.push(format!("{case}: {asked} {headers:?}: {} instead of {expected}", end(&way)));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Connections: a case, the sender's namespace and labels, the address and port that are called, the name in TLS, and how it ends.
type Call = (&'static str, &'static str, Pairs, [u8; 4], u16, Option<&'static str>, &'static str);

#[test]
fn connections_end_where_the_users_of_the_golden_cases_want() -> Result<()> {
    const CLIENT: Pairs = &[("app", "client")];
    const BETA: Pairs = &[("app", "client"), ("team", "beta")];
    const DB: [u8; 4] = [10, 96, 0, 5];
    const APIS: [u8; 4] = [10, 96, 0, 9];
    const VAULT: [u8; 4] = [10, 96, 0, 3];
    let calls: &[Call] = &[
        ("tcp-canary", "default", CLIENT, DB, 3306, None, "90% v1, 10% v2"),
        ("tcp-rolled-out", "default", CLIENT, DB, 3306, None, "v2"),
        ("tcp-by-port", "default", CLIENT, DB, 3306, None, "v2"),
        ("tcp-by-port", "default", CLIENT, DB, 33060, None, "db"),
        ("tcp-by-subnet", "default", CLIENT, [10, 20, 3, 4], 3306, None, "v2"),
        ("tcp-by-subnet", "default", CLIENT, [192, 168, 1, 7], 3306, None, "v2"),
        ("tcp-by-subnet", "default", CLIENT, [192, 168, 1, 8], 3306, None, "db"),
        ("tcp-by-source-labels", "default", BETA, DB, 3306, None, "v2"),
        ("tcp-by-source-labels", "default", CLIENT, DB, 3306, None, "v1"),
        ("tcp-by-source-namespace", "billing", CLIENT, DB, 3306, None, "v2"),
        ("tcp-by-source-namespace", "default", CLIENT, DB, 3306, None, "db"),
        ("tcp-for-gateways", "default", CLIENT, DB, 3306, None, "db"),
        ("tcp-sticky-by-source", "default", CLIENT, DB, 3306, None, "v2"),
        ("tcp-on-sniffed-port", "default", CLIENT, DB, 7000, None, "v2"),
        ("tcp-headless", "default", CLIENT, [10, 1, 0, 1], 3306, None, "v1"),
        ("tcp-missing-subset", "default", CLIENT, DB, 3306, None, "closed unknown_cluster"),
        ("tcp-two-owners", "billing", CLIENT, DB, 3306, None, "v2"),
        ("tcp-two-owners", "default", CLIENT, DB, 3306, None, "v1"),
        ("tcp-by-wildcard", "default", CLIENT, DB, 3306, None, "v2"),
        ("flagger-tcp", "default", CLIENT, DB, 6379, None, "80% redis-primary, 20% redis-canary"),
        ("tls-by-name", "default", CLIENT, APIS, 443, Some("pay.example.com"), "egress"),
        ("tls-by-name", "default", CLIENT, APIS, 443, Some("map.example.com"), "direct"),
        ("tls-by-name", "default", CLIENT, APIS, 443, Some("other.example.com"), "PassthroughCluster"),
        ("tls-canary", "default", CLIENT, VAULT, 8200, Some("vault"), "75% v1, 25% v2"),
        ("tls-by-wildcard-name", "default", CLIENT, [1, 2, 3, 4], 443, Some("a.b.example.com"), "egress"),
        ("tls-by-wildcard-name", "default", CLIENT, [1, 2, 3, 4], 443, Some("map.example.com"), "direct"),
        ("tls-by-port", "default", CLIENT, VAULT, 8200, Some("vault"), "v2"),
        ("tls-by-port", "default", CLIENT, VAULT, 8201, Some("vault"), "v1"),
        ("tls-by-source-labels", "default", BETA, VAULT, 8200, Some("vault"), "v2"),
        ("tls-by-source-labels", "default", CLIENT, VAULT, 8200, Some("vault"), "v1"),
        ("tls-by-source-namespace", "billing", CLIENT, VAULT, 8200, Some("vault"), "v2"),
        ("tls-by-source-namespace", "default", CLIENT, VAULT, 8200, Some("vault"), "v1"),
        ("tls-for-gateways", "default", CLIENT, VAULT, 8200, Some("vault"), "v1"),
        ("tls-by-caller", "default", BETA, VAULT, 8200, Some("vault"), "v1"),
        ("tls-by-caller", "billing", CLIENT, VAULT, 8200, Some("vault"), "v1"),
    ];
    let mut wrong = Vec::new();
    for (case, namespace, labels, address, port, name, expected) in calls {
        let input = format!("tests/golden/{case}/input.yaml");
        let configuration = configuration(&[&input], &format!("client.{namespace}"), labels)?;
        let destination = Destination { address: Some((*address).into()), port: *port };
        let mut request = Request::new("", "", "/", destination);
        request.http = false;
        request.tls = name.map(|name| TlsOffer { server_name: Some(name.to_owned()), ..TlsOffer::default() });
        let way = walk(&configuration, &request)?;
        ensure!(way.unread.is_empty(), "{case}: {:?}", way.unread);
        if end(&way) != *expected {
            wrong.push(format!("{case}: {address:?}:{port} {name:?}: {} instead of {expected}", end(&way)));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn the_examples_do_what_their_comments_say() -> Result<()> {
    let canary = |asked| way(&["examples/canary"], &[("app", "client")], asked, &[]);
    assert_eq!(end(&canary("GET http://myapp:8000/")?), "90% v1, 10% v2");
    let app = ["examples/canary/app.yaml", "examples/canary/endpoints-local.yaml"];
    let strategy = |name: &str, asked: &str, headers: &[(&str, &str)]| {
        let inputs = [app[0], app[1], name];
        way(&inputs, &[("app", "client")], asked, headers)
    };
    let ab = "examples/strategies/ab-test.yaml";
    for (asked, headers, expected) in [
        ("GET http://myapp:8000/", &[("x-user", "user-123")][..], "v2"),
        ("GET http://myapp:8000/", &[("cookie", "a=1; group=b")], "v2"),
        ("GET http://myapp:8000/?version=b", &[], "v2"),
        ("GET http://myapp:8000/", &[("x-user", "somebody")], "v1"),
    ] {
        assert_eq!(end(&strategy(ab, asked, headers)?), expected, "{asked} {headers:?}");
    }
    let blue = strategy("examples/strategies/blue-green.yaml", "GET http://myapp:8000/", &[])?;
    assert_eq!(end(&blue), "blue");
    let mirror = strategy("examples/strategies/mirror.yaml", "GET http://myapp:8000/", &[])?;
    assert_eq!(end(&mirror), "v1");
    let copies = &forward(&mirror)?.mirrors;
    assert_eq!((copies.len(), copies[0].cluster.subset.as_deref()), (1, Some("v2")));
    assert!(copies[0].share.is_all());
    Ok(())
}

fn plain(case: &str, asked: &str) -> Result<Way> {
    way(&[&format!("tests/golden/{case}/input.yaml")], &[("app", "client")], asked, &[])
}

#[test]
fn timeouts_retries_rewrites_copies_and_hashes_are_those_that_are_written() -> Result<()> {
    let slow = plain("timeout-and-retries", "GET http://myapp/slow")?;
    assert_eq!(forward(&slow)?.timeout_ms, None);
    let usual = plain("timeout-and-retries", "GET http://myapp/")?;
    let retry = forward(&usual)?.retry.as_ref().context("retries")?;
    assert_eq!(
        (forward(&usual)?.timeout_ms, retry.attempts, retry.per_try_timeout_ms),
        (Some(2000), 3, Some(500))
    );
    assert_eq!(forward(&plain("no-retries", "GET http://myapp/")?)?.retry, None);
    let by_code = plain("retry-on-codes", "GET http://myapp/")?;
    assert_eq!(forward(&by_code)?.retry.as_ref().context("retries")?.statuses, [503, 429]);
    let rewritten = plain("rewrite-prefix", "GET http://myapp/shop/a?b")?;
    let forward_of = forward(&rewritten)?;
    assert_eq!(
        (forward_of.path.as_deref(), forward_of.authority.as_deref()),
        (Some("/a?b"), Some("shop.internal"))
    );
    let copied = plain("mirror-percentage", "GET http://myapp/")?;
    assert_eq!(forward(&copied)?.mirrors[0].share.0, 0.5);
    let hashed = plain("consistent-hash-header", "GET http://myapp/")?;
    assert_eq!(forward(&hashed)?.hashed_by, ["header x-user"]);
    assert_eq!(forward(&hashed)?.destinations[0].cluster.balancing, "ring_hash");
    let changed = plain("header-operations", "GET http://myapp/")?;
    let own = &forward(&changed)?.destinations[1].response_headers;
    assert_eq!((own[0].name.as_str(), own[0].value.as_deref()), ("x-version", Some("v2")));
    Ok(())
}

#[test]
fn each_endpoint_is_spoken_to_in_the_mode_that_it_takes() -> Result<()> {
    let way = {
        let mut engine = Engine::new(Options { virtual_hosts: false, ..Options::default() });
        engine.apply(events("tests/golden/auto-mtls/input.yaml")?);
        let mut proxy = (*mesh::proxy("client.default", &[("app", "client")], "REDIRECT", false)).clone();
        proxy.has_certificates = true;
        let client = engine.connect(proxy.into());
        let view = engine.view(client);
        let mut configuration = Configuration::default();
        for type_url in [TypeUrl::Listener, TypeUrl::Route, TypeUrl::Cluster, TypeUrl::Endpoint] {
            for live in view.all(type_url) {
                let resource = &live.resource;
                configuration.add(type_url, resource.name().as_str(), resource.body().to_vec());
            }
        }
        let destination = Destination { address: None, port: 80 };
        walk(&configuration, &Request::new("GET", "myapp", "/", destination))?
    };
    let cluster = &forward(&way)?.destinations[0].cluster;
    let mutual = |endpoint: &EndpointWay| (endpoint.address.clone(), endpoint.socket.is_mutual());
    let all: Vec<(String, bool)> = cluster.endpoints.iter().map(mutual).collect();
    let expected = [("10.1.0.1:8080", true), ("10.1.0.2:8080", false), ("10.1.0.3:8080", false)];
    assert_eq!(all, expected.map(|(address, mutual)| (address.to_owned(), mutual)));
    Ok(())
}

/// The endpoints of the first destination that get requests, with their shares in percent; from a client in eu/eu-1/a.
fn shares(case: &str, labels: &[(&str, &str)]) -> Result<Vec<(String, f64)>> {
    let input = format!("tests/golden/{case}/input.yaml");
    let place = ("topology.istio.io/locality", "eu/eu-1/a");
    let labels: Vec<(&str, &str)> = labels.iter().copied().chain([place, ("app", "client")]).collect();
    let way = way(&[&input], &labels, "GET http://myapp/", &[])?;
    let endpoints = &forward(&way)?.destinations[0].cluster.endpoints;
    let share = |endpoint: &EndpointWay| endpoint.share.map_or(0.0, |share| share.0);
    let taking = endpoints.iter().filter(|endpoint| share(endpoint) > 0.0);
    Ok(taking.map(|found| (found.address.trim_end_matches(":8080").to_owned(), share(found))).collect())
}

#[test]
fn endpoints_get_requests_by_where_they_run() -> Result<()> {
    let all = |address: &str| vec![(address.to_owned(), 100.0)];
    for case in ["locality-failover-by-default", "locality-failover-region", "locality-of-the-mesh"] {
        assert_eq!(shares(case, &[])?, all("10.1.0.1"), "{case}");
    }
    assert_eq!(shares("locality-failover-priority", &[("version", "v2")])?, all("10.1.0.3"));
    for case in ["locality-failover-off", "locality-mesh-off", "locality-distribute-for-others"] {
        assert_eq!(shares(case, &[])?.len(), 5, "{case}");
    }
    // 70, 20 and 10, of which the first is split one to three, and all rounded up: 18, 53, 20, 10.
    let distributed = shares("locality-distribute", &[])?;
    let expected = [
        ("10.1.0.1", 18.0),
        ("10.1.0.2", 53.0 / 3.0),
        ("10.1.0.6", 53.0 * 2.0 / 3.0),
        ("10.1.0.3", 20.0),
        ("10.1.0.4", 10.0),
    ];
    assert_eq!(distributed.len(), expected.len(), "{distributed:?}");
    for ((address, share), (wanted, weight)) in distributed.iter().zip(expected) {
        assert!(address == wanted && (share - weight / 101.0 * 100.0).abs() < 0.01, "{distributed:?}");
    }
    Ok(())
}
