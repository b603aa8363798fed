//! Sidecars at real Envoys: what a scoped proxy reaches and what not, listeners of its own for both directions, and changes of all of
//! that while requests run.
//!
//! The tests with pods need root; without it they are reported as ignored, say NOT RUN, and are not counted as passed.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Arguments;
use meltemi_testkit::http::{App, Request};
use meltemi_testkit::netns::available;
use meltemi_tests::live::pods::{Mesh, SERVICE, TARGET};
use meltemi_tests::live::{Form, World, free_port, service, workload};
use meltemi_tests::not_run;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

type Test = fn() -> Result<()>;

fn main() {
    let missing = available().err().map(|missing| format!("{missing:#}"));
    let here: [(&str, Test); 4] = [
        ("a_scoped_proxy_reaches_what_its_hosts_list_and_nothing_else", || run(scope(Form::Delta))),
        ("a_scope_holds_on_state_of_the_world", || run(scope(Form::StateOfTheWorld))),
        ("an_application_calls_at_a_port_a_socket_and_a_proxy_of_its_own", || run(egress())),
        ("an_application_is_reached_at_another_port_and_on_a_unix_socket", || run(ingress())),
    ];
    let in_pods: [(&str, Test); 2] = [
        ("unknown_destinations_are_as_the_sidecar_says", || run(policy())),
        ("redirected_requests_reach_the_port_that_the_sidecar_names", || run(redirected())),
    ];
    let trials = here.map(|(name, test)| not_run::trial(name, test, false)).into_iter();
    let trials = trials.chain(in_pods.map(|(name, test)| not_run::trial(name, test, missing.is_some())));
    not_run::run(&Arguments::from_args(), trials.collect(), missing.as_deref()).exit();
}

fn run(test: impl Future<Output = Result<()>>) -> Result<()> {
    not_run::within(Duration::from_secs(120), test)
}

/// A Sidecar `default` of that namespace; `spec` in flow style.
fn sidecar(namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: {namespace}}}
spec: {spec}
"
    )
}

const REGISTRY_ONLY: &str = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}";

async fn status(world: &World, host: &str) -> Result<u16> {
    Ok(world.answer(host).await?.0)
}

async fn scope(form: Form) -> Result<()> {
    let mut world = World::new(form)?;
    let (_one, _two) = (world.app("one", "one").await?, world.app("two", "two").await?);
    let far = App::start("far", "far").await?;
    let in_shop = |yaml: String| yaml.replace("namespace: default", "namespace: shop");
    world.write("far.yaml", &in_shop(service("far", world.port())))?;
    world.write("far-entry.yaml", &in_shop(workload("far", "far", "far", far.address())))?;
    world.start().await?;
    for host in ["one", "two", "far.shop"] {
        ensure!(status(&world, host).await? == 200, "{host} before there is a Sidecar");
    }
    let load = world.load("one").workers(2).start();

    // One service of the own namespace.
    let one = "./one.default.svc.cluster.local";
    world
        .save(
            "sidecar.yaml",
            &sidecar("default", &format!("{{egress: [{{hosts: [{one}]}}], {REGISTRY_ONLY}}}")),
        )
        .await?;
    ensure!(status(&world, "one").await? == 200);
    ensure!(status(&world, "two").await? == 502 && status(&world, "far.shop").await? == 502);
    let clusters = world.clusters().await?;
    let outbound = clusters.iter().filter(|name| name.starts_with("outbound|")).count();
    ensure!(outbound == 1, "one service is known: {clusters:?}");

    // Another namespace more; then all but one.
    world
        .save(
            "sidecar.yaml",
            &sidecar("default", &format!("{{egress: [{{hosts: [{one}, shop/*]}}], {REGISTRY_ONLY}}}")),
        )
        .await?;
    ensure!(status(&world, "far.shop").await? == 200 && status(&world, "two").await? == 502);
    let but_far =
        format!("{{egress: [{{hosts: ['*/*', ~shop/far.shop.svc.cluster.local]}}], {REGISTRY_ONLY}}}");
    world.save("sidecar.yaml", &sidecar("default", &but_far)).await?;
    ensure!(status(&world, "far.shop").await? == 502 && status(&world, "two").await? == 200);

    // The root namespace's holds where a namespace has none; `.` is the sender's own.
    world.write(
        "root.yaml",
        &sidecar("istio-system", &format!("{{egress: [{{hosts: [./*]}}], {REGISTRY_ONLY}}}")),
    )?;
    world.remove("sidecar.yaml").await?;
    ensure!(status(&world, "two").await? == 200 && status(&world, "far.shop").await? == 502);

    // There and back while requests run: what stays in the scope loses none.
    for _ in 0..5 {
        world.save("sidecar.yaml", &sidecar("default", &format!("{{egress: [{{hosts: [{one}]}}]}}"))).await?;
        world.remove("sidecar.yaml").await?;
    }
    world.remove("root.yaml").await?;
    ensure!(status(&world, "far.shop").await? == 200, "without Sidecars all is seen again");
    let tally = load.stop().await;
    tally.expect_all(200)?;
    world.end().await
}

/// What a GET of `/` with that host answers on a Unix socket: the status line and the headers.
async fn get(socket: &Path, host: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

fn is_answer_of(answer: &str, version: &str) -> bool {
    answer.starts_with("HTTP/1.1 200") && answer.contains(&format!("x-app-version: {version}\r\n"))
}

async fn egress() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let _one = world.app("one", "one").await?;
    let alt = App::start("alt", "alt").await?;
    let (port, proxy) = (free_port()?, free_port()?);
    world.write("alt.yaml", &service("alt", port))?;
    world.write("alt-entry.yaml", &workload("alt", "alt", "alt", alt.address()))?;
    let folder = tempfile::Builder::new().prefix("meltemi-").tempdir()?;
    let socket = folder.path().join("egress");
    let path = socket.to_str().context("a path that is text")?;
    world.write(
        "sidecar.yaml",
        &sidecar(
            "default",
            &format!(
                "{{{REGISTRY_ONLY}, egress: [\
                 {{port: {{number: {port}, protocol: HTTP}}, bind: 127.0.0.3, captureMode: NONE, hosts: [./*]}}, \
                 {{port: {{number: {proxy}, protocol: HTTP_PROXY}}, hosts: [./*]}}, \
                 {{port: {{number: 0, protocol: HTTP}}, bind: 'unix://{path}', hosts: [./*]}}, \
                 {{hosts: [./one.default.svc.cluster.local]}}]}}"
            ),
        ),
    )?;
    world.start().await?;
    ensure!(status(&world, "one").await? == 200, "the entry without a port");
    let send = async |address: SocketAddr, host: &str| Request::get("/").host(host).send(address).await;
    let at = |ip: [u8; 4], port: u16| SocketAddr::from((ip, port));
    let answer = send(at([127, 0, 0, 3], port), "alt").await?;
    ensure!(answer.status == 200 && answer.version() == Some("alt"), "at an address of its own: {answer:?}");
    for (host, version) in [("one", "one"), (&*format!("alt:{port}"), "alt"), ("alt.default", "alt")] {
        let answer = send(at([127, 0, 0, 1], proxy), host).await?;
        ensure!(
            answer.status == 200 && answer.version() == Some(version),
            "by the proxy, {host}: {answer:?}"
        );
        let answer = get(&socket, host).await?;
        ensure!(is_answer_of(&answer, version), "by the socket, {host}: {answer}");
    }
    ensure!(send(at([127, 0, 0, 1], proxy), "nobody.example").await?.status == 502);
    ensure!(get(&socket, "nobody.example").await?.starts_with("HTTP/1.1 502"));
    world.end().await
}

/// Answers each request on a Unix socket with 200 and that version.
fn answer_on(listener: UnixListener, version: &'static str) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut seen = Vec::new();
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    seen.extend_from_slice(&bytes[..count]);
                    if seen.ends_with(b"\r\n\r\n") {
                        seen.clear();
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\nx-app-version: {version}\r\ncontent-length: 0\r\n\r\n"
                        );
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            break;
                        }
                    }
                }
            });
        }
    })
}

async fn ingress() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let _one = world.app("one", "one").await?;
    let app = App::start("own", "own").await?;
    let folder = tempfile::Builder::new().prefix("meltemi-").tempdir()?;
    let socket = folder.path().join("app");
    let path = socket.to_str().context("a path that is text")?;
    let task = answer_on(UnixListener::bind(&socket)?, "unix");
    let (port, other) = (free_port()?, free_port()?);
    let spec = |port_of_app: u16| {
        format!(
            "{{ingress: [\
             {{port: {{number: {port}, protocol: HTTP}}, bind: 127.0.0.1, defaultEndpoint: '127.0.0.1:{port_of_app}'}}, \
             {{port: {{number: {other}, protocol: HTTP}}, bind: 127.0.0.1, defaultEndpoint: 'unix://{path}'}}]}}"
        )
    };
    world.write("sidecar.yaml", &sidecar("default", &spec(app.address().port())))?;
    world.start().await?;
    let get =
        async |port: u16| Request::get("/").host("own").send(SocketAddr::from(([127, 0, 0, 1], port))).await;
    let answer = get(port).await?;
    ensure!(answer.status == 200 && answer.version() == Some("own"), "at another port: {answer:?}");
    let answer = get(other).await?;
    ensure!(answer.status == 200 && answer.version() == Some("unix"), "on a Unix socket: {answer:?}");
    ensure!(status(&world, "one").await? == 200, "what is called is as it was");

    // The application moves.
    let moved = App::start("own", "moved").await?;
    world.save("sidecar.yaml", &sidecar("default", &spec(moved.address().port()))).await?;
    // A changed cluster is warm before it is used, so that an answer or two may still be the former's.
    meltemi_tests::live::eventually(async || {
        let answer = get(port).await?;
        ensure!(answer.version() == Some("moved"), "{answer:?}");
        Ok(())
    })
    .await?;
    task.abort();
    world.end().await
}

async fn policy() -> Result<()> {
    let mesh = Mesh::start().await?;
    let stranger = mesh.stranger.address();
    let of_client = |hosts: &str, mode: &str| {
        sidecar(
            "default",
            &format!(
                "{{workloadSelector: {{labels: {{app: client}}}}, egress: [{{hosts: ['{hosts}']}}], outboundTrafficPolicy: {{mode: {mode}}}}}"
            ),
        )
    };
    let reached = async || {
        mesh.stranger.forget();
        let answer = mesh.get(stranger, "stranger.example").await;
        (answer.is_ok_and(|answer| answer.status == 200), mesh.stranger.total())
    };
    ensure!(reached().await == (true, 1), "the mesh lets everything pass");
    mesh.save("sidecar.yaml", &of_client("./*", "REGISTRY_ONLY")).await?;
    ensure!(reached().await == (false, 0), "REGISTRY_ONLY");
    ensure!(mesh.get(SERVICE, "myapp").await?.status == 200, "what is in the scope is reached");
    let load = mesh.load().start();
    mesh.save("sidecar.yaml", &of_client("./*", "ALLOW_ANY")).await?;
    ensure!(reached().await == (true, 1), "ALLOW_ANY");
    mesh.save("sidecar.yaml", &of_client("./myapp.default.svc.cluster.local", "REGISTRY_ONLY")).await?;
    load.stop().await.expect_all(200)?;

    // Out of the scope the service is a stranger, too.
    mesh.save("sidecar.yaml", &of_client("~/*", "REGISTRY_ONLY")).await?;
    let answer = mesh.get(SERVICE, "myapp").await;
    ensure!(!answer.as_ref().is_ok_and(|answer| answer.status == 200), "{answer:?}");
    mesh.end().await
}

async fn redirected() -> Result<()> {
    const PORT: u16 = 9090;
    let mesh = Mesh::start().await?;
    let load = mesh.load().start();
    // At first at both ports, the new one and the application's own.
    let spec = format!(
        "{{workloadSelector: {{labels: {{app: myapp}}}}, ingress: [\
         {{port: {{number: {PORT}, protocol: HTTP}}, defaultEndpoint: '0.0.0.0:{TARGET}'}}, {{port: {{number: {TARGET}, protocol: HTTP}}}}]}}"
    );
    mesh.save("sidecar.yaml", &sidecar("default", &spec)).await?;
    ensure!(mesh.get(SERVICE, "myapp").await?.status == 200);
    for (file, version, app) in [("v1.yaml", "v1", &mesh.v1), ("v2.yaml", "v2", &mesh.v2)] {
        let ip: IpAddr = app.address().ip();
        mesh.save(file, &workload(version, "myapp", version, SocketAddr::new(ip, PORT))).await?;
    }
    load.stop().await.expect_all(200)?;
    let tally = mesh.load().requests(50).run().await;
    tally.expect_all(200)?;
    for sidecar in &mesh.servers {
        let stats =
            sidecar.envoy.admin().stats("^cluster\\.inbound\\|9090\\|[^.]*\\.upstream_rq_total$").await?;
        let sum: u64 = stats.iter().map(|(_, value)| value).sum();
        ensure!(sum > 0, "requests come by port {PORT}: {stats:?}");
    }
    mesh.end().await
}
