//! Connections that VirtualServices route, by weight, port and name in TLS; delegates; and what a browser of another site is told. A share
//! of N connections is judged as in `live_strategies`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meltemi_testkit::http::{Answer, Request, share_bound};
use meltemi_testkit::sds::Authority;
use meltemi_tests::live::{Form, World, free_port, rule, split};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Connections on which a share is judged.
const SAMPLE: u64 = 1_000;

/// Connections that all must go one way.
const PROBES: u64 = 50;

/// Longer than any answer takes, on a machine that is busy building.
const LIMIT: Duration = Duration::from_secs(60);

/// A server that says its version first, and then sends back what it gets; it ends with this value.
struct Echo {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Echo {
    async fn start(version: &str, tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let greeting = format!("{version}\n");
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (greeting, tls) = (greeting.clone(), tls.clone());
                tokio::spawn(async move {
                    // A client that goes away is none of the server's business.
                    drop(match tls {
                        None => serve(stream, &greeting).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => serve(stream, &greeting).await,
                            Err(error) => Err(error),
                        },
                    });
                });
            }
        });
        Ok(Self { address, serving })
    }
}

async fn serve(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    greeting: &str,
) -> std::io::Result<()> {
    stream.write_all(greeting.as_bytes()).await?;
    stream.flush().await?;
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..count]).await?;
        stream.flush().await?;
    }
}

/// A line, without its end; an error if the connection ends before.
async fn line(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<String> {
    let read = async {
        let mut text = Vec::new();
        loop {
            match stream.read_u8().await? {
                b'\n' => return Ok(String::from_utf8(text)?),
                byte => text.push(byte),
            }
        }
    };
    timeout(LIMIT, read).await.context("no line in time")?
}

/// Connects, and says which version answers.
async fn connect(address: SocketAddr) -> Result<(TcpStream, String)> {
    let mut stream = timeout(LIMIT, TcpStream::connect(address)).await.context("no connection in time")??;
    let version = line(&mut stream).await?;
    Ok((stream, version))
}

async fn echoes(stream: &mut TcpStream, text: &str) -> Result<()> {
    stream.write_all(format!("{text}\n").as_bytes()).await?;
    ensure!(line(stream).await? == text);
    Ok(())
}

/// How many of so many connections reach each of the two versions; all must reach one.
async fn counted(address: SocketAddr, count: u64) -> Result<(u64, u64)> {
    let mut counts = (0, 0);
    for _ in 0..count {
        match connect(address).await?.1.as_str() {
            "v1" => counts.0 += 1,
            "v2" => counts.1 += 1,
            other => anyhow::bail!("`{other}` answered"),
        }
    }
    Ok(counts)
}

/// A Service `name` of these ports, named for what they speak.
fn service(name: &str, ports: &[(&str, u16)]) -> String {
    let ports: Vec<String> =
        ports.iter().map(|(speaks, port)| format!("{{name: {speaks}, port: {port}}}")).collect();
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{app: {name}}}
  ports: [{}]
",
        ports.join(", ")
    )
}

/// A WorkloadEntry of `app` and `version` whose every one of these ports is at that address.
fn workload(app: &str, version: &str, ports: &[&str], address: SocketAddr) -> String {
    let ports: Vec<String> = ports.iter().map(|name| format!("{name}: {}", address.port())).collect();
    format!(
        "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {app}-{version}, namespace: default}}
spec: {{address: {}, ports: {{{}}}, labels: {{app: {app}, version: {version}}}}}
",
        address.ip(),
        ports.join(", ")
    )
}

fn route(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec: {spec}
"
    )
}

fn tcp_split(v1: u32, v2: u32) -> String {
    route(
        "db",
        &format!(
            "{{hosts: [db], tcp: [{{route: [{{destination: {{host: db, subset: v1}}, weight: {v1}}}, {{destination: {{host: db, subset: v2}}, weight: {v2}}}]}}]}}"
        ),
    )
}

/// Two versions of `db`, which speaks first, all connections to v1.
async fn database(form: Form) -> Result<(World, [Echo; 2])> {
    let mut world = World::new(form)?;
    let versions = [Echo::start("v1", None).await?, Echo::start("v2", None).await?];
    world.write("db.yaml", &service("db", &[("tcp", world.port())]))?;
    for (version, echo) in ["v1", "v2"].into_iter().zip(&versions) {
        world.write(&format!("db-{version}.yaml"), &workload("db", version, &["tcp"], echo.address))?;
    }
    world.write("rule.yaml", &rule("db", &["v1", "v2"], ""))?;
    world.write("route.yaml", &tcp_split(100, 0))?;
    world.start().await?;
    Ok((world, versions))
}

async fn weights(form: Form) -> Result<()> {
    let (world, _versions) = database(form).await?;
    ensure!(counted(world.address(), PROBES).await? == (PROBES, 0));
    let (mut open, version) = connect(world.address()).await?;
    ensure!(version == "v1");
    for (weight, share) in [(10, 0.1), (50, 0.5)] {
        world.save("route.yaml", &tcp_split(100 - weight, weight)).await?;
        let (_, v2) = counted(world.address(), SAMPLE).await?;
        let found = v2 as f64 / SAMPLE as f64;
        ensure!(
            (found - share).abs() <= share_bound(share, SAMPLE),
            "{found} of the connections, not {share}"
        );
    }
    world.save("route.yaml", &tcp_split(0, 100)).await?;
    ensure!(counted(world.address(), PROBES).await? == (0, PROBES));
    // Who was connected before is served on, by whom it was.
    echoes(&mut open, "still here").await?;
    world.end().await
}

#[tokio::test]
async fn connections_go_by_weight_and_open_ones_outlive_a_step() -> Result<()> {
    weights(Form::Delta).await
}

#[tokio::test]
async fn connections_go_by_weight_on_state_of_the_world_too() -> Result<()> {
    weights(Form::StateOfTheWorld).await
}

#[tokio::test]
async fn a_rule_to_a_subset_that_does_not_exist_takes_no_connection_away() -> Result<()> {
    let (world, _versions) = database(Form::Delta).await?;
    let to = |subset: &str| {
        route(
            "db",
            &format!("{{hosts: [db], tcp: [{{route: [{{destination: {{host: db, subset: {subset}}}}}]}}]}}"),
        )
    };
    world.save("route.yaml", &to("v3")).await?;
    ensure!(counted(world.address(), PROBES).await? == (PROBES, 0), "the last good route stays");
    // The subset comes, and with it the rule.
    let v3 = rule("db", &["v1", "v2"], "") + "  - {name: v3, labels: {version: v2}}\n";
    world.save("rule.yaml", &v3).await?;
    ensure!(counted(world.address(), PROBES).await? == (0, PROBES));
    // It goes while the rule names it: its endpoints stay.
    world.save("rule.yaml", &rule("db", &["v1", "v2"], "")).await?;
    ensure!(counted(world.address(), PROBES).await? == (0, PROBES));
    world.save("route.yaml", &to("v1")).await?;
    ensure!(counted(world.address(), PROBES).await? == (PROBES, 0));
    world.end().await
}

#[tokio::test]
async fn a_port_of_a_service_is_routed_by_itself() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let (one, two) = (Echo::start("v1", None).await?, Echo::start("v2", None).await?);
    let admin = free_port()?;
    let ports = [("tcp", world.port()), ("tcp-admin", admin)];
    world.write("db.yaml", &service("db", &ports))?;
    for (version, echo) in [("v1", &one), ("v2", &two)] {
        let entry = workload("db", version, &["tcp", "tcp-admin"], echo.address);
        world.write(&format!("db-{version}.yaml"), &entry)?;
    }
    world.write("rule.yaml", &rule("db", &["v1", "v2"], ""))?;
    let by_port = |other: &str| {
        route(
            "db",
            &format!(
                "{{hosts: [db], tcp: [{{match: [{{port: {admin}}}], route: [{{destination: {{host: db, subset: v2}}}}]}}, {{route: [{{destination: {{host: db, subset: {other}}}}}]}}]}}"
            ),
        )
    };
    world.write("route.yaml", &by_port("v1"))?;
    world.start().await?;
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    ensure!(counted(world.address(), PROBES).await? == (PROBES, 0));
    ensure!(counted(admin, PROBES).await? == (0, PROBES));
    // A step at one port does not touch a connection to the other.
    let (mut open, _) = connect(admin).await?;
    world.save("route.yaml", &by_port("v2")).await?;
    ensure!(counted(world.address(), PROBES).await? == (0, PROBES));
    echoes(&mut open, "not my port").await?;
    world.end().await
}

/// A server of that name, by a certificate of that authority.
async fn secure(authority: &Authority, name: &str) -> Result<Echo> {
    let identity = authority.server(&[name])?;
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Echo::start(name, Some(TlsAcceptor::from(Arc::new(config)))).await
}

#[tokio::test]
async fn tls_is_routed_by_the_name_that_a_client_asks_for() -> Result<()> {
    let authority = Authority::new()?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.root().as_bytes())?)?;
    let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = TlsConnector::from(Arc::new(client));

    let mut world = World::new(Form::Delta)?;
    let names = ["pay.example.com", "map.example.com"];
    let servers = [secure(&authority, names[0]).await?, secure(&authority, names[1]).await?];
    for (app, server) in ["pay", "map"].into_iter().zip(&servers) {
        world.write(&format!("{app}.yaml"), &service(app, &[("tls", world.port())]))?;
        world.write(&format!("{app}-v1.yaml"), &workload(app, "v1", &["tls"], server.address))?;
    }
    let to = |first: &str, second: &str| {
        route(
            "apis",
            &format!(
                "{{hosts: [pay, pay.example.com, map.example.com], tls: [{{match: [{{sniHosts: [pay.example.com]}}], route: [{{destination: {{host: {first}}}}}]}}, {{match: [{{sniHosts: [map.example.com]}}], route: [{{destination: {{host: {second}}}}}]}}]}}"
            ),
        )
    };
    world.write("route.yaml", &to("pay", "map"))?;
    world.start().await?;
    let address = world.address();
    let ask = async |name: &'static str| -> Result<String> {
        let stream = timeout(LIMIT, TcpStream::connect(address)).await??;
        let mut stream = timeout(LIMIT, client.connect(ServerName::try_from(name)?, stream)).await??;
        line(&mut stream).await
    };
    // The client's own check of the certificate says that it is the right server.
    for name in names {
        ensure!(ask(name).await? == name);
    }
    // Both names to one: the other's client is shown a certificate that is not for it.
    world.save("route.yaml", &to("pay", "pay")).await?;
    ensure!(ask(names[0]).await? == names[0]);
    let error = ask(names[1]).await.err().context("the wrong server was believed")?;
    ensure!(format!("{error:#}").contains("ertificate"), "{error:#}");
    world.end().await
}

#[tokio::test]
async fn a_delegate_is_changed_without_its_root() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let (_v1, _v2) = (world.app("myapp", "v1").await?, world.app("myapp", "v2").await?);
    world.write("rule.yaml", &rule("myapp", &["v1", "v2"], ""))?;
    let root = "{hosts: [myapp], http: [{match: [{uri: {prefix: /team}}], delegate: {name: team}}, {route: [{destination: {host: myapp, subset: v1}}]}]}";
    world.write("root.yaml", &route("myapp", root))?;
    world.start().await?;
    let team = async |world: &World| -> Result<Answer> {
        Request::get("/team/x").host("myapp").send(world.address()).await
    };
    // Without the delegate its rule is left out.
    ensure!(team(&world).await?.version() == Some("v1"));
    let leaf = |subset: &str| {
        route(
            "team",
            &format!(
                "{{http: [{{match: [{{uri: {{prefix: /team/}}}}], route: [{{destination: {{host: myapp, subset: {subset}}}}}]}}]}}"
            ),
        )
    };
    for subset in ["v2", "v1", "v2"] {
        world.save("team.yaml", &leaf(subset)).await?;
        ensure!(team(&world).await?.version() == Some(subset));
        ensure!(world.answer("myapp").await? == (200, Some("v1".to_owned())));
    }
    world.remove("team.yaml").await?;
    ensure!(team(&world).await?.version() == Some("v1"));
    world.end().await
}

#[tokio::test]
async fn a_browser_is_told_by_the_proxy_which_sites_may_call() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let app = world.app("myapp", "v1").await?;
    world.write("route.yaml", &split("myapp", &[("v1", 100)]))?;
    world.write("rule.yaml", &rule("myapp", &["v1"], ""))?;
    world.start().await?;
    let policy = |unmatched: &str| {
        route(
            "myapp",
            &format!(
                "{{hosts: [myapp], http: [{{corsPolicy: {{allowOrigins: [{{exact: 'https://shop.example'}}, {{regex: 'https://.*[.]dev[.]example'}}], allowMethods: [GET, PUT], allowHeaders: [x-token], exposeHeaders: [x-app-version], maxAge: 1h, allowCredentials: true, unmatchedPreflights: {unmatched}}}, route: [{{destination: {{host: myapp, subset: v1}}}}]}}]}}"
            ),
        )
    };
    let ask = async |method: &str, origin: &str, preflight: bool| -> Result<Answer> {
        let mut request = Request::new(method, "/").host("myapp").header("origin", origin);
        if preflight {
            request = request
                .header("access-control-request-method", "PUT")
                .header("access-control-request-headers", "x-token");
        }
        request.send(world.address()).await
    };
    world.save("route.yaml", &policy("IGNORE")).await?;
    app.forget();
    for origin in ["https://shop.example", "https://a.dev.example"] {
        let answer = ask("OPTIONS", origin, true).await?;
        ensure!(answer.status == 200, "{answer:?}");
        for (name, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "GET,PUT"),
            ("access-control-allow-headers", "x-token"),
            ("access-control-max-age", "3600"),
            ("access-control-allow-credentials", "true"),
        ] {
            ensure!(answer.header(name) == Some(value), "{name}: {answer:?}");
        }
    }
    let answer = ask("OPTIONS", "https://evil.example", true).await?;
    ensure!(answer.header("access-control-allow-origin").is_none(), "{answer:?}");
    ensure!(app.total() == 0, "a preflight reached the application");

    // What is no preflight reaches it, and a browser lets the allowed site alone read the answer.
    let answer = ask("GET", "https://shop.example", false).await?;
    ensure!(answer.version() == Some("v1"));
    ensure!(answer.header("access-control-allow-origin") == Some("https://shop.example"), "{answer:?}");
    ensure!(answer.header("access-control-expose-headers") == Some("x-app-version"), "{answer:?}");
    let answer = ask("GET", "https://evil.example", false).await?;
    ensure!(answer.version() == Some("v1"));
    ensure!(answer.header("access-control-allow-origin").is_none(), "{answer:?}");

    // By default a preflight of another site is the application's own matter.
    world.save("route.yaml", &policy("FORWARD")).await?;
    app.forget();
    let answer = ask("OPTIONS", "https://evil.example", true).await?;
    ensure!(answer.version() == Some("v1") && app.total() == 1, "{answer:?}");
    world.end().await
}
