//! Release strategies on live traffic. A share of N requests is right within 4.5 standard deviations of the binomial distribution
//! (`share_bound`): of 2,000 requests, 10 % ± 3.0 and 50 % ± 5.0; a right split is called wrong once in 150,000 checks. 0 % and 100 % are
//! exact.

use std::time::Duration;

use anyhow::{Result, ensure};
use meltemi_testkit::http::{App, Request, share_bound};
use meltemi_tests::live::{Form, World, rule, split};

/// Requests on which a share is judged.
const SAMPLE: u64 = 2_000;

/// Requests that all must go one way.
const PROBES: u64 = 200;

/// Longer than any copy takes on its way to a mirror.
const LIMIT: Duration = Duration::from_secs(60);

async fn two_versions(form: Form) -> Result<(World, App, App)> {
    let mut world = World::new(form)?;
    let (v1, v2) = (world.app("myapp", "v1").await?, world.app("myapp", "v2").await?);
    world.write("rule.yaml", &rule("myapp", &["v1", "v2"], ""))?;
    world.write("route.yaml", &split("myapp", &[("v1", 100), ("v2", 0)]))?;
    world.start().await?;
    Ok((world, v1, v2))
}

async fn canary(form: Form) -> Result<()> {
    let (world, _v1, _v2) = two_versions(form).await?;
    for (weight, share) in [(10, 0.1), (50, 0.5), (100, 1.0), (10, 0.1), (0, 0.0)] {
        world.save("route.yaml", &split("myapp", &[("v1", 100 - weight), ("v2", weight)])).await?;
        let tally = world.load("myapp").requests(SAMPLE).run().await;
        tally.expect_all(200)?;
        tally.expect_share("v2", share)?;
        tally.expect_share("v1", 1.0 - share)?;
    }
    world.end().await
}

#[tokio::test]
async fn a_canary_gets_the_share_that_its_weight_says() -> Result<()> {
    canary(Form::Delta).await
}

#[tokio::test]
async fn a_canary_gets_its_share_on_state_of_the_world_too() -> Result<()> {
    canary(Form::StateOfTheWorld).await
}

async fn mirror(form: Form) -> Result<()> {
    let (world, _v1, v2) = two_versions(form).await?;
    let mirrored = |percent: &str| {
        format!(
            "apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {{name: myapp}}
spec:
  hosts: [myapp]
  http:
  - route: [{{destination: {{host: myapp, subset: v1}}}}]
    mirror: {{host: myapp, subset: v2}}
    {percent}
"
        )
    };
    world.save("route.yaml", &mirrored("mirrorPercent: 100")).await?;
    v2.forget();
    let tally = world.load("myapp").requests(SAMPLE).run().await;
    tally.expect_all(200)?;
    tally.expect_share("v1", 1.0)?;
    v2.wait_for(SAMPLE, LIMIT).await?;
    ensure!(v2.total() == SAMPLE, "{} copies of {SAMPLE} requests", v2.total());

    world.save("route.yaml", &mirrored("mirrorPercentage: {value: 50}")).await?;
    v2.forget();
    world.load("myapp").requests(SAMPLE).run().await.expect_share("v1", 1.0)?;
    let least = 0.5 - share_bound(0.5, SAMPLE);
    v2.wait_for((least * SAMPLE as f64).ceil() as u64, LIMIT).await?;
    let share = v2.total() as f64 / SAMPLE as f64;
    ensure!(share <= 0.5 + share_bound(0.5, SAMPLE), "{share} of the requests were copied, not half");

    // A mirror that fails, that is slow, and that is gone: the client sees nothing of it.
    world.save("route.yaml", &mirrored("mirrorPercentage: {value: 100}")).await?;
    v2.answer_with(Some(500));
    world.load("myapp").requests(PROBES).run().await.expect_all(200)?;
    // Its answers come after the test: whoever waits for one gets none.
    v2.hold();
    let tally = world.load("myapp").requests(PROBES).run().await;
    tally.expect_all(200)?;
    tally.expect_share("v1", 1.0)?;
    drop(v2);
    let tally = world.load("myapp").requests(PROBES).run().await;
    tally.expect_all(200)?;
    tally.expect_share("v1", 1.0)?;
    world.end().await
}

#[tokio::test]
async fn a_mirror_gets_its_copies_and_never_answers_the_client() -> Result<()> {
    mirror(Form::Delta).await
}

#[tokio::test]
async fn a_mirror_on_state_of_the_world_never_answers_the_client() -> Result<()> {
    mirror(Form::StateOfTheWorld).await
}

async fn ab_test(form: Form) -> Result<()> {
    let (world, _v1, _v2) = two_versions(form).await?;
    world
        .save(
            "route.yaml",
            "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: myapp, namespace: default}
spec:
  hosts: [myapp]
  http:
  - match:
    - headers: {x-user: {regex: '^(user-[0-9]{3}|user-[0-9]{4})$'}}
    - headers: {cookie: {regex: '^(.*;\\s*)?group=b(;.*)?$'}}
    - queryParams: {version: {exact: b}}
    - uri: {prefix: /beta}
      withoutHeaders: {x-stable: {}}
    route: [{destination: {host: myapp, subset: v2}}]
  - route: [{destination: {host: myapp, subset: v1}}]
",
        )
        .await?;
    let get = |path: &str| Request::get(path).host("myapp");
    let cases = [
        (get("/"), "v1"),
        (get("/").header("x-user", "user-123"), "v2"),
        (get("/").header("x-user", "user-1234"), "v2"),
        (get("/").header("x-user", "user-12"), "v1"),
        (get("/").header("cookie", "theme=dark; group=b"), "v2"),
        (get("/").header("cookie", "theme=dark; group=bb"), "v1"),
        (get("/?version=b"), "v2"),
        (get("/?version=c"), "v1"),
        (get("/beta/x"), "v2"),
        (get("/beta/x").header("x-stable", "yes"), "v1"),
    ];
    for (index, (request, version)) in cases.into_iter().enumerate() {
        let tally = world.load_of(request).requests(PROBES).run().await;
        tally.expect_all(200)?;
        tally.expect_share(version, 1.0).map_err(|error| error.context(format!("case {index}")))?;
    }
    world.end().await
}

#[tokio::test]
async fn an_ab_test_goes_by_header_cookie_query_and_path() -> Result<()> {
    ab_test(Form::Delta).await
}

#[tokio::test]
async fn an_ab_test_goes_the_same_way_on_state_of_the_world() -> Result<()> {
    ab_test(Form::StateOfTheWorld).await
}
