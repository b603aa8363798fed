//! `meltemi agent` with a real Envoy, a real certificate service over TLS, and `meltemi serve`.
//!
//! Envoy gets one listener by hand (`--bootstrap-override`): TLS with the workload's certificate, in front of an app. What a client
//! sees on it is what is asserted.

mod authority;
mod beside;
mod client;

use std::time::Duration;

use anyhow::{Context, Result};
use meltemi_testkit::http::{App, Request};

use self::authority::{Authority, REVIEWS, TOKEN};
use self::beside::{Agent, eventually};
use self::client::Client;
use crate::program::{LIMIT, Serving, ended};
use crate::yaml::reviews;

#[tokio::test]
async fn envoy_waits_for_the_first_certificate_and_then_becomes_ready() -> Result<()> {
    let (authority, app) = (Authority::start().await?, App::start("app", "v1").await?);
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    authority.away(true);
    let agent = Agent::start(&authority, &app, |command| {
        command.args(["--xds-plaintext", &serving.xds.to_string()]);
    })
    .await?;
    authority.refused(2).await?;
    let answer = agent.status("/healthz/ready").await?;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("certificate"), "{}", answer.text());
    authority.away(false);
    agent.ready().await?;
    // Istio's way to the same answer: through Envoy.
    let admin = agent.admin().await?;
    let health = admin.listener("agent").await?;
    assert_eq!(
        Request::get("/healthz/ready").send(([127, 0, 0, 1], health.port()).into()).await?.status,
        200
    );
    // The token proved who asked; nothing else could.
    let first = authority.asked().into_iter().next().context("a request")?;
    assert_eq!((first.token, first.certificate), (true, false));
    assert_eq!(first.cluster.as_deref(), Some("east"));
    let client = Client::connect(&authority, agent.mesh().await?).await?;
    assert_eq!(client.peer_name()?, "spiffe://cluster.local/ns/shop/sa/reviews");
    agent.end().await
}

#[tokio::test]
async fn certificates_are_renewed_and_a_connection_does_not_notice() -> Result<()> {
    let (authority, app) = (Authority::start().await?, App::start("app", "v1").await?);
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let agent = Agent::start(&authority, &app, |command| {
        command.args(["--xds-plaintext", &serving.xds.to_string(), "--ttl", "60s"]);
        // After six seconds, long before the end.
        command.env("SECRET_GRACE_PERIOD_RATIO", "0.9").env("SECRET_GRACE_PERIOD_RATIO_JITTER", "0");
    })
    .await?;
    agent.ready().await?;
    let pid = agent.envoy()?;
    let mesh = agent.mesh().await?;
    let mut client = Client::connect(&authority, mesh).await?;
    let first = agent.serial().await?;
    for _ in 0..2 {
        let before = agent.serial().await?;
        eventually("another certificate in Envoy", async || Ok(agent.serial().await? != before)).await?;
        assert_eq!(client.get("/").await?, 200, "on the connection that was there before");
    }
    let later = Client::connect(&authority, mesh).await?;
    assert_ne!(client.certificate()?, later.certificate()?, "who connects now sees the new one");
    assert_ne!(agent.serial().await?, first);
    assert!(
        authority.asked().iter().skip(1).any(|ask| ask.certificate),
        "a renewal presents the certificate"
    );
    assert_eq!(agent.envoy()?, pid, "Envoy is the same");
    agent.end().await
}

#[tokio::test]
async fn while_the_control_plane_is_away_what_there_is_goes_on() -> Result<()> {
    let (authority, app) = (Authority::start().await?, App::start("app", "v1").await?);
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let agent = Agent::start(&authority, &app, |command| {
        command.args(["--xds-plaintext", &serving.xds.to_string(), "--ttl", "10s"]);
    })
    .await?;
    agent.ready().await?;
    let (pid, mesh) = (agent.envoy()?, agent.mesh().await?);
    let mut client = Client::connect(&authority, mesh).await?;
    // Away for longer than half a life: renewal is tried then, and fails.
    authority.away(true);
    drop(serving);
    let refused = authority.refusals();
    authority.refused(refused + 3).await?;
    let held = agent.serial().await?;
    assert_eq!(client.get("/").await?, 200);
    // At the time of the test's start: whether the certificate has expired meanwhile is this machine's speed.
    let mut other = Client::connect(&authority, mesh).await?;
    assert_eq!(other.get("/").await?, 200);
    assert_eq!(agent.status("/healthz/ready").await?.status, 200);
    assert_eq!(agent.envoy()?, pid, "nothing restarts");
    authority.away(false);
    eventually("a new certificate", async || Ok(agent.serial().await? != held)).await?;
    assert_eq!(agent.envoy()?, pid, "nothing restarts");
    assert_eq!(client.get("/").await?, 200);
    agent.end().await
}

#[tokio::test]
async fn envoy_reaches_the_control_plane_with_its_certificate() -> Result<()> {
    let (authority, app) = (Authority::start().await?, App::start("app", "v1").await?);
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    // Takes TLS with a certificate of the mesh, and nothing else.
    let front = authority.front(serving.xds).await?;
    let agent = Agent::start(&authority, &app, |command| {
        command.args(["--xds", &front.to_string()]);
    })
    .await?;
    agent.ready().await?;
    assert_eq!(authority.came(), ["spiffe://cluster.local/ns/shop/sa/reviews"]);
    let status = ended(&["proxy-status", "--server", &serving.monitoring.to_string(), "-o", "json"]).await?;
    assert!(status.stdout.contains("app-1.shop"), "{status:?}");
    agent.end().await
}

#[tokio::test]
async fn a_wrong_answer_is_refused_and_the_certificate_before_stays() -> Result<()> {
    let (authority, app) = (Authority::start().await?, App::start("app", "v1").await?);
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let agent = Agent::start(&authority, &app, |command| {
        command.args(["--xds-plaintext", &serving.xds.to_string(), "--ttl", "60s"]);
        // After six seconds, long before the end.
        command.env("SECRET_GRACE_PERIOD_RATIO", "0.9").env("SECRET_GRACE_PERIOD_RATIO_JITTER", "0");
    })
    .await?;
    agent.ready().await?;
    authority.mistakes(true);
    agent
        .line(|line| {
            line.contains("is not taken") && line.contains("spiffe://cluster.local/ns/bank/sa/vault")
        })
        .await?;
    let held = agent.serial().await?;
    let counted = r#"meltemi_agent_certificates_total{outcome="Wrong"}"#;
    eventually("two of them", async || {
        let metrics = agent.status("/metrics").await?.text();
        let line = metrics.lines().find_map(|line| line.strip_prefix(counted)).context("not counted")?;
        Ok(line.trim().parse::<u64>()? >= 2)
    })
    .await?;
    assert_eq!(agent.serial().await?, held);
    let client = Client::connect(&authority, agent.mesh().await?).await?;
    assert_eq!(client.peer_name()?, REVIEWS);
    authority.mistakes(false);
    eventually("a right one", async || Ok(agent.serial().await? != held)).await?;
    agent.end().await
}

#[tokio::test]
async fn probes_that_injection_rewrote_reach_the_workload() -> Result<()> {
    let (authority, app) = (Authority::start().await?, App::start("app", "v1").await?);
    let port = app.address().port();
    let http = format!(r#"{{"httpGet":{{"path":"/ready?now","port":{port}}},"timeoutSeconds":30}}"#);
    let tcp = format!(r#"{{"tcpSocket":{{"port":{port}}},"timeoutSeconds":30}}"#);
    let probes = format!(r#"{{"/app-health/app/readyz":{http},"/app-health/app/livez":{tcp}}}"#);
    let agent = Agent::start(&authority, &app, |command| {
        // Nothing serves there: probes do not wait for Envoy.
        command.args(["--xds-plaintext", "127.0.0.1:1"]).env("ISTIO_KUBE_APP_PROBERS", &probes);
    })
    .await?;
    assert_eq!(agent.status("/app-health/app/readyz").await?.status, 200);
    assert_eq!(app.count(|seen| seen.path == "/ready?now"), 1);
    assert_eq!(agent.status("/app-health/app/livez").await?.status, 200);
    app.answer_with(Some(503));
    assert_eq!(agent.status("/app-health/app/readyz").await?.status, 503);
    drop(app);
    assert_eq!(agent.status("/app-health/app/livez").await?.status, 503, "nobody listens there");
    assert_eq!(agent.status("/app-health/app/startupz").await?.status, 404);
    agent.end().await
}

#[tokio::test]
async fn an_envoy_that_dies_is_started_again() -> Result<()> {
    let (authority, app) = (Authority::start().await?, App::start("app", "v1").await?);
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let agent = Agent::start(&authority, &app, |command| {
        command.args(["--xds-plaintext", &serving.xds.to_string()]);
    })
    .await?;
    agent.ready().await?;
    let first = agent.envoy()?;
    beside::signal(first, "KILL").await?;
    agent.line(|line| line.contains("Envoy ended") && line.contains("started again")).await?;
    eventually("another Envoy", async || Ok(agent.envoy()? != first)).await?;
    agent.ready().await?;
    let mut client = Client::connect(&authority, agent.mesh().await?).await?;
    assert_eq!(client.get("/").await?, 200);
    let metrics = agent.status("/metrics").await?.text();
    assert!(metrics.contains("meltemi_agent_envoy_starts_total 2"), "{metrics}");
    agent.end().await
}

#[tokio::test]
async fn at_the_end_a_request_under_way_is_answered() -> Result<()> {
    let (authority, app) = (Authority::start().await?, App::start("app", "v1").await?);
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let agent = Agent::start(&authority, &app, |command| {
        command.args(["--xds-plaintext", &serving.xds.to_string()]);
        command.env("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", "true").env("MINIMUM_DRAIN_DURATION", "1s");
    })
    .await?;
    agent.ready().await?;
    let mesh = agent.mesh().await?;
    let mut client = Client::connect(&authority, mesh).await?;
    app.forget();
    app.delay(Duration::from_secs(3));
    let request = client.get("/slow");
    let told = async {
        app.wait_for(1, LIMIT).await?;
        agent.terminate().await?;
        agent.line(|line| line.contains("Envoy drains its listeners")).await?;
        assert_eq!(agent.status("/healthz/ready").await?.status, 503, "nobody sends more");
        anyhow::Ok(())
    };
    let (answer, told) = tokio::join!(request, told);
    told?;
    assert_eq!(answer?, 200);
    drop(client);
    assert_eq!(agent.wait().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn metrics_of_agent_envoy_and_app_are_one_page() -> Result<()> {
    let (authority, app) = (Authority::start().await?, App::start("app", "v1").await?);
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let annotations =
        format!(r#"{{"scrape":"true","path":"/app-metrics","port":"{}"}}"#, app.address().port());
    let agent = Agent::start(&authority, &app, |command| {
        command.args(["--xds-plaintext", &serving.xds.to_string()]);
        command.env("ISTIO_PROMETHEUS_ANNOTATIONS", &annotations);
    })
    .await?;
    agent.ready().await?;
    for path in ["/metrics", "/stats/prometheus"] {
        let page = agent.status(path).await?;
        assert_eq!(page.status, 200);
        let text = page.text();
        let own = text.find("meltemi_agent_certificates_total").with_context(|| text.clone())?;
        let envoy = text.find("envoy_server_state").with_context(|| text.clone())?;
        let app = text.find(r#""path":"/app-metrics""#).with_context(|| text.clone())?;
        assert!(own < envoy && envoy < app);
        assert!(!text.contains("# EOF"), "it would hide what follows");
    }
    // Without the app, the rest is there.
    app.answer_with(Some(500));
    let text = agent.status("/metrics").await?.text();
    assert!(text.contains("envoy_server_state") && !text.contains("app-metrics"), "{text}");
    assert!(agent.status("/metrics").await?.text().contains("scrape_failures_total"), "it is counted");
    assert_eq!(agent.post("/quitquitquit").await?.status, 200);
    assert_eq!(agent.wait().await?, Some(0));
    Ok(())
}

#[tokio::test]
async fn an_injected_pod_s_arguments_and_variables_are_taken() -> Result<()> {
    let (authority, app) = (Authority::start().await?, App::start("app", "v1").await?);
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let agent = Agent::of_pod(&authority, &app, |command| {
        command.args(["--xds-plaintext", &serving.xds.to_string()]);
        command.args(["proxy", "sidecar", "--domain", "shop.svc.cluster.local", "--proxyLogLevel=warning"]);
        command.args(["--proxyComponentLogLevel=misc:error", "--log_output_level=default:info"]);
        command.env("ISTIO_META_WORKLOAD_NAME", "reviews").env("DNS_PROXY_ADDR", "localhost:15053");
    })
    .await?;
    agent.ready().await?;
    for said in ["--log_output_level", "DNS_PROXY_ADDR"] {
        agent.line(|line| line.contains(said) && line.contains("not supported")).await?;
    }
    let node = agent.bootstrap().await?["node"].clone();
    assert_eq!(node["id"], "sidecar~10.1.2.3~reviews-7.shop~shop.svc.cluster.local");
    assert_eq!(node["metadata"]["WORKLOAD_NAME"], "reviews");
    assert_eq!(node["metadata"]["SERVICE_ACCOUNT"], "reviews");
    assert_eq!(node["metadata"]["MELTEMI_CERTIFICATES"], "true");
    agent.end().await
}

#[tokio::test]
async fn neither_key_nor_token_is_written_anywhere() -> Result<()> {
    let (authority, app) = (Authority::start().await?, App::start("app", "v1").await?);
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let agent = Agent::start(&authority, &app, |command| {
        command.args(["--xds-plaintext", &serving.xds.to_string()]).env("RUST_LOG", "trace");
    })
    .await?;
    agent.ready().await?;
    assert!(agent.lines().iter().any(|line| line.contains("TRACE")), "it says all that it can");
    for line in agent.lines() {
        assert!(!line.contains(TOKEN) && !line.contains("PRIVATE KEY"), "{line}");
    }
    let mut files = 0;
    for entry in std::fs::read_dir(agent.folder())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files += 1;
            let text = String::from_utf8_lossy(&std::fs::read(entry.path())?).into_owned();
            assert!(!text.contains(TOKEN) && !text.contains("PRIVATE KEY"), "{}", entry.path().display());
        }
    }
    assert!(files > 1, "the bootstrap is one of them");
    agent.end().await
}

#[tokio::test]
async fn what_cannot_start_says_what_to_do() -> Result<()> {
    let nobody = ended(&["agent"]).await?;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.stderr.contains("--id NAME.NAMESPACE, or POD_NAME and POD_NAMESPACE"), "{nobody:?}");
    let other = ended(&["agent", "--id", "a.b", "--service-account", "c", "proxy", "waypoint"]).await?;
    assert!(other.stderr.contains("`proxy waypoint` is not served"), "{other:?}");
    Ok(())
}
