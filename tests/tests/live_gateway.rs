//! Gateways with real Envoys, real agents and real TLS: what clients outside of the mesh see.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use meltemi_testkit::http::{App, Load, Request};
use meltemi_tests::live::edge::{Edge, get};
use meltemi_tests::live::https::{Https, Pair, Signer, TlsApp, secret};
use meltemi_tests::live::{eventually, free_port, rule, service, workload};

/// A Gateway of `edge`'s proxies with these servers, in flow style.
fn gateway(servers: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: default}}
spec:
  selector: {{istio: edge}}
  servers:
{servers}"
    )
}

fn plain(port: u16, hosts: &str, tls: &str) -> String {
    format!("  - {{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: [{hosts}]{tls}}}\n")
}

fn encrypted(port: u16, name: &str, host: &str, tls: &str) -> String {
    format!(
        "  - {{port: {{number: {port}, name: {name}, protocol: HTTPS}}, hosts: [{host}], tls: {{{tls}}}}}\n"
    )
}

/// A VirtualService of the gateway, and of whom `more` names, with this `http`.
fn route(name: &str, host: &str, more: &str, http: &str) -> String {
    format!(
        "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec: {{hosts: [{host}], gateways: [edge{more}], http: {http}}}
"
    )
}

fn to(service: &str) -> String {
    format!("[{{route: [{{destination: {{host: {service}}}}}]}}]")
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The service that clients of the gateway come through: port 80 leads to `http`, 443 to `https`.
fn front(http: u16, https: u16) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: edge, namespace: default}}
spec:
  selector: {{istio: edge}}
  ports:
  - {{name: http, port: 80, targetPort: {http}}}
  - {{name: https, port: 443, targetPort: {https}}}
"
    )
}

async fn by_host(delta: bool) -> Result<()> {
    let (v1, v2) = (App::start("shop", "v1").await?, App::start("shop", "v2").await?);
    let other = App::start("other", "o1").await?;
    // Clients know port 80; the proxy listens where the Service leads.
    let (port, mesh) = (free_port()?, free_port()?);
    let weights = |old: u32| {
        let http = format!(
            "[{{route: [{{destination: {{host: shop, subset: v1}}, weight: {old}}}, {{destination: {{host: shop, subset: v2}}, weight: {}}}]}}]",
            100 - old
        );
        route("shop", "shop.example.com, shop", ", mesh", &http)
    };
    let apps = [
        service("shop", mesh),
        workload("shop-v1", "shop", "v1", v1.address()),
        workload("shop-v2", "shop", "v2", v2.address()),
        service("other", mesh),
        workload("other", "other", "o1", other.address()),
        rule("shop", &["v1", "v2"], ""),
    ]
    .join("---\n");
    let edge = Edge::start(&[
        ("apps.yaml", &apps),
        ("front.yaml", &front(port, free_port()?)),
        ("gateway.yaml", &gateway(&plain(80, "'*.example.com'", ""))),
        ("shop.yaml", &weights(100)),
        ("other.yaml", &route("other", "other.example.com", "", &to("other"))),
    ])
    .await?;
    let _router = edge.bare("edge.default", &["--gateway", "--label", "istio=edge"], delta).await?;
    let _sidecar = edge.bare("client.default", &["--interception", "NONE"], delta).await?;
    edge.server.in_force(0, 2).await?;

    let answer = get(port, "shop.example.com").await?;
    ensure!(answer.status == 200 && answer.version() == Some("v1"), "{answer:?}");
    ensure!(get(port, "other.example.com").await?.version() == Some("o1"));
    // Hosts that nobody has, or that the gateway does not serve.
    ensure!(get(port, "nobody.example.com").await?.status == 404);
    ensure!(get(port, "shop").await?.status == 404);
    // Bound to the mesh, too: the sidecar's own route of the same rules.
    ensure!(get(mesh, "shop").await?.version() == Some("v1"));

    let load = Load::new(at(port), Request::get("/").host("shop.example.com")).workers(2).start();
    edge.save("shop.yaml", &weights(50), 2).await?;
    eventually(async || {
        for (port, host) in [(port, "shop.example.com"), (mesh, "shop")] {
            let answer = get(port, host).await?;
            ensure!(answer.version() == Some("v2"), "{host} is still answered by {:?}", answer.version());
        }
        Ok(())
    })
    .await?;
    edge.save("shop.yaml", &weights(0), 2).await?;
    eventually(async || {
        ensure!(get(port, "shop.example.com").await?.version() == Some("v2"));
        Ok(())
    })
    .await?;
    // A host that comes, and one whose gateway is taken away.
    edge.save("new.yaml", &route("new", "new.example.com", "", &to("other")), 2).await?;
    eventually(async || {
        ensure!(get(port, "new.example.com").await?.version() == Some("o1"));
        Ok(())
    })
    .await?;
    load.stop().await.expect_all(200)?;
    edge.end().await
}

#[tokio::test]
async fn requests_go_by_host_to_weighted_versions_through_a_gateway() -> Result<()> {
    by_host(true).await
}

#[tokio::test]
async fn requests_go_by_host_through_a_gateway_on_state_of_the_world() -> Result<()> {
    by_host(false).await
}

#[tokio::test]
async fn secrets_are_chosen_by_name_and_a_new_one_takes_the_old_ones_place_without_a_lost_request()
-> Result<()> {
    let (app, signer) = (App::start("shop", "v1").await?, Signer::new("Edge root")?);
    let (http, https) = (free_port()?, free_port()?);
    let (a, b) = (signer.server("a.example.com")?, signer.server("b.example.com")?);
    let servers = [
        plain(80, "a.example.com", ", tls: {httpsRedirect: true}"),
        encrypted(443, "https-a", "a.example.com", "mode: SIMPLE, credentialName: a"),
        encrypted(443, "https-b", "b.example.com", "mode: SIMPLE, credentialName: b"),
    ]
    .concat();
    let apps = [service("shop", 80), workload("shop", "shop", "v1", app.address())].join("---\n");
    let edge = Edge::start(&[
        ("apps.yaml", &apps),
        ("front.yaml", &front(http, https)),
        ("gateway.yaml", &gateway(&servers)),
        ("shop.yaml", &route("shop", "a.example.com, b.example.com", "", &to("shop"))),
        ("a.yaml", &secret("a", "default", &a, None)),
        ("b.yaml", &secret("b", "default", &b, None)),
    ])
    .await?;
    let gateway = edge.gateway("default").await?;
    edge.server.in_force(0, 1).await?;
    let client = Https::believing(&signer.roots);
    for (host, pair) in [("a.example.com", &a), ("b.example.com", &b)] {
        let reply = client.get(at(https), host).await.with_context(|| gateway.log())?;
        ensure!(reply.status == 200 && reply.version.as_deref() == Some("v1"), "{reply:?}");
        ensure!(reply.certificate == pair.der()?, "{host} showed another certificate");
    }
    ensure!(client.get(at(https), "c.example.com").await.is_err(), "a name that nobody has was answered");
    let redirected = get(http, "a.example.com").await?;
    ensure!(redirected.status == 301, "{redirected:?}");
    ensure!(redirected.header("location") == Some("https://a.example.com/"), "{redirected:?}");

    // In curl's eyes, where there is one.
    if let Some(page) = curl(&signer, https).await? {
        ensure!(page.contains("200 v1"), "curl saw {page}");
    }

    // Another certificate of another authority, while requests come: the Secret alone is pushed.
    let next = Signer::new("Next root")?;
    let both = Https::believing(&format!("{}{}", signer.roots, next.roots));
    let load = both.load(at(https), "a.example.com");
    let untouched = both.load(at(https), "b.example.com");
    let sent = edge.server.metric("meltemi_xds_resources_sent_total").await?;
    let renewed = next.server("a.example.com")?;
    edge.save("a.yaml", &secret("a", "default", &renewed, None), 1).await?;
    let shown = renewed.der()?;
    eventually(async || {
        ensure!(
            both.get(at(https), "a.example.com").await?.certificate == shown,
            "the old certificate is shown"
        );
        Ok(())
    })
    .await?;
    let now = edge.server.metric("meltemi_xds_resources_sent_total").await?;
    ensure!(now == sent + 1, "{} resources were sent for one Secret", now - sent);
    ensure!(load.stop().await? > 0 && untouched.stop().await? > 0);

    // What is secret stands in no log, and in no page.
    let log = format!("{}{}", edge.server.log(), gateway.log());
    ensure!(!log.contains("PRIVATE KEY"), "a key is in a log");
    gateway.end().await?;
    edge.end().await
}

/// What curl says of `a.example.com`, its certificate verified: status and version; none where there is no curl.
async fn curl(signer: &Signer, port: u16) -> Result<Option<String>> {
    let roots = tempfile::NamedTempFile::with_prefix("meltemi-roots-")?;
    std::fs::write(roots.path(), &signer.roots)?;
    let mut command = tokio::process::Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--output", "/dev/null"]);
    command.args(["--write-out", "%{http_code} %header{x-app-version}", "--noproxy", "*", "--cacert"]);
    command.arg(roots.path());
    command.args(["--resolve", &format!("a.example.com:{port}:127.0.0.1")]);
    command.arg(format!("https://a.example.com:{port}/"));
    match command.stdin(Stdio::null()).output().await {
        Ok(output) => {
            Ok(Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A Secret that holds what clients are verified by, and nothing else.
fn roots_alone(name: &str, roots: &str) -> String {
    let lines: String = roots.trim_end().lines().map(|line| format!("    {}\n", line.trim_end())).collect();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: default}}\nstringData:\n  cacert: |\n{lines}"
    )
}

#[tokio::test]
async fn mutual_tls_at_the_edge_refuses_who_shows_nothing_or_a_strangers_certificate() -> Result<()> {
    let (app, signer) = (App::start("shop", "v1").await?, Signer::new("Edge root")?);
    let (clients, strangers) = (Signer::new("Clients")?, Signer::new("Strangers")?);
    let (port, optional, named) = (free_port()?, free_port()?, free_port()?);
    let servers = [
        encrypted(
            port,
            "mutual",
            "a.example.com",
            "mode: MUTUAL, credentialName: a, subjectAltNames: [partner.example.com]",
        ),
        encrypted(optional, "optional", "a.example.com", "mode: OPTIONAL_MUTUAL, credentialName: a"),
        encrypted(
            named,
            "named",
            "a.example.com",
            "mode: MUTUAL, credentialName: a, caCertCredentialName: strangers",
        ),
    ]
    .concat();
    let apps = [service("shop", 80), workload("shop", "shop", "v1", app.address())].join("---\n");
    let pair = signer.server("a.example.com")?;
    let edge = Edge::start(&[
        ("apps.yaml", &apps),
        ("gateway.yaml", &gateway(&servers)),
        ("shop.yaml", &route("shop", "a.example.com", "", &to("shop"))),
        ("a.yaml", &secret("a", "default", &pair, Some(&clients.roots))),
        ("strangers.yaml", &roots_alone("strangers", &strangers.roots)),
    ])
    .await?;
    let gateway = edge.gateway("default").await?;
    edge.server.in_force(0, 1).await?;
    let client = Https::believing(&signer.roots);
    let partner = client.showing(&clients.client("partner.example.com")?);
    let reply = partner.get(at(port), "a.example.com").await.with_context(|| gateway.log())?;
    ensure!(reply.status == 200, "{reply:?}");
    // The application is told who it was.
    ensure!(reply.text.contains("DNS=partner.example.com"), "{}", reply.text);
    for (who, client) in [
        ("nobody", client.clone()),
        ("a stranger", client.showing(&strangers.client("partner.example.com")?)),
        ("another partner", client.showing(&clients.client("other.example.com")?)),
    ] {
        let answer = client.get(at(port), "a.example.com").await;
        ensure!(answer.is_err(), "{who} was let in: {answer:?}");
    }
    ensure!(
        client.get(at(optional), "a.example.com").await?.status == 200,
        "a certificate is optional there"
    );
    let stranger = client.showing(&strangers.client("partner.example.com")?);
    ensure!(stranger.get(at(optional), "a.example.com").await.is_err(), "and verified where there is one");
    // By roots of their own Secret.
    ensure!(stranger.get(at(named), "a.example.com").await?.status == 200, "it is no stranger there");
    ensure!(
        partner.get(at(named), "a.example.com").await.is_err(),
        "the roots beside the certificate count, too"
    );
    gateway.end().await?;
    edge.end().await
}

/// A Secret that holds a certificate, its key and roots under their older names.
fn generic(name: &str, pair: &Pair, roots: &str) -> String {
    let block = |key: &str, text: &str| {
        let lines: String =
            text.trim_end().lines().map(|line| format!("    {}\n", line.trim_end())).collect();
        format!("  {key}: |\n{lines}")
    };
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: default}}\nstringData:\n{}{}{}",
        block("cert", &pair.chain),
        block("key", &pair.key),
        block("cacert", roots)
    )
}

#[tokio::test]
async fn a_gateway_shows_a_partner_the_certificate_of_a_secret_and_knows_him_by_its_roots() -> Result<()> {
    let (partners, own, strangers) =
        (Signer::new("Partners")?, Signer::new("Own")?, Signer::new("Strangers")?);
    let server = partners.server("api.partner.example.com")?;
    let partner = TlsApp::verifying(&server, "partner", &own.roots).await?;
    let port = free_port()?;
    let calls = format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: partner, namespace: default}}
spec:
  hosts: [api.partner.example.com]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: partner, namespace: default}}
spec:
  host: api.partner.example.com
  trafficPolicy:
    tls: {{mode: MUTUAL, credentialName: partner, sni: api.partner.example.com, subjectAltNames: [api.partner.example.com]}}
",
        partner.address.port()
    );
    let us = own.client("edge.example.com")?;
    let edge = Edge::start(&[
        ("calls.yaml", &calls),
        ("gateway.yaml", &gateway(&plain(port, "api.partner.example.com", ""))),
        ("route.yaml", &route("partner", "api.partner.example.com", "", &to("api.partner.example.com"))),
        ("secret.yaml", &generic("partner", &us, &partners.roots)),
    ])
    .await?;
    let gateway = edge.gateway("default").await?;
    edge.server.in_force(0, 1).await?;
    let answers = async |status: u16| {
        eventually(async || {
            let answer = get(port, "api.partner.example.com").await?;
            ensure!(answer.status == status, "{} {}", answer.status, answer.text());
            Ok(())
        })
        .await
        .with_context(|| gateway.log())
    };
    answers(200).await?;
    // By other roots he is a stranger, and with another's certificate we are one to him; each is a push of that Secret alone.
    edge.save("secret.yaml", &generic("partner", &us, &strangers.roots), 1).await?;
    answers(503).await?;
    edge.save("secret.yaml", &generic("partner", &strangers.client("edge.example.com")?, &partners.roots), 1)
        .await?;
    answers(503).await?;
    edge.save("secret.yaml", &generic("partner", &us, &partners.roots), 1).await?;
    answers(200).await?;
    gateway.end().await?;
    edge.end().await
}

/// Mesh settings by which so many proxies before gateways are believed.
fn believed(proxies: u32) -> String {
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    defaultConfig: {{gatewayTopology: {{numTrustedProxies: {proxies}}}}}
"
    )
}

#[tokio::test]
async fn who_calls_is_whom_the_proxies_before_a_gateway_say_where_they_are_believed() -> Result<()> {
    let app = App::start("shop", "v1").await?;
    let port = free_port()?;
    let apps = [service("shop", 80), workload("shop", "shop", "v1", app.address())].join("---\n");
    let edge = Edge::start(&[
        ("apps.yaml", &apps),
        ("gateway.yaml", &gateway(&plain(port, "'*'", ""))),
        ("shop.yaml", &route("shop", "shop.example.com", "", &to("shop"))),
        ("mesh.yaml", &believed(0)),
    ])
    .await?;
    let _router = edge.bare("edge.default", &["--gateway", "--label", "istio=edge"], true).await?;
    edge.server.in_force(0, 1).await?;
    let said = async || {
        let request =
            Request::get("/").host("shop.example.com").header("x-forwarded-for", "203.0.113.9, 198.51.100.7");
        let answer = request.send(at(port)).await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        Ok(answer.json()["headers"]["x-envoy-external-address"].as_str().map(str::to_owned))
    };
    // Nobody is believed: the caller is the one that connects.
    let found = said().await?;
    ensure!(found.as_deref() == Some("127.0.0.1"), "{found:?}");
    for (proxies, caller) in [(1, "198.51.100.7"), (2, "203.0.113.9")] {
        edge.save("mesh.yaml", &believed(proxies), 1).await?;
        eventually(async || {
            let found = said().await?;
            ensure!(found.as_deref() == Some(caller), "{proxies} proxies: {found:?}");
            Ok(())
        })
        .await?;
    }
    edge.end().await
}

#[tokio::test]
async fn tls_is_passed_on_by_name_to_whoever_ends_it() -> Result<()> {
    let signer = Signer::new("Apps root")?;
    let (a, b) = (signer.server("a.example.com")?, signer.server("b.example.com")?);
    let (one, two) = (TlsApp::start(&a, "one").await?, TlsApp::start(&b, "two").await?);
    let (port, tcp) = (free_port()?, free_port()?);
    let raw = App::start("raw", "raw").await?;
    let servers = format!(
        "  - {{port: {{number: {port}, name: tls, protocol: TLS}}, hosts: ['*.example.com'], tls: {{mode: PASSTHROUGH}}}}
  - {{port: {{number: {tcp}, name: tcp, protocol: TCP}}, hosts: ['*']}}
"
    );
    let apps: Vec<String> = [("one", one.address), ("two", two.address), ("raw", raw.address())]
        .into_iter()
        .flat_map(|(name, address)| {
            let service = service(name, 443).replace("name: http", "name: tcp");
            [service, workload(name, name, name, address).replace("http:", "tcp:")]
        })
        .collect();
    let to_host = |host: &str, service: &str| {
        format!(
            "{{match: [{{port: {port}, sniHosts: [{host}]}}], route: [{{destination: {{host: {service}}}}}]}}"
        )
    };
    let rules = format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: tls, namespace: default}}
spec:
  hosts: ['*.example.com']
  gateways: [edge]
  tls: [{}, {}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: tcp, namespace: default}}
spec:
  hosts: ['*']
  gateways: [edge]
  tcp: [{{match: [{{port: {tcp}}}], route: [{{destination: {{host: raw}}}}]}}]
",
        to_host("a.example.com", "one"),
        to_host("b.example.com", "two")
    );
    let edge = Edge::start(&[
        ("apps.yaml", &apps.join("---\n")),
        ("gateway.yaml", &gateway(&servers)),
        ("rules.yaml", &rules),
    ])
    .await?;
    let _router = edge.bare("edge.default", &["--gateway", "--label", "istio=edge"], true).await?;
    edge.server.in_force(0, 1).await?;
    let client = Https::believing(&signer.roots);
    for (host, pair, version) in [("a.example.com", &a, "one"), ("b.example.com", &b, "two")] {
        let reply = client.get(at(port), host).await?;
        ensure!(reply.version.as_deref() == Some(version), "{reply:?}");
        ensure!(reply.certificate == pair.der()?, "the gateway showed a certificate of its own");
    }
    ensure!(client.get(at(port), "c.example.com").await.is_err(), "a name that nobody has was passed on");
    ensure!(get(tcp, "any").await?.version() == Some("raw"), "bytes are passed on by port");
    edge.end().await
}

#[tokio::test]
async fn a_secret_is_served_to_its_own_namespace_and_to_nobody_without_an_identity() -> Result<()> {
    let (app, signer) = (App::start("shop", "v1").await?, Signer::new("Edge root")?);
    let (http, https) = (free_port()?, free_port()?);
    let servers = [
        plain(http, "'*'", ""),
        encrypted(https, "https", "a.example.com", "mode: SIMPLE, credentialName: a"),
    ]
    .concat();
    let apps = [service("shop", 80), workload("shop", "shop", "v1", app.address())].join("---\n");
    let pair = signer.server("a.example.com")?;
    let edge = Edge::start(&[
        ("apps.yaml", &apps),
        ("gateway.yaml", &gateway(&servers)),
        ("shop.yaml", &route("shop", "a.example.com", "", &to("shop"))),
        ("a.yaml", &secret("a", "default", &pair, None)),
    ])
    .await?;
    let client = Https::believing(&signer.roots);

    // Of another namespace: the Gateway is for it by its labels, the Secret is not.
    let foreign = edge.gateway("elsewhere").await?;
    edge.server.in_force(0, 1).await?;
    ensure!(get(http, "a.example.com").await?.status == 200, "{}", foreign.log());
    ensure!(
        client.get(at(https), "a.example.com").await.is_err(),
        "another namespace's gateway showed the Secret"
    );
    let own = signer.server("a.example.com")?;
    edge.save("own.yaml", &secret("a", "elsewhere", &own, None), 1).await?;
    let shown = own.der()?;
    eventually(async || {
        ensure!(client.get(at(https), "a.example.com").await?.certificate == shown, "not its own Secret");
        Ok(())
    })
    .await?;
    foreign.end().await?;

    // Without an identity: no Secret, and nothing of all else is lost for it.
    let bare = edge.bare("edge.default", &["--gateway", "--label", "istio=edge"], true).await?;
    edge.server.says(&["gets no secrets", "edge.default"]).await?;
    eventually(async || {
        ensure!(get(http, "a.example.com").await?.status == 200);
        Ok(())
    })
    .await?;
    ensure!(client.get(at(https), "a.example.com").await.is_err(), "a Secret went to nobody");
    let listeners = bare.admin().stats("listener_manager.total_listeners_active").await?;
    ensure!(listeners.iter().any(|(_, count)| *count == 1), "{listeners:?}");
    edge.end().await
}

/// A file of the example, with ports that are free here.
fn example(name: &str, ports: &[(&str, u16)]) -> Result<String> {
    let path = format!("{}/../examples/gateway/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(&path).with_context(|| path)?;
    for (written, port) in ports {
        text = text.replace(written, &port.to_string());
    }
    Ok(text)
}

#[tokio::test]
async fn the_example_serves_a_shop_by_https_and_redirects_who_comes_without() -> Result<()> {
    let (v1, v2) = (App::start("shop", "v1").await?, App::start("shop", "v2").await?);
    let signer = Signer::new("Edge root")?;
    let (http, https) = (free_port()?, free_port()?);
    let ports =
        [("8080", http), ("8443", https), ("9001", v1.address().port()), ("9002", v2.address().port())];
    let files =
        [example("app.yaml", &ports)?, example("gateway.yaml", &ports)?, example("routing.yaml", &ports)?];
    let pair = signer.server("shop.example.com")?;
    let edge = Edge::start(&[
        ("app.yaml", &files[0]),
        ("gateway.yaml", &files[1]),
        ("routing.yaml", &files[2]),
        ("secret.yaml", &secret("shop-cert", "default", &pair, None)),
    ])
    .await?;
    let gateway = edge.gateway("default").await?;
    edge.server.in_force(0, 1).await?;
    let redirected = get(http, "shop.example.com").await?;
    ensure!(redirected.status == 301, "{redirected:?}");
    let client = Https::believing(&signer.roots);
    let mut old = 0;
    for _ in 0..60 {
        let reply = client.get(at(https), "shop.example.com").await.with_context(|| gateway.log())?;
        ensure!(reply.status == 200, "{reply:?}");
        old += usize::from(reply.version.as_deref() == Some("v1"));
    }
    // Nine of ten: less than half of sixty is a chance of one in 10^18.
    ensure!(old > 30, "{old} of 60 went to the old version");
    gateway.end().await?;
    edge.end().await
}
