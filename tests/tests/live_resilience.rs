//! What protects a caller, on live traffic: retries, timeouts, faults, circuit breakers, outlier ejection.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use meltemi_testkit::http::{App, Request, share_bound};
use meltemi_tests::live::{Form, World, free_port, rule, workload};

/// Longer than any answer that waits for nothing, also on a machine that is busy building; shorter than what the app takes (30 s).
const AT_ONCE: Duration = Duration::from_secs(20);

/// How long an event is waited for.
const LIMIT: Duration = Duration::from_secs(60);

/// Envoy counts a timer's milliseconds from the start of the round of its loop that sets it, so that it may end this much early.
const EARLY: Duration = Duration::from_millis(50);

/// A world with one app, `myapp` v1, and nothing about its traffic yet.
async fn one_version() -> Result<(World, App)> {
    let mut world = World::new(Form::Delta)?;
    let app = world.app("myapp", "v1").await?;
    world.start().await?;
    Ok((world, app))
}

/// A VirtualService of `myapp` whose rules are those lines.
fn rules(http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: myapp, namespace: default}}
spec:
  hosts: [myapp]
  http:
{http}"
    )
}

/// To `myapp`, with those further fields.
fn rule_with(fields: &str) -> String {
    rules(&format!("  - route: [{{destination: {{host: myapp}}}}]\n    {fields}\n"))
}

#[tokio::test]
async fn a_request_that_fails_once_is_tried_again() -> Result<()> {
    let (world, app) = one_version().await?;
    world.save("route.yaml", &rule_with("retries: {attempts: 0}")).await?;
    app.fail_next(1, 500);
    ensure!(world.get("myapp").await?.status == 500);

    world.save("route.yaml", &rule_with("retries: {attempts: 2, retryOn: 5xx}")).await?;
    app.forget();
    app.fail_next(1, 500);
    ensure!(world.get("myapp").await?.status == 200);
    ensure!(app.total() == 2, "{} tries", app.total());

    // Two further tries are all there are.
    app.forget();
    app.fail_next(3, 500);
    ensure!(world.get("myapp").await?.status == 500);
    ensure!(app.total() == 3, "{} tries", app.total());

    // Istio's default: another endpoint is tried when the server did not begin to answer, and only then.
    world.remove("route.yaml").await?;
    app.forget();
    app.fail_next(1, 503);
    ensure!(world.get("myapp").await?.status == 503);
    ensure!(app.total() == 1, "{} tries", app.total());
    // By turns, so that the next try is at the other endpoint for sure.
    world.save("rule.yaml", &rule("myapp", &[], "{loadBalancer: {simple: ROUND_ROBIN}}")).await?;
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    world.save("nobody.yaml", &workload("nobody", "myapp", "v1", nobody)).await?;
    world.load("myapp").requests(200).run().await.expect_all(200)?;
    let cluster = format!("cluster.outbound|{}||myapp.default.svc.cluster.local;", world.port());
    ensure!(world.envoy()?.admin().stat(&format!("{cluster}.upstream_rq_retry_success")).await? > 0);
    world.end().await
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_a_504() -> Result<()> {
    let (world, app) = one_version().await?;
    app.delay(Duration::from_secs(30));
    world.save("route.yaml", &rule_with("timeout: 300ms")).await?;
    let answer = world.get("myapp").await?;
    ensure!(answer.status == 504, "{}", answer.status);
    ensure!(answer.took >= Duration::from_millis(300) - EARLY && answer.took < AT_ONCE, "{:?}", answer.took);
    app.delay(Duration::ZERO);
    ensure!(world.get("myapp").await?.status == 200);

    // A try has a limit of its own; the app saw each.
    world
        .save("route.yaml", &rule_with("retries: {attempts: 2, perTryTimeout: 100ms, retryOn: 5xx}"))
        .await?;
    app.forget();
    app.delay(Duration::from_secs(30));
    let answer = world.get("myapp").await?;
    ensure!(answer.status == 504 && answer.took < AT_ONCE, "{} after {:?}", answer.status, answer.took);
    ensure!(app.total() == 3, "{} tries", app.total());
    world.end().await
}

/// Of 2,000 requests, 30 % ± 4.6 (4.5 standard deviations) are aborted.
#[tokio::test]
async fn a_fault_aborts_its_share_and_delays_whom_it_names() -> Result<()> {
    let (world, app) = one_version().await?;
    world
        .save("route.yaml", &rule_with("fault: {abort: {httpStatus: 418, percentage: {value: 30}}}"))
        .await?;
    app.forget();
    let tally = world.load("myapp").requests(2_000).run().await;
    tally.expect_share("v1", 0.7)?;
    let aborted = tally.statuses.get(&418).copied().unwrap_or_default();
    ensure!(tally.statuses.keys().all(|status| [200, 418].contains(status)), "{tally}");
    ensure!((aborted as f64 / 2_000.0 - 0.3).abs() <= share_bound(0.3, 2_000), "{tally}");
    ensure!(app.total() == 2_000 - aborted, "the app saw {} of {tally}", app.total());

    let delay = Duration::from_millis(700) - EARLY;
    world
        .save(
            "route.yaml",
            &rules(
                "  - match: [{headers: {x-slow: {exact: 'yes'}}}]
    fault: {delay: {fixedDelay: 700ms, percentage: {value: 100}}}
    route: [{destination: {host: myapp}}]
  - route: [{destination: {host: myapp}}]
",
            ),
        )
        .await?;
    let slow = Request::get("/").host("myapp").header("x-slow", "yes");
    let tally = world.load_of(slow).requests(8).run().await;
    tally.expect_all(200)?;
    ensure!(tally.percentile(0.0) >= delay, "answered after {:?}", tally.percentile(0.0));
    let tally = world.load("myapp").requests(200).run().await;
    tally.expect_all(200)?;
    ensure!(tally.percentile(0.5) < delay, "others are delayed, too: {:?}", tally.percentile(0.5));
    world.end().await
}

#[tokio::test]
async fn a_breaker_opens_when_too_many_requests_wait() -> Result<()> {
    let (world, app) = one_version().await?;
    let pool = "{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}";
    world.save("rule.yaml", &rule("myapp", &[], pool)).await?;
    let cluster = format!("cluster.outbound|{}||myapp.default.svc.cluster.local", world.port());
    let admin = world.envoy()?.admin();
    let one = || world.load("myapp").workers(1).requests(1);
    // The one connection is made by a request of its own: while it is being made, a request counts as one that waits.
    one().run().await.expect_all(200)?;
    app.forget();
    app.hold();
    let under_way = one().start();
    app.wait_for(1, LIMIT).await?;
    let waits = one().start();
    world.stat_reaches(&format!("{cluster};.upstream_rq_pending_active"), 1).await?;
    // Each further one is refused, by Envoy: the app answers nobody now.
    world.load("myapp").workers(6).requests(6).run().await.expect_all(503)?;
    ensure!(admin.stat(&format!("{cluster};.upstream_rq_pending_overflow")).await? == 6);
    app.release();
    for running in [under_way, waits] {
        running.done().await.expect_all(200)?;
    }
    ensure!(app.total() == 2, "{} requests came through", app.total());

    // With room to wait, all are answered, over no more connections than are allowed.
    app.delay(Duration::from_millis(10));
    let pool = "{connectionPool: {tcp: {maxConnections: 2}, http: {http1MaxPendingRequests: 100}}}";
    world.save("rule.yaml", &rule("myapp", &[], pool)).await?;
    world.load("myapp").workers(8).requests(80).run().await.expect_all(200)?;
    ensure!(admin.stat(&format!("{cluster};.upstream_cx_overflow")).await? > 0);
    ensure!(admin.stat(&format!("{cluster};.upstream_cx_active")).await? <= 2);
    world.end().await
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_ejected() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let _good = world.app("myapp", "v1").await?;
    let bad = App::start("myapp", "bad").await?;
    bad.answer_with(Some(500));
    world.write("bad.yaml", &workload("bad", "myapp", "v1", bad.address()))?;
    world.write("route.yaml", &rule_with("retries: {attempts: 0}"))?;
    let policy = "{outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 300s, maxEjectionPercent: 50}}";
    world.write("rule.yaml", &rule("myapp", &[], policy))?;
    world.start().await?;

    let load = world.load("myapp").workers(1).start();
    let cluster = format!("cluster.outbound|{}||myapp.default.svc.cluster.local", world.port());
    world.stat_reaches(&format!("{cluster};.outlier_detection.ejections_active"), 1).await?;
    let tally = load.stop().await;
    // Three failures in a row eject; a few more requests may be under way until the worker hears of it.
    let failed = tally.statuses.get(&500).copied().unwrap_or_default();
    ensure!((3..=10).contains(&failed), "{failed} failures before the ejection: {tally}");
    world.settle().await;
    bad.forget();
    let tally = world.load("myapp").requests(200).run().await;
    tally.expect_all(200)?;
    tally.expect_share("v1", 1.0)?;
    ensure!(bad.total() == 0, "an ejected endpoint got {} requests", bad.total());
    world.end().await
}
