//! PeerAuthentication at sidecars: who gets mutual TLS, and when it is in force.

use anyhow::Result;
use meltemi_names::{Kind, ObjectKey, TypeUrl};
use meltemi_testkit::xds::{Form, Held, Node};
use meltemi_tests::control_plane::{ControlPlane, until, virtual_host};
use serde_json::Value;

use crate::in_force::waits;

const APP: &str = "apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart}
spec: {address: 10.1.0.1, labels: {app: cart}, serviceAccount: cart}
";

/// The policy of the server, or of somebody else.
fn policy(name: &str, app: &str, mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}}}\n\
         spec: {{selector: {{matchLabels: {{app: {app}}}}}, mtls: {{mode: {mode}}}}}\n"
    )
}

fn server() -> Node {
    Node::sidecar("cart", "default").ip("10.1.0.1").label("app", "cart")
}

/// How many chains of its inbound listener end mutual TLS, and how many take plain text.
fn chains(held: &Held) -> Option<(usize, usize)> {
    let listener = held.json(TypeUrl::Listener, "virtualInbound").ok()?;
    let chains = listener["filter_chains"].as_array()?;
    let mutual = chains.iter().filter(|chain| chain["transport_socket"].is_object()).count();
    // The first drops what is sent to the listener itself.
    Some((mutual, chains.len() - mutual - 1))
}

/// Whether the endpoint is called by mutual TLS.
fn calls_by_tls(held: &Held) -> bool {
    let assignment =
        held.json(TypeUrl::Endpoint, "outbound|80||cart.default.svc.cluster.local").unwrap_or_default();
    let endpoint = &assignment["endpoints"][0]["lb_endpoints"][0];
    endpoint["metadata"]["filter_metadata"]["envoy.transport_socket_match"]["tlsMode"] == "istio"
}

fn counts(answer: &Value) -> (&str, u64, u64) {
    let number = |field: &str| answer[field].as_u64().unwrap_or(u64::MAX);
    (answer["state"].as_str().unwrap_or_default(), number("have"), number("of"))
}

#[tokio::test]
async fn a_policy_is_in_force_when_the_workloads_that_it_selects_have_it() -> Result<()> {
    let asked = "kind=PeerAuthentication&name=cart";
    for form in [Form::Delta, Form::Sotw] {
        let mut mesh = ControlPlane::start(&[("app.yaml", APP)]).await?;
        let mut cart = mesh.join(server(), form).await?;
        let mut other = mesh.join(Node::sidecar("other", "default"), form).await?;
        // Routes come last.
        let has_routes = |held: &Held| virtual_host(held, "80", "cart.default.svc.cluster.local").is_some();
        until(&mut cart, |held| chains(held) == Some((3, 4)) && has_routes(held)).await?;
        until(&mut other, has_routes).await?;
        let answer = mesh.in_force("kind=svc&name=cart&timeout=60s").await?;
        assert_eq!(counts(&answer), ("inForce", 2, 2), "{form:?}: {answer}");

        mesh.save("policy.yaml", &policy("cart", "cart", "STRICT")).await?;
        let now = mesh.in_force(asked).await?;
        assert_eq!(counts(&now).0, "propagating", "{form:?}: {now}");
        until(&mut cart, |held| chains(held) == Some((3, 0))).await?;
        let answer = mesh.in_force(&format!("{asked}&timeout=60s")).await?;
        assert_eq!(counts(&answer), ("inForce", 1, 1), "{form:?}: {answer}");

        // The same layer goes on.
        mesh.save("policy.yaml", &policy("cart", "cart", "DISABLE")).await?;
        assert_eq!(counts(&mesh.in_force(asked).await?).0, "propagating", "{form:?}");
        until(&mut cart, |held| chains(held) == Some((0, 3)) && !calls_by_tls(held)).await?;
        // Callers must know of it, too.
        let key = ObjectKey::new(Kind::PeerAuthentication, "default", "cart");
        waits(&mesh, &key, |answer| answer["have"] == 1 && answer["lagging"][0]["proxy"] == "other.default")
            .await?;
        until(&mut other, |held| !calls_by_tls(held)).await?;
        let answer = mesh.in_force(&format!("{asked}&timeout=60s")).await?;
        assert_eq!(answer["met"], true, "{form:?}: {answer}");

        // It selects somebody else: the workload must drop what it had of it.
        mesh.save("policy.yaml", &policy("cart", "nobody", "STRICT")).await?;
        let now = mesh.in_force(asked).await?;
        assert_eq!(now["met"], false, "{form:?}: {now}");
        until(&mut cart, |held| chains(held) == Some((3, 4)) && calls_by_tls(held)).await?;
        until(&mut other, calls_by_tls).await?;
        let answer = mesh.in_force(&format!("{asked}&timeout=60s")).await?;
        assert_eq!(answer["met"], true, "{form:?}: {answer}");

        // And when it is gone.
        mesh.save("policy.yaml", &policy("cart", "cart", "STRICT")).await?;
        until(&mut cart, |held| chains(held) == Some((3, 0))).await?;
        let before = mesh.generation();
        mesh.remove("policy.yaml")?;
        mesh.after(before).await?;
        let gone = format!("{asked}&for=deleted");
        let now = mesh.in_force(&gone).await?;
        assert_eq!(now["met"], false, "{form:?}: {now}");
        until(&mut cart, |held| chains(held) == Some((3, 4))).await?;
        let answer = mesh.in_force(&format!("{gone}&timeout=60s")).await?;
        assert_eq!(answer["met"], true, "{form:?}: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn a_proxy_without_certificates_gets_nothing_that_needs_them() -> Result<()> {
    let mut mesh = ControlPlane::start(&[("app.yaml", APP)]).await?;
    let without = |node: Node| node.metadata("MELTEMI_CERTIFICATES", "false");
    let mut cart = mesh.join(without(server()), Form::Delta).await?;
    let mut client = mesh.join(Node::sidecar("client", "default"), Form::Delta).await?;
    until(&mut cart, |held| chains(held) == Some((0, 3))).await?;
    let cluster = "outbound|80||cart.default.svc.cluster.local";
    let text = |held: &Held| {
        let clusters = held.json(TypeUrl::Cluster, cluster).ok()?;
        Some(clusters.to_string())
    };
    until(&mut client, |held| text(held).is_some_and(|text| text.contains("tlsMode-istio"))).await?;
    until(&mut cart, |held| text(held).is_some()).await?;
    assert!(!text(cart.held()).is_some_and(|text| text.contains("sds-grpc")), "its cluster asks for secrets");

    // Under STRICT nothing is let in, and not in plain text.
    mesh.save("policy.yaml", &policy("cart", "cart", "STRICT")).await?;
    until(&mut cart, |held| {
        let Ok(listener) = held.json(TypeUrl::Listener, "virtualInbound") else { return false };
        let chains = listener["filter_chains"].as_array().map(Vec::as_slice).unwrap_or_default();
        let drops = |chain: &Value| chain["filters"][0]["typed_config"]["cluster"] == "BlackHoleCluster";
        !chains.is_empty() && chains.iter().all(drops)
    })
    .await?;
    Ok(())
}
