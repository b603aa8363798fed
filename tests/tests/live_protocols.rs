//! gRPC and WebSocket through a sidecar: canaries by header and by weight, retries, a timeout, and connections that outlive a step.
//!
//! The gRPC service is made by hand from tonic's own parts, with texts for messages: any service is the same to a proxy.

#[path = "live_protocols/grpc.rs"]
mod grpc;
#[path = "live_protocols/websocket.rs"]
mod websocket;

use anyhow::{Result, ensure};
use meltemi_testkit::http::share_bound;
use meltemi_tests::live::{Form, World, rule};
use tonic::Code;

use grpc::{Caller, Greeter};

/// Calls on which a share is judged; see `live_strategies`.
const SAMPLE: u64 = 1_000;

/// Calls that all must go one way.
const PROBES: u64 = 50;

/// A Service `name` with one port of that name, `grpc` or `http`.
fn service(name: &str, speaks: &str, port: u16) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: {speaks}, port: {port}}}]
"
    )
}

fn workload(app: &str, version: &str, speaks: &str, port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {app}-{version}, namespace: default}}
spec: {{address: 127.0.0.1, ports: {{{speaks}: {port}}}, labels: {{app: {app}, version: {version}}}}}
"
    )
}

fn route(name: &str, http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: default}}
spec: {{hosts: [{name}], http: [{http}]}}
"
    )
}

fn split(name: &str, v1: u32, v2: u32, more: &str) -> String {
    let http = format!(
        "{{route: [{{destination: {{host: {name}, subset: v1}}, weight: {v1}}}, {{destination: {{host: {name}, subset: v2}}, weight: {v2}}}]{more}}}"
    );
    route(name, &http)
}

/// Two versions of `greeter`, all calls to v1.
async fn greeters() -> Result<(World, Greeter, Greeter, Caller)> {
    let mut world = World::new(Form::Delta)?;
    let (v1, v2) = (Greeter::start("v1").await?, Greeter::start("v2").await?);
    world.write("greeter.yaml", &service("greeter", "grpc", world.port()))?;
    for (version, greeter) in [("v1", &v1), ("v2", &v2)] {
        let entry = workload("greeter", version, "grpc", greeter.port());
        world.write(&format!("greeter-{version}.yaml"), &entry)?;
    }
    world.write("rule.yaml", &rule("greeter", &["v1", "v2"], ""))?;
    world.write("route.yaml", &split("greeter", 100, 0, ""))?;
    world.start().await?;
    let caller = Caller::connect(world.address(), "greeter").await?;
    Ok((world, v1, v2, caller))
}

#[tokio::test]
async fn grpc_goes_by_weight_and_by_header_call_by_call_on_one_connection() -> Result<()> {
    let (world, _v1, _v2, mut caller) = greeters().await?;
    for _ in 0..PROBES {
        ensure!(caller.unary("hello", None).await?.0 == "v1");
    }
    world.save("route.yaml", &split("greeter", 70, 30, "")).await?;
    let mut v2 = 0;
    for _ in 0..SAMPLE {
        v2 += u64::from(caller.unary("hello", None).await?.0 == "v2");
    }
    let share = v2 as f64 / SAMPLE as f64;
    ensure!((share - 0.3).abs() <= share_bound(0.3, SAMPLE), "{share} of the calls, not 0.3");

    let by_header = "{match: [{headers: {x-user: {exact: tester}}}], route: [{destination: {host: greeter, subset: v2}}]}, {route: [{destination: {host: greeter, subset: v1}}]}";
    world.save("route.yaml", &route("greeter", by_header)).await?;
    for _ in 0..PROBES {
        ensure!(caller.unary("hello", None).await?.0 == "v1");
        ensure!(caller.unary("hello", Some(("x-user", "tester"))).await?.0 == "v2");
    }
    world.end().await
}

#[tokio::test]
async fn a_grpc_stream_stays_where_it_is_while_weights_change() -> Result<()> {
    let (world, _v1, _v2, mut caller) = greeters().await?;
    let mut conversation = caller.converse().await?;
    ensure!(conversation.say("one").await? == "v1: one");
    world.save("route.yaml", &split("greeter", 0, 100, "")).await?;
    ensure!(caller.unary("hello", None).await?.0 == "v2");
    ensure!(conversation.say("two").await? == "v1: two");
    conversation.end().await?;
    let mut conversation = caller.converse().await?;
    ensure!(conversation.say("three").await? == "v2: three");
    conversation.end().await?;
    world.end().await
}

#[tokio::test]
async fn a_grpc_call_is_tried_again_when_its_server_is_unavailable() -> Result<()> {
    let (world, v1, _v2, mut caller) = greeters().await?;
    let without = "{retries: {attempts: 0}, route: [{destination: {host: greeter, subset: v1}}]}";
    world.save("route.yaml", &route("greeter", without)).await?;
    v1.fail_next(1);
    let status = caller.unary("hello", None).await.err();
    ensure!(status.as_ref().is_some_and(|status| status.code() == Code::Unavailable), "{status:?}");
    let with =
        "{retries: {attempts: 3, retryOn: unavailable}, route: [{destination: {host: greeter, subset: v1}}]}";
    world.save("route.yaml", &route("greeter", with)).await?;
    let before = v1.calls();
    v1.fail_next(2);
    ensure!(caller.unary("hello", None).await?.0 == "v1");
    ensure!(v1.calls() == before + 3, "{} tries", v1.calls() - before);
    world.end().await
}

#[tokio::test]
async fn a_grpc_call_that_takes_too_long_is_ended_as_its_route_says() -> Result<()> {
    let (world, v1, _v2, mut caller) = greeters().await?;
    let limited =
        "{timeout: 200ms, retries: {attempts: 0}, route: [{destination: {host: greeter, subset: v1}}]}";
    world.save("route.yaml", &route("greeter", limited)).await?;
    v1.hold();
    let status = caller.unary("hello", None).await.err();
    // Envoy's own 504, in the words of gRPC; or the server's, which Envoy told the limit (`grpc-timeout`): whose comes first is open.
    let ended = |code| matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled);
    ensure!(status.as_ref().is_some_and(|status| ended(status.code())), "{status:?}");
    world.save("route.yaml", &split("greeter", 0, 100, "")).await?;
    ensure!(caller.unary("hello", None).await?.0 == "v2");
    world.end().await
}

#[tokio::test]
async fn a_websocket_stays_open_while_weights_change() -> Result<()> {
    let mut world = World::new(Form::Delta)?;
    let (v1, v2) = (websocket::Chat::start("v1").await?, websocket::Chat::start("v2").await?);
    world.write("chat.yaml", &service("chat", "http", world.port()))?;
    for (version, chat) in [("v1", &v1), ("v2", &v2)] {
        let entry = workload("chat", version, "http", chat.port());
        world.write(&format!("chat-{version}.yaml"), &entry)?;
    }
    world.write("rule.yaml", &rule("chat", &["v1", "v2"], ""))?;
    world.write("route.yaml", &split("chat", 100, 0, ""))?;
    world.start().await?;
    let mut open = websocket::open(world.address(), "chat").await?;
    ensure!(open.say("one").await? == "v1: one");
    world.save("route.yaml", &split("chat", 0, 100, "")).await?;
    ensure!(open.say("two").await? == "v1: two");
    let mut later = websocket::open(world.address(), "chat").await?;
    ensure!(later.say("three").await? == "v2: three");
    ensure!(open.say("four").await? == "v1: four");
    world.end().await
}
