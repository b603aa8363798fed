//! Calls out of the mesh, on live traffic: what a ServiceEntry declares is reached as it says, and what nobody declares as the mesh's
//! outboundTrafficPolicy says.
//!
//! One test needs root (pods with redirection). Without it that one is reported as ignored, says NOT RUN, and is not counted as passed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Arguments;
use meltemi_testkit::http::{App, Connect, Request};
use meltemi_testkit::netns::available;
use meltemi_tests::live::pods::Mesh;
use meltemi_tests::live::{Form, World, rule, workload};
use meltemi_tests::not_run;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Requests on which a share is judged; see `live_strategies`.
const SAMPLE: u64 = 2_000;

/// After so long a test has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// Where something outside speaks TLS.
const TLS: u16 = 9443;

type Test = fn() -> Result<()>;

fn main() {
    let missing = available().err().map(|missing| format!("{missing:#}"));
    let anywhere: [(&str, Test); 3] = [
        ("a_wildcard_is_as_many_servers_as_requests_name", || run(wildcard())),
        ("entries_are_reached_as_they_say", || run(entries(Form::Delta))),
        ("entries_are_reached_as_they_say_on_state_of_the_world", || run(entries(Form::StateOfTheWorld))),
    ];
    let redirected: [(&str, Test); 2] = [
        ("what_no_entry_declares_is_reached_as_the_mesh_says", || run(undeclared())),
        ("names_lead_where_they_are_looked_up_and_not_where_the_client_went", || run(looked_up())),
    ];
    let trials = anywhere.map(|(name, test)| not_run::trial(name, test, false)).into_iter();
    let trials = trials.chain(redirected.map(|(name, test)| not_run::trial(name, test, missing.is_some())));
    not_run::run(&Arguments::from_args(), trials.collect(), missing.as_deref()).exit();
}

fn run(test: impl Future<Output = Result<()>>) -> Result<()> {
    not_run::within(LIMIT, test)
}

/// A ServiceEntry with one HTTP port.
fn entry(name: &str, port: u16, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: default}}
spec:
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
{spec}"
    )
}

fn endpoint(address: &str, app: &App, weight: u32) -> String {
    format!("  - {{address: {address}, ports: {{http: {}}}, weight: {weight}}}\n", app.address().port())
}

fn outbound(mode: &str) -> String {
    format!(
        "apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    outboundTrafficPolicy: {{mode: {mode}}}
"
    )
}

async fn entries(form: Form) -> Result<()> {
    let mut world = World::new(form)?;
    let port = world.port();
    let (v1, v2) = (App::start("api", "v1").await?, App::start("api", "v2").await?);
    let fixed = |endpoints: &str| {
        entry(
            "api",
            port,
            &format!("  hosts: [api.example.com]\n  resolution: STATIC\n  endpoints:\n{endpoints}"),
        )
    };
    let both = [endpoint("127.0.0.1", &v1, 3), endpoint("127.0.0.1", &v2, 1)].concat();
    let named = |host: &str, resolution: &str, address: &str, app: &App| {
        let endpoints = endpoint(address, app, 1);
        entry(
            &host.replace("*.", ""),
            port,
            &format!("  hosts: ['{host}']\n  resolution: {resolution}\n  endpoints:\n{endpoints}"),
        )
    };
    let selected = "  hosts: [jobs.mesh]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  workloadSelector: {labels: {app: jobs}}\n";
    for (file, yaml) in [
        ("fixed.yaml", fixed(&both)),
        ("rule.yaml", rule("api.example.com", &[], "{loadBalancer: {simple: ROUND_ROBIN}}")),
        ("wildcard.yaml", named("*.wild.example.com", "STATIC", "127.0.0.1", &v1)),
        ("dns.yaml", named("dns.example.com", "DNS", "localhost", &v1)),
        ("round.yaml", named("round.example.com", "DNS_ROUND_ROBIN", "localhost", &v2)),
        ("selected.yaml", entry("jobs", port, selected)),
        ("job.yaml", workload("job-1", "jobs", "v2", v2.address())),
        ("mesh.yaml", outbound("REGISTRY_ONLY")),
    ] {
        world.write(file, &yaml)?;
    }
    world.start().await?;

    // By weight.
    let tally = world.load("api.example.com").requests(SAMPLE).run().await;
    tally.expect_all(200)?;
    tally.expect_share("v1", 0.75)?;
    tally.expect_share("v2", 0.25)?;
    // By name, by wildcard, by selector.
    for (host, version) in [
        ("dns.example.com", "v1"),
        ("round.example.com", "v2"),
        ("a.wild.example.com", "v1"),
        ("b.c.wild.example.com", "v1"),
        ("jobs.mesh", "v2"),
    ] {
        let answer = world.answer(host).await?;
        ensure!(answer == (200, Some(version.to_owned())), "{host}: {answer:?}");
    }
    // What nobody declares is not reached.
    for host in ["other.example.com", "wild.example.com", "jobs"] {
        ensure!(world.answer(host).await?.0 == 502, "{host}: {:?}", world.answer(host).await?);
    }
    // The selector follows its workloads.
    world.save("job.yaml", &workload("job-1", "jobs", "v1", v1.address())).await?;
    ensure!(world.answer("jobs.mesh").await? == (200, Some("v1".to_owned())));
    // An endpoint that goes takes no request along.
    let load = world.load("api.example.com").start();
    world.save("fixed.yaml", &fixed(&endpoint("127.0.0.1", &v2, 1))).await?;
    load.stop().await.expect_all(200)?;
    v1.forget();
    world.load("api.example.com").requests(200).run().await.expect_share("v2", 1.0)?;
    ensure!(v1.total() == 0, "an endpoint that is gone got {} requests", v1.total());
    // An entry that goes is as if it had never been.
    world.remove("dns.yaml").await?;
    ensure!(world.answer("dns.example.com").await?.0 == 502);
    world.end().await
}

/// Answers TLS for any name with one letter; the certificate that it shows.
async fn speak_tls(at: &Connect, address: SocketAddr) -> Result<CertificateDer<'static>> {
    let names = ["secure.example", "other.example", "a.tls.localhost"].map(str::to_owned).to_vec();
    let made = rcgen::generate_simple_self_signed(names)?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = at.listen(address).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                stream.write_all(b"!").await?;
                stream.shutdown().await
            });
        }
    });
    Ok(certificate)
}

/// What the client of the mesh reads from whoever answers for `name` at `address`.
async fn greeting(
    mesh: &Mesh,
    trusted: &CertificateDer<'static>,
    name: &'static str,
    address: SocketAddr,
) -> Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = mesh.client.pod.connector().to(address).await?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from(name)?, stream).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

async fn undeclared() -> Result<()> {
    let mesh = Mesh::start().await?;
    let stranger = mesh.stranger.address();
    let secure = SocketAddr::new(stranger.ip(), TLS);
    let certificate = speak_tls(&mesh.stranger_pod.connector(), secure).await?;
    let declared = format!(
        "{}---\n{}",
        entry("stranger", stranger.port(), "  hosts: [stranger.example]\n"),
        entry("secure", TLS, "  hosts: [secure.example]\n").replace("protocol: HTTP", "protocol: TLS")
    );

    // Everything may be called.
    mesh.save("entries.yaml", &declared).await?;
    for host in ["stranger.example", "other.example"] {
        ensure!(mesh.get(stranger, host).await?.status == 200, "{host}");
        if host == "other.example" {
            ensure!(greeting(&mesh, &certificate, "other.example", secure).await? == "!");
        }
    }
    ensure!(greeting(&mesh, &certificate, "secure.example", secure).await? == "!");
    let cluster = format!("^cluster\\.outbound\\|{TLS}\\|\\|secure\\.example;\\.upstream_cx_total$");
    let passed = mesh.client.envoy.admin().stats(&cluster).await?;
    let passed: u64 = passed.iter().map(|(_, value)| value).sum();
    ensure!(passed == 1, "{passed} connections by the name in their handshake");

    // Only what is declared.
    mesh.save("mesh.yaml", &outbound("REGISTRY_ONLY")).await?;
    ensure!(mesh.get(stranger, "stranger.example").await?.status == 200);
    mesh.stranger.forget();
    let answer = mesh.get(stranger, "other.example").await?;
    ensure!(answer.status == 502, "{answer:?}");
    ensure!(mesh.stranger.total() == 0, "the stranger was reached");
    ensure!(greeting(&mesh, &certificate, "secure.example", secure).await.context("declared")? == "!");
    let refused = greeting(&mesh, &certificate, "other.example", secure).await;
    ensure!(refused.is_err(), "a name that nobody declares was answered: {refused:?}");
    mesh.end().await
}

/// Every name below `localhost` is this machine (RFC 6761, section 6.3), which Envoy's resolver knows without asking anybody.
async fn wildcard() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let (one, two) = (App::start("api", "one").await?, App::start("api", "two").await?);
    let names = "  hosts: ['*.apps.localhost']\n  location: MESH_EXTERNAL\n  resolution: DYNAMIC_DNS\n";
    world.write("names.yaml", &entry("names", world.port(), names))?;
    world.write("mesh.yaml", &outbound("REGISTRY_ONLY"))?;
    world.start().await?;
    let at = |name: &str, app: &App| format!("{name}.apps.localhost:{}", app.address().port());
    for (host, version) in
        [(at("a", &one), "one"), (at("b", &two), "two"), (at("a", &two), "two"), (at("c.d", &one), "one")]
    {
        let answer = world.answer(&host).await?;
        ensure!(answer == (200, Some(version.to_owned())), "{host}: {answer:?}");
    }
    let other = format!("other.localhost:{}", one.address().port());
    ensure!(world.answer(&other).await?.0 == 502, "a name that nobody declares was looked up");
    // A rule for the wildcard is for each of its names.
    let rule = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: names, namespace: default}
spec:
  hosts: ['*.apps.localhost']
  http:
  - match: [{uri: {prefix: /}, headers: {x-stop: {exact: 'yes'}}}]
    directResponse: {status: 418}
  - route: [{destination: {host: '*.apps.localhost'}}]
";
    world.save("rule.yaml", rule).await?;
    let stopped = Request::get("/").host(&at("a", &one)).header("x-stop", "yes");
    ensure!(stopped.send(world.address()).await?.status == 418);
    ensure!(world.answer(&at("b", &two)).await? == (200, Some("two".to_owned())));
    world.end().await
}

/// The server that is meant is beside the client, by its name alone; the addresses that are called are the stranger's.
async fn looked_up() -> Result<()> {
    let mesh = Mesh::start().await?;
    let inside = &mesh.client.pod;
    let beside = App::builder("beside", "beside").inside(inside).address((Ipv4Addr::LOCALHOST, 0).into());
    let beside = beside.start().await?;
    let stranger = mesh.stranger.address();
    let secure = SocketAddr::new(stranger.ip(), TLS);
    let far = speak_tls(&mesh.stranger_pod.connector(), secure).await?;
    let near = speak_tls(&inside.connector(), (Ipv4Addr::LOCALHOST, TLS).into()).await?;
    let dynamic =
        |hosts: &str| format!("  hosts: ['{hosts}']\n  location: MESH_EXTERNAL\n  resolution: DYNAMIC_DNS\n");
    let named = |name: &str| format!("{name}:{}", beside.address().port());

    // What is declared, by the host of a request and the name in a handshake.
    let declared = format!(
        "{}---\n{}",
        entry("names", stranger.port(), &dynamic("*.apps.localhost")),
        entry("secure", TLS, &dynamic("*.tls.localhost")).replace("protocol: HTTP", "protocol: TLS")
    );
    mesh.save("entries.yaml", &declared).await?;
    mesh.save("mesh.yaml", &outbound("REGISTRY_ONLY")).await?;
    let answer = mesh.get(stranger, &named("a.apps.localhost")).await?;
    ensure!(answer.version() == Some("beside"), "{answer:?}");
    ensure!(greeting(&mesh, &near, "a.tls.localhost", secure).await.context("by its name")? == "!");
    let refused = greeting(&mesh, &far, "other.example", secure).await;
    ensure!(refused.is_err(), "a name that nobody declares was answered: {refused:?}");
    ensure!(mesh.get(stranger, &named("other.localhost")).await?.status == 502);

    // What nobody declares: requests by their host, at a port that services have and at one that none has; all else as it was going.
    mesh.save("mesh.yaml", &outbound("ALLOW_ANY_DYNAMIC_DNS")).await?;
    for address in [stranger, SocketAddr::new(stranger.ip(), 9_999)] {
        let answer = mesh.get(address, &named("other.localhost")).await?;
        ensure!(answer.version() == Some("beside"), "{address}: {answer:?}");
    }
    ensure!(
        mesh.get(stranger, &stranger.to_string()).await?.version() == Some("none"),
        "an address is a host, too"
    );
    ensure!(greeting(&mesh, &far, "other.example", secure).await.context("as it was going")? == "!");
    mesh.end().await
}
