//! Mutual TLS between real Envoys: two pods with sidecars, certificates by SDS, and a pod that no mesh knows.
//!
//! The certificates are a test authority's; Meltemi's own agent and authority have tests of their own. Needs root. Without it, each test
//! here is reported as ignored, says NOT RUN, and is not counted as passed.

mod pods;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Arguments;
use meltemi_testkit::http::Load;
use meltemi_testkit::netns::available;
use meltemi_tests::not_run;

use pods::{CLIENT, DECLARED, Mesh, OWN, SERVER, SNIFFED, get, policy};

/// How long a test may take: seconds, on a machine that is busy building minutes.
const LIMIT: Duration = Duration::from_secs(240);

type Test = fn() -> Result<()>;

fn main() {
    let missing = available().err().map(|missing| format!("{missing:#}"));
    let tests: [(&str, Test); 5] = [
        ("under_strict_sidecars_are_let_in_by_their_identity_and_plain_text_is_not", || run(strict())),
        ("on_a_port_that_declares_nothing_http_is_told_from_bytes_under_mutual_tls", || run(sniffed())),
        ("permissive_to_strict_and_back_under_load_loses_no_request", || run(migration())),
        ("a_caller_of_another_trust_domain_is_refused_until_it_is_an_alias", || run(foreign_client())),
        ("a_server_with_another_account_is_refused_by_its_callers", || run(wrong_server())),
    ];
    let trials = tests.map(|(name, test)| not_run::trial(name, test, missing.is_some()));
    not_run::run(&Arguments::from_args(), trials.into(), missing.as_deref()).exit();
}

fn run(test: impl Future<Output = Result<()>>) -> Result<()> {
    not_run::within(LIMIT, test)
}

async fn strict() -> Result<()> {
    let mesh = Mesh::start(CLIENT, SERVER).await?;
    mesh.save("policy.yaml", &policy("all", "{mtls: {mode: STRICT}}")).await?;
    for port in [DECLARED, SNIFFED] {
        let who = mesh.caller_as_seen(port).await?;
        ensure!(who.contains(&format!("URI={CLIENT}")), "the application was told {who}");
    }
    // By the pod's own address, as clients of a headless service call it.
    let answer = get(&mesh.client_connect(), mesh.server_at(OWN[0]), "pods").await?;
    ensure!(answer.status == 200 && answer.text().contains(CLIENT), "{answer:?}");
    let handshakes = mesh.server_stat("^listener\\..*15006\\.ssl\\.handshake$").await?;
    ensure!(handshakes >= 2, "{handshakes} handshakes");

    for target in OWN {
        mesh.stranger_is_let_in(target, false).await?;
    }
    let before = mesh.app.total() + mesh.other_app.total();
    for target in OWN {
        let answer = get(&mesh.stranger_connect(), mesh.server_at(target), "myapp").await;
        ensure!(answer.is_err(), "plain text was answered on {target}: {answer:?}");
    }
    ensure!(mesh.app.total() + mesh.other_app.total() == before, "plain text reached the application");
    mesh.end().await
}

async fn sniffed() -> Result<()> {
    let mesh = Mesh::start(CLIENT, SERVER).await?;
    for mode in ["PERMISSIVE", "STRICT"] {
        mesh.save("policy.yaml", &policy("all", &format!("{{mtls: {{mode: {mode}}}}}"))).await?;
        // Only a chain for HTTP tells the application who calls.
        let who = mesh.caller_as_seen(SNIFFED).await?;
        ensure!(who.contains(&format!("URI={CLIENT}")), "{mode}: the application was told {who}");
        let who = mesh.caller_as_seen_by_http2(SNIFFED).await.with_context(|| format!("{mode}, HTTP/2"))?;
        ensure!(who.contains(&format!("URI={CLIENT}")), "{mode}, HTTP/2: the application was told {who}");
        // Bytes that are no HTTP come through as they are, by mutual TLS too.
        let before = mesh.server_stat("^listener\\..*15006\\.ssl\\.handshake$").await?;
        ensure!(mesh.echo("ping of the day\n").await? == "ping of the day\n", "{mode}: the echo");
        let after = mesh.server_stat("^listener\\..*15006\\.ssl\\.handshake$").await?;
        ensure!(after > before, "{mode}: bytes came in plain text");
    }
    mesh.end().await
}

async fn migration() -> Result<()> {
    let mesh = Mesh::start(CLIENT, SERVER).await?;
    let load = |port| Load::new(mesh.service(port), mesh.request()).through(mesh.client_connect()).workers(2);
    let loads = [load(DECLARED).start(), load(SNIFFED).start()];
    for _ in 0..3 {
        mesh.save("policy.yaml", &policy("all", "{mtls: {mode: STRICT}}")).await?;
        mesh.stranger_is_let_in(OWN[0], false).await?;
        mesh.save("policy.yaml", &policy("all", "{mtls: {mode: PERMISSIVE}}")).await?;
        mesh.stranger_is_let_in(OWN[0], true).await?;
    }
    for load in loads {
        let tally = load.stop().await;
        tally.expect_all(200)?;
        ensure!(tally.total() >= 20, "a load of {} requests proves little", tally.total());
    }
    mesh.end().await
}

async fn foreign_client() -> Result<()> {
    let foreign = "spiffe://old.example/ns/default/sa/client";
    let mesh = Mesh::start(foreign, SERVER).await?;
    let answer = mesh.get(DECLARED).await?;
    ensure!(answer.status == 503, "an identity of another trust domain was let in: {answer:?}");
    ensure!(mesh.app.total() == 0, "it reached the application");
    let refused = mesh.server_stat("^listener\\..*15006\\.ssl\\.fail_verify_san$").await?;
    ensure!(refused > 0, "nothing was refused for its name");

    let settings = "apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'trustDomainAliases: [old.example]'}
";
    mesh.save("mesh.yaml", settings).await?;
    mesh.is_answered(DECLARED).await?;
    let who = mesh.caller_as_seen(DECLARED).await?;
    ensure!(who.contains(&format!("URI={foreign}")), "the application was told {who}");
    mesh.end().await
}

async fn wrong_server() -> Result<()> {
    let mesh = Mesh::start(CLIENT, "spiffe://cluster.local/ns/default/sa/somebody-else").await?;
    let answer = mesh.get(DECLARED).await?;
    ensure!(answer.status == 503, "a server of another account was believed: {answer:?}");
    ensure!(mesh.app.total() == 0, "the request reached it");
    let refused = mesh.client_stat("^cluster\\.outbound\\|80\\|.*\\.ssl\\.fail_verify_san$").await?;
    ensure!(refused > 0, "nothing was refused for its name");
    mesh.end().await
}
