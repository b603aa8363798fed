//! Which endpoints get requests by where they run, on live traffic: who takes over, shares, labels; and what a retry budget bounds.
//! Shares of N requests are judged as in `live_strategies`.

use anyhow::{Result, ensure};
use meltemi_testkit::http::{App, Request};
use meltemi_tests::live::{Form, World, eventually, rule, workload};

/// Requests on which a share is judged.
const SAMPLE: u64 = 2_000;

/// Requests that all must go one way.
const PROBES: u64 = 200;

/// The client: `version` is a label of its, and it runs in zone eu-1.
fn client(version: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: client, namespace: default, labels: {{app: client, version: {version}}}}}
spec: {{nodeName: n1, containers: []}}
---
apiVersion: v1
kind: Node
metadata: {{name: n1, labels: {{topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1}}}}
"
    )
}

/// A client in eu/eu-1, and one endpoint of `myapp` there, one in the next zone, one in another region: `here`, `near`, `far`.
struct Places {
    world: World,
    here: App,
    near: App,
    far: App,
}

impl Places {
    async fn start(policy: &str) -> Result<Self> {
        let mut world = World::new(Form::Delta)?;
        let (here, near) = (world.app("myapp", "here").await?, world.app("myapp", "near").await?);
        let far = world.app("myapp", "far").await?;
        let places = [(&here, "here", "eu/eu-1"), (&near, "near", "eu/eu-2"), (&far, "far", "us/us-1")];
        for (app, version, locality) in places {
            let name = format!("myapp-{version}");
            let entry = workload(&name, "myapp", version, app.address());
            world.write(&format!("{name}.yaml"), &format!("{entry}  locality: {locality}\n"))?;
        }
        world.write("client.yaml", &client("far"))?;
        world.write("rule.yaml", &rule("myapp", &[], policy))?;
        world.start().await?;
        Ok(Self { world, here, near, far })
    }

    fn stat(&self, name: &str) -> String {
        format!("cluster.outbound|{}||myapp.default.svc.cluster.local;.{name}", self.world.port())
    }

    async fn all_go_to(&self, version: &str) -> Result<()> {
        let tally = self.world.load("myapp").requests(PROBES).run().await;
        tally.expect_all(200)?;
        tally.expect_share(version, 1.0)
    }

    /// The app fails until its endpoint is set aside, with so many at once.
    async fn fails(&self, app: &App, at_once: u64) -> Result<()> {
        app.answer_with(Some(500));
        let load = self.world.load("myapp").workers(1).start();
        let reached =
            self.world.stat_reaches(&self.stat("outlier_detection.ejections_active"), at_once).await;
        load.stop().await;
        reached?;
        // Envoy's main thread knows; workers learn of changes of health once a second at most (`update_merge_window`).
        eventually(async || {
            let (status, version) = self.world.answer("myapp").await?;
            ensure!(status == 200, "{status} of {version:?}");
            Ok(())
        })
        .await
    }
}

/// Sets aside at the third failure.
fn outliers(ejection: &str) -> String {
    format!(
        "outlierDetection: {{consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: {ejection}, maxEjectionPercent: 100}}"
    )
}

#[tokio::test]
async fn who_fails_is_followed_by_the_next_zone_then_by_another_region_and_comes_back() -> Result<()> {
    // Outliers alone: Istio's failover by place is on where nobody says otherwise.
    let places = Places::start(&format!("{{{}}}", outliers("300s"))).await?;
    places.all_go_to("here").await?;
    places.fails(&places.here, 1).await?;
    places.all_go_to("near").await?;
    places.fails(&places.near, 2).await?;
    places.all_go_to("far").await?;

    // A rule with a shorter time: the cluster is a new one, and knows of no failure.
    places.here.answer_with(None);
    places.near.answer_with(None);
    places.world.save("rule.yaml", &rule("myapp", &[], &format!("{{{}}}", outliers("1s")))).await?;
    places.all_go_to("here").await?;
    places.here.answer_with(Some(500));
    let load = places.world.load("myapp").workers(1).start();
    let reached =
        places.world.stat_reaches(&places.stat("outlier_detection.ejections_enforced_total"), 1).await;
    places.here.answer_with(None);
    load.stop().await;
    reached?;
    // It is sound again, and gets its requests back when its time is over.
    eventually(async || {
        let (status, version) = places.world.answer("myapp").await?;
        ensure!(status == 200 && version.as_deref() == Some("here"), "{status} {version:?}");
        Ok(())
    })
    .await?;
    places.world.end().await
}

#[tokio::test]
async fn labels_and_shares_say_where_requests_go() -> Result<()> {
    let labels = "loadBalancer: {localityLbSetting: {failoverPriority: [version]}}";
    let places = Places::start(&format!("{{{labels}, {}}}", outliers("300s"))).await?;
    // The client's own label, whatever its place; then another one, and one that the rule names itself.
    places.all_go_to("far").await?;
    places.world.save("client.yaml", &client("near")).await?;
    places.all_go_to("near").await?;
    let named = labels.replace("[version]", "[version=here]");
    let named = rule("myapp", &[], &format!("{{{named}, {}}}", outliers("300s")));
    places.world.save("rule.yaml", &named).await?;
    places.all_go_to("here").await?;
    places.fails(&places.here, 1).await?;
    let tally = places.world.load("myapp").requests(SAMPLE).run().await;
    tally.expect_all(200)?;
    tally.expect_share("near", 0.5)?;
    places.here.answer_with(None);

    let to = "{eu/eu-1/*: 70, eu/eu-2/*: 20, us: 10}";
    let shares = format!("distribute: [{{from: us/*, to: {{us: 100}}}}, {{from: eu/*, to: {to}}}]");
    let shares = format!("{{loadBalancer: {{localityLbSetting: {{{shares}}}}}}}");
    places.world.save("rule.yaml", &rule("myapp", &[], &shares)).await?;
    let tally = places.world.load("myapp").requests(SAMPLE).run().await;
    tally.expect_all(200)?;
    for (version, share) in [("here", 0.7), ("near", 0.2), ("far", 0.1)] {
        tally.expect_share(version, share)?;
    }

    // Nothing for the others, and where the client runs decides.
    let rule = rule("myapp", &[], &shares.replace(to, "{eu/eu-2: 100}"));
    places.world.save("rule.yaml", &rule).await?;
    places.all_go_to("near").await?;
    ensure!(places.far.total() > 0);
    places.world.end().await
}

#[tokio::test]
async fn a_retry_budget_bounds_retries_and_says_so() -> Result<()> {
    let retries = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: myapp, namespace: default}
spec:
  hosts: [myapp]
  http: [{route: [{destination: {host: myapp}}], retries: {attempts: 5, retryOn: '503', backoff: 1ms}}]
";
    let mut world = World::new(Form::Delta)?;
    let app = world.app("myapp", "v1").await?;
    world.write("route.yaml", retries)?;
    world.start().await?;
    // So that retries meet.
    app.delay(std::time::Duration::from_millis(5));
    app.answer_with(Some(503));
    let cluster = format!("cluster.outbound|{}||myapp.default.svc.cluster.local;", world.port());
    let overflow = format!("{cluster}.upstream_rq_retry_overflow");
    let load = || world.load_of(Request::get("/").host("myapp")).workers(8);
    load().requests(PROBES).run().await.expect_all(503)?;
    ensure!(world.envoy()?.admin().stat(&overflow).await? == 0, "without a budget there is no limit");
    ensure!(world.envoy()?.admin().stat(&format!("{cluster}.upstream_rq_retry")).await? > 0);

    let budget = "{retryBudget: {percent: 0, minRetryConcurrency: 1}}";
    world.save("rule.yaml", &rule("myapp", &[], budget)).await?;
    let load = load().start();
    let reached = world.stat_reaches(&overflow, 1).await;
    load.stop().await;
    reached?;
    world.end().await
}
