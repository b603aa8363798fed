//! Clients as they are: slow, cut off, old, strange.

use anyhow::{Context, Result, bail};
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use meltemi_testkit::xds::{DeltaStream, Form, Node, SotwStream, connect};
use meltemi_tests::control_plane::{ControlPlane, until, virtual_host};
use meltemi_tests::mesh::large;
use serde_json::json;

use crate::reviews::{self, CONFIGURATION};

async fn mesh() -> Result<ControlPlane> {
    ControlPlane::start(&[
        ("app.yaml", &reviews::app()),
        ("rule.yaml", &reviews::rule(&["v1", "v2"])),
        ("route.yaml", &reviews::route(&[("v1", 90), ("v2", 10)])),
    ])
    .await
}

#[tokio::test]
async fn a_client_that_stalls_skips_what_it_missed_and_has_the_latest() -> Result<()> {
    for form in [Form::Delta, Form::Sotw] {
        let mut mesh = mesh().await?;
        let mut client = mesh.client(form).await?;
        until(&mut client, |held| reviews::splits(held, &[("v1", 90), ("v2", 10)])).await?;
        // It reads nothing while these are published.
        for weight in 11..=30 {
            mesh.save("route.yaml", &reviews::route(&[("v1", 100 - weight), ("v2", weight)])).await?;
        }
        let steps = until(&mut client, |held| reviews::splits(held, &[("v1", 70), ("v2", 30)])).await?;
        // One that was under way when it stalled, and the latest.
        assert!(steps.len() <= 2, "{form:?}: {} answers for 20 changes", steps.len());
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_stalls_in_its_first_answer_ends_with_the_latest() -> Result<()> {
    let mut mesh = ControlPlane::start(&[
        ("mesh.yaml", &large(300)),
        ("app.yaml", &reviews::app()),
        ("rule.yaml", &reviews::rule(&["v1", "v2"])),
        ("route.yaml", &reviews::route(&[("v1", 90), ("v2", 10)])),
    ])
    .await?;
    // Nine hundred clusters are more than a connection takes unread.
    let mut clients = [mesh.client(Form::Delta).await?, mesh.client(Form::Sotw).await?];
    let last = [("v3", 100)];
    mesh.save("rule.yaml", &reviews::rule(&["v1", "v3"])).await?;
    mesh.save("route.yaml", &reviews::route(&last)).await?;
    for client in &mut clients {
        until(client, |held| reviews::splits(held, &last) && held.warming().is_empty()).await?;
        assert_eq!(client.held().missing_clusters()?, Default::default());
    }
    Ok(())
}

#[tokio::test]
async fn a_client_that_reconnects_with_its_versions_gets_nothing_again() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = mesh.client(Form::Delta).await?;
    until(&mut client, |held| reviews::splits(held, &[("v1", 90), ("v2", 10)])).await?;
    client.reconnect().await?;
    let after = [("v1", 10), ("v2", 90)];
    mesh.save("route.yaml", &reviews::route(&after)).await?;
    let steps = until(&mut client, |held| reviews::splits(held, &after)).await?;
    let sent: Vec<(TypeUrl, &String)> =
        steps.iter().flat_map(|step| step.resources.iter().map(|name| (step.kind, name))).collect();
    assert_eq!(sent, [(TypeUrl::VirtualHost, &reviews::VIRTUAL_HOST.to_owned())], "{steps:?}");
    assert!(steps.iter().all(|step| step.removed.is_empty()), "{steps:?}");
    Ok(())
}

#[tokio::test]
async fn a_client_that_comes_back_learns_what_went_meanwhile() -> Result<()> {
    let mut mesh = mesh().await?;
    mesh.save("other.yaml", &reviews::service("other")).await?;
    let mut client = mesh.client(Form::Delta).await?;
    until(&mut client, |held| virtual_host(held, CONFIGURATION, "other").is_some()).await?;
    let before = mesh.generation();
    mesh.remove("other.yaml")?;
    mesh.after(before).await?;
    client.reconnect().await?;
    let gone = "outbound|9080||other.default.svc.cluster.local";
    until(&mut client, |held| {
        virtual_host(held, CONFIGURATION, "other").is_none()
            && held.resource(TypeUrl::Cluster, gone).is_none()
    })
    .await?;
    assert!(reviews::splits(client.held(), &[("v1", 90), ("v2", 10)]));
    Ok(())
}

const UNKNOWN: &str = "type.googleapis.com/example.v1.Unheard";

#[tokio::test]
async fn a_type_that_nobody_knows_is_answered_with_nothing() -> Result<()> {
    let mesh = mesh().await?;
    let node = Some(Node::sidecar("client", "default").message()?);
    let first =
        DeltaDiscoveryRequest { node: node.clone(), type_url: UNKNOWN.to_owned(), ..Default::default() };
    let mut stream = DeltaStream::delta(connect(mesh.xds()).await?, first).await?;
    let answer = stream.receive().await?.context("an answer")?;
    assert_eq!((answer.type_url.as_str(), answer.resources.len()), (UNKNOWN, 0));
    assert!(!answer.nonce.is_empty());

    let first = DiscoveryRequest { node, type_url: UNKNOWN.to_owned(), ..Default::default() };
    let mut stream = SotwStream::sotw(connect(mesh.xds()).await?, first).await?;
    let answer = stream.receive().await?.context("an answer")?;
    assert_eq!((answer.type_url.as_str(), answer.resources.len()), (UNKNOWN, 0));
    // The stream goes on.
    stream
        .send(DiscoveryRequest { type_url: TypeUrl::Cluster.as_str().to_owned(), ..Default::default() })
        .await?;
    let answer = stream.receive().await?.context("an answer")?;
    assert_eq!(answer.type_url, TypeUrl::Cluster.as_str());
    Ok(())
}

#[tokio::test]
async fn a_client_that_does_not_say_who_it_is_is_refused_with_what_to_do() -> Result<()> {
    let mesh = mesh().await?;
    let request = |id: Option<&str>| -> Result<DeltaDiscoveryRequest> {
        let mut node = Node::sidecar("client", "default").message()?;
        id.unwrap_or_default().clone_into(&mut node.id);
        let node = id.map(|_| node);
        Ok(DeltaDiscoveryRequest {
            node,
            type_url: TypeUrl::Cluster.as_str().to_owned(),
            ..Default::default()
        })
    };
    for (id, said) in [
        (None, "missing node"),
        (Some(""), "missing node"),
        (Some("client"), "type~ip~pod.namespace~dnsDomain"),
        (Some("ztunnel~10.0.0.1~client.default~default.svc.cluster.local"), "`sidecar` and `router`"),
    ] {
        let mut stream = DeltaStream::delta(connect(mesh.xds()).await?, request(id)?).await?;
        let Err(status) = stream.receive().await else { bail!("{id:?} was served") };
        assert_eq!(format!("{:?}", status.code()), "InvalidArgument", "{id:?}: {status}");
        assert!(status.message().contains(said), "{id:?}: {status}");
    }
    Ok(())
}

#[tokio::test]
async fn a_proxy_without_interception_listens_on_loopback_at_the_services_port() -> Result<()> {
    for form in [Form::Delta, Form::Sotw] {
        let mesh = mesh().await?;
        let node = Node::sidecar("client", "default").metadata("INTERCEPTION_MODE", "NONE");
        let mut client = mesh.join(node, form).await?;
        until(&mut client, |held| {
            held.names(TypeUrl::Route)
                .iter()
                .any(|configuration| virtual_host(held, configuration, "reviews").is_some())
        })
        .await?;
        let addresses: Vec<_> = client
            .held()
            .all_json(TypeUrl::Listener)?
            .into_values()
            .map(|listener| listener["address"]["socket_address"].clone())
            .collect();
        assert!(
            addresses.contains(&json!({"address": "127.0.0.1", "port_value": 9080})),
            "{form:?}: {addresses:?}"
        );
        assert!(addresses.iter().all(|address| address["port_value"] != 15001), "{form:?}: {addresses:?}");
    }
    Ok(())
}
