//! EnvoyFilters on real Envoys: what a patch does to requests, and what one that Envoy refuses does not.

use anyhow::{Context as _, Result, bail, ensure};
use meltemi_testkit::http::Request;
use meltemi_tests::live::{Form, World, rule, split};
use serde_json::Value;

/// An EnvoyFilter `name` in namespace `default` with these patches.
fn filter(name: &str, patches: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}, namespace: default}}
spec:
  configPatches:
{patches}"
    )
}

/// An HTTP filter before the router of what a caller sends.
fn before_router(name: &str, type_of: &str, config: &str) -> String {
    format!(
        "  - applyTo: HTTP_FILTER
    match:
      context: SIDECAR_OUTBOUND
      listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager, subFilter: {{name: envoy.filters.http.router}}}}}}}}
    patch:
      operation: INSERT_BEFORE
      value:
        name: {name}
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.http.{type_of}
{config}"
    )
}

fn lua(value: &str) -> String {
    let code = format!(
        "          default_source_code: {{inline_string: 'function envoy_on_response(handle) handle:headers():add(\"x-patched\", \"{value}\") end'}}\n"
    );
    filter("lua", &before_router("envoy.filters.http.lua", "lua.v3.Lua", &code))
}

/// Two requests, then none for an hour.
const LIMIT: &str = "  - applyTo: HTTP_ROUTE
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: 'one.default.svc.cluster.local:PORT'}}}
    patch:
      operation: MERGE
      value:
        typed_per_filter_config:
          envoy.filters.http.local_ratelimit:
            \"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
            stat_prefix: limit
            token_bucket: {max_tokens: 2, tokens_per_fill: 1, fill_interval: 3600s}
            filter_enabled: {default_value: {numerator: 100}}
            filter_enforced: {default_value: {numerator: 100}}
";

/// What Envoy has of clusters, listeners and routes, without when it came.
async fn configuration(world: &World) -> Result<Vec<Value>> {
    let dump = world.envoy()?.admin().json("/config_dump?include_eds").await?;
    let mut found = Vec::new();
    collect(&dump, &mut found);
    found.sort_by_key(Value::to_string);
    ensure!(!found.is_empty(), "nothing in {dump}");
    Ok(found)
}

/// The messages themselves, wherever they stand.
fn collect(value: &Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "cluster" | "listener" | "route_config" if value.get("@type").is_some() => {
                        let mut value = value.clone();
                        if let Some(hosts) = value.get_mut("virtual_hosts").and_then(Value::as_array_mut) {
                            hosts.sort_by_key(Value::to_string);
                        }
                        found.push(value);
                    }
                    _ => collect(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

async fn patches(form: Form) -> Result<()> {
    let mut world = World::new(form)?;
    let (_one, _two) = (world.app("one", "one").await?, world.app("two", "two").await?);
    world.start().await?;
    let before = configuration(&world).await?;

    // A filter of one's own.
    world.save("lua.yaml", &lua("yes")).await?;
    let answer = world.get("one").await?;
    ensure!(answer.status == 200 && answer.header("x-patched") == Some("yes"), "{answer:?}");
    world.save("lua.yaml", &lua("again")).await?;
    ensure!(world.get("two").await?.header("x-patched") == Some("again"));

    // A limit on the routes of one host.
    let empty = "          stat_prefix: limit\n";
    let type_of = "local_ratelimit.v3.LocalRateLimit";
    let limiter = before_router("envoy.filters.http.local_ratelimit", type_of, empty);
    let limit = LIMIT.replace("PORT", &world.port().to_string());
    world.save("limit.yaml", &filter("limit", &format!("{limiter}{limit}"))).await?;
    let tally = world.load("one").workers(1).requests(10).run().await;
    ensure!(tally.expect_all(200).is_err() && tally.version("one") <= 2, "{tally}");
    world.load("two").workers(1).requests(10).run().await.expect_all(200)?;

    // A cluster.
    let cluster = "  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND, cluster: {service: two.default.svc.cluster.local}}
    patch: {operation: MERGE, value: {circuit_breakers: {thresholds: [{priority: HIGH, max_connections: 77}]}}}
";
    world.save("cluster.yaml", &filter("cluster", cluster)).await?;
    let shown = configuration(&world).await?;
    ensure!(shown.iter().any(|found| found.to_string().contains("\"max_connections\":77")));
    world.load("two").workers(1).requests(10).run().await.expect_all(200)?;

    // All is as it was once they are gone.
    for file in ["cluster.yaml", "limit.yaml", "lua.yaml"] {
        world.remove(file).await?;
    }
    ensure!(world.get("one").await?.header("x-patched").is_none());
    let after = configuration(&world).await?;
    if after != before {
        let differing: Vec<_> = after.iter().filter(|found| !before.contains(found)).collect();
        bail!("what Envoy has is not as it was: {differing:?}");
    }
    world.end().await
}

#[tokio::test]
async fn patches_come_change_and_go() -> Result<()> {
    patches(Form::Delta).await
}

#[tokio::test]
async fn patches_come_change_and_go_on_state_of_the_world() -> Result<()> {
    patches(Form::StateOfTheWorld).await
}

/// A listener and a cluster that only Envoy can tell are wrong.
const BROKEN: &str = "  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND, cluster: {service: one.default.svc.cluster.local}}
    patch: {operation: MERGE, value: {connect_timeout: 0s}}
";

async fn broken(form: Form) -> Result<()> {
    let mut world = World::new(form)?;
    let (_one, _two) = (world.app("one", "one").await?, world.app("one", "two").await?);
    world.write("rule.yaml", &rule("one", &["one", "two"], ""))?;
    world.write("route.yaml", &split("one", &[("one", 100)]))?;
    world.start().await?;
    let load = world.load("one").workers(2).start();
    let router = before_router(
        "envoy.filters.http.lua",
        "lua.v3.Lua",
        "          default_source_code: {inline_string: 'this is no lua'}\n",
    );
    let both = filter("broken", &format!("{router}{BROKEN}"));
    world.save("broken.yaml", &both).await?;
    let server = world.server()?;
    server.says(&["made_from", "EnvoyFilter default/broken"]).await?;

    // Everything else goes on, on clusters and listeners that the patches are for.
    world.save("route.yaml", &split("one", &[("two", 100)])).await?;
    world.load("one").requests(20).run().await.expect_share("two", 1.0)?;
    let three = world.app("three", "three").await?;
    drop(three);

    // It says so itself: its object is not in force, and the proxies that lack it are named.
    let monitoring = server.addresses().monitoring.to_string();
    let wait = ["wait", "--server", &monitoring, "--timeout", "1s", "envoyfilter/broken"];
    let (code, said) = server.command(&wait).await?;
    ensure!(code != 0 && said.contains("refuse"), "exit {code}: {said}");
    let wait = ["wait", "--server", &monitoring, "--timeout", "60s", "virtualservice/one"];
    let (code, said) = server.command(&wait).await?;
    ensure!(code == 0, "exit {code}: {said}");

    // A proxy that comes now has no state of before, and is served without the patches.
    let load = {
        load.stop().await.expect_all(200)?;
        world.replace_envoy().await?;
        ensure!(world.answer("one").await? == (200, Some("two".to_owned())));
        world.load("one").workers(2).start()
    };

    // Mended, it is in force.
    let mended = both.replace(
        "this is no lua",
        "function envoy_on_response(handle) handle:headers():add(\"x-patched\", \"yes\") end",
    );
    let mended = mended.replace("connect_timeout: 0s", "connect_timeout: 3s");
    world.save("broken.yaml", &mended).await?;
    world.wait_for("broken.yaml").await?;
    ensure!(Request::get("/").host("one").send(world.address()).await?.header("x-patched") == Some("yes"));
    load.stop().await.expect_all(200)?;
    Ok(())
}

#[tokio::test]
async fn what_envoy_refuses_of_a_patch_is_named_and_everything_else_goes_on() -> Result<()> {
    broken(Form::Delta).await.context("delta")
}

#[tokio::test]
async fn what_envoy_refuses_of_a_patch_is_contained_on_state_of_the_world() -> Result<()> {
    broken(Form::StateOfTheWorld).await.context("state of the world")
}
