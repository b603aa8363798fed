//! How far a client sticks to what it met while a canary grows: to an endpoint of a version by hash, to the version itself by a cookie
//! that a route reads.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use meltemi_testkit::http::{App, Request, share_bound};
use meltemi_tests::live::{Form, World, rule, split, workload};

/// Requests on which a share is judged.
const SAMPLE: u64 = 2_000;

/// Requests that all must go one way.
const PROBES: u64 = 200;

/// Two endpoints of each version, which tell themselves apart: `v1-a`, `v1-b`, `v2-a`, `v2-b`.
async fn four(world: &World) -> Result<Vec<App>> {
    let mut apps = Vec::new();
    for name in ["v1-a", "v1-b", "v2-a", "v2-b"] {
        let app = App::start("myapp", name).await?;
        let entry = format!("myapp-{name}");
        world.write(&format!("{entry}.yaml"), &workload(&entry, "myapp", &name[..2], app.address()))?;
        apps.push(app);
    }
    Ok(apps)
}

/// How many requests of a user each endpoint got, those without any left out.
async fn asked_by(world: &World, user: &str) -> Result<BTreeMap<String, u64>> {
    let request = Request::get("/").host("myapp").header("x-user", user);
    let tally = world.load_of(request).requests(SAMPLE).run().await;
    tally.expect_all(200)?;
    let all = ["v1-a", "v1-b", "v2-a", "v2-b"].map(|name| (name.to_owned(), tally.version(name)));
    Ok(all.into_iter().filter(|(_, count)| *count > 0).collect())
}

/// The hash chooses the endpoint; the version is drawn by weight for each request (Envoy's `use_hash_policy` is not set, as in Istio).
#[tokio::test]
async fn a_hash_keeps_a_user_at_one_endpoint_of_each_version_and_not_at_a_version() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    world.write("myapp.yaml", &meltemi_tests::live::service("myapp", world.port()))?;
    let _apps = four(&world).await?;
    let hashed = "{loadBalancer: {consistentHash: {httpHeaderName: x-user}}}";
    world.write("rule.yaml", &rule("myapp", &["v1", "v2"], hashed))?;
    world.write("route.yaml", &split("myapp", &[("v1", 100), ("v2", 0)]))?;
    world.start().await?;
    let users = ["alice", "bob", "carol"];
    let mut met: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for share in [0.1, 0.5, 0.9] {
        let weight = (share * 100.0) as u32;
        world.save("route.yaml", &split("myapp", &[("v1", 100 - weight), ("v2", weight)])).await?;
        for user in users {
            let asked = asked_by(&world, user).await?;
            let endpoints: Vec<String> = asked.keys().cloned().collect();
            ensure!(endpoints.len() == 2, "{user} met {asked:?}: one of each version is expected");
            let canary: u64 = asked.iter().filter(|(name, _)| name.starts_with("v2")).map(|(_, n)| n).sum();
            let canary = canary as f64 / SAMPLE as f64;
            ensure!((canary - share).abs() <= share_bound(share, SAMPLE), "{user}: {canary}, not {share}");
            let before = met.entry(user).or_insert_with(|| endpoints.clone());
            ensure!(*before == endpoints, "{user} met {before:?}, and now {endpoints:?}");
        }
    }
    world.end().await
}

/// Who is on v2 gets a cookie there, and a rule before the weights sends who has it to v2.
#[tokio::test]
async fn a_cookie_keeps_who_is_on_the_canary_there_while_its_weight_grows() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let (_v1, _v2) = (world.app("myapp", "v1").await?, world.app("myapp", "v2").await?);
    let route = |weight: u32| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: myapp, namespace: default}}
spec:
  hosts: [myapp]
  http:
  - match: [{{headers: {{cookie: {{regex: '(.*;\\s*)?version=v2(;.*)?'}}}}}}]
    route: [{{destination: {{host: myapp, subset: v2}}}}]
  - route:
    - {{destination: {{host: myapp, subset: v1}}, weight: {}}}
    - destination: {{host: myapp, subset: v2}}
      weight: {weight}
      headers: {{response: {{set: {{Set-Cookie: version=v2}}}}}}
",
            100 - weight
        )
    };
    world.write("rule.yaml", &rule("myapp", &["v1", "v2"], ""))?;
    world.write("route.yaml", &route(10))?;
    world.start().await?;
    let mut cookie = None;
    for _ in 0..SAMPLE {
        let answer = world.get("myapp").await?;
        ensure!((answer.version() == Some("v2")) == answer.header("set-cookie").is_some());
        if let Some(found) = answer.header("set-cookie") {
            cookie = Some(found.to_owned());
            break;
        }
    }
    let Some(cookie) = cookie else { anyhow::bail!("none of {SAMPLE} requests met the canary") };
    for weight in [20, 50, 90] {
        world.save("route.yaml", &route(weight)).await?;
        let request = Request::get("/").host("myapp").header("cookie", &format!("theme=dark; {cookie}"));
        let tally = world.load_of(request).requests(PROBES).run().await;
        tally.expect_all(200)?;
        tally.expect_share("v2", 1.0)?;
    }
    world.end().await
}

/// A WorkloadEntry of `cart` that tells itself by its version, with more labels.
fn of_cart(app: &App, version: &str, labels: &str) -> String {
    let entry = workload(&format!("cart-{version}"), "cart", version, app.address());
    entry.replace("labels: {", &format!("labels: {{{labels}"))
}

/// `PILOT_ENABLE_PERSISTENT_SESSION_FILTER` of Istio: the endpoint itself is in the cookie, so that nothing but the endpoint's end ends the session.
#[tokio::test]
async fn who_has_a_session_stays_with_its_endpoint_also_while_that_one_drains() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let service = meltemi_tests::live::service("cart", world.port());
    let labelled = |label: &str| {
        service.replace("namespace: default}", &format!("namespace: default, labels: {{{label}}}}}"))
    };
    world.write("cart.yaml", &labelled("istio.io/persistent-session: cart-session"))?;
    let mut apps = Vec::new();
    for version in ["a", "b", "c"] {
        let app = App::start("cart", version).await?;
        world.write(&format!("{version}.yaml"), &of_cart(&app, version, ""))?;
        apps.push((version, app));
    }
    world.start().await?;

    // Whoever has no session yet is given one, and is anywhere.
    let answer = world.get("cart").await?;
    let given = answer.header("set-cookie").unwrap_or_default().to_owned();
    ensure!(given.starts_with("cart-session="), "no session was given: {answer:?}");
    let cookie = given.split(';').next().unwrap_or_default().to_owned();
    let met = answer.version().unwrap_or_default().to_owned();
    let all = world.load("cart").requests(SAMPLE).run().await;
    ensure!(["a", "b", "c"].iter().all(|version| all.version(version) > 0), "{all:?}");
    // Whoever has one stays.
    let kept = || Request::get("/").host("cart").header("cookie", &format!("theme=dark; {cookie}"));
    let stay = async |who: &str| {
        let tally = world.load_of(kept()).requests(PROBES).run().await;
        tally.expect_all(200)?;
        ensure!(tally.version(&met) == PROBES, "{who}: {tally:?}");
        anyhow::Ok(())
    };
    stay("with all endpoints").await?;
    // The endpoint drains: those who have a session with it stay, and nobody else comes.
    let Some((_, app)) = apps.iter().find(|(version, _)| *version == met) else {
        anyhow::bail!("answered by {met}")
    };
    world.save(&format!("{met}.yaml"), &of_cart(app, &met, "istio.io/draining: 'yes', ")).await?;
    stay("while it drains").await?;
    let others = world.load("cart").requests(PROBES).run().await;
    others.expect_all(200)?;
    ensure!(others.version(&met) == 0, "new clients came to an endpoint that drains: {others:?}");
    // It ends: the session goes on elsewhere.
    world.remove(&format!("{met}.yaml")).await?;
    let moved = kept().send(world.address()).await?;
    ensure!(moved.status == 200 && moved.version() != Some(met.as_str()), "{moved:?}");

    // By a header, which the client sends again itself.
    world.save("cart.yaml", &labelled("istio.io/persistent-session-header: x-cart")).await?;
    let answer = world.get("cart").await?;
    let session = answer.header("x-cart").unwrap_or_default().to_owned();
    ensure!(!session.is_empty(), "no session was given: {answer:?}");
    let request = Request::get("/").host("cart").header("x-cart", &session);
    let tally = world.load_of(request).requests(PROBES).run().await;
    ensure!(tally.version(answer.version().unwrap_or_default()) == PROBES, "{tally:?}");
    world.end().await
}
