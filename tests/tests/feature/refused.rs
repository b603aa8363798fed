//! What a proxy refuses: its last good state stays in force, everything else goes on, and the user sees what and why.

use anyhow::{Context, Result};
use meltemi_names::TypeUrl;
use meltemi_testkit::xds::{Form, Node};
use meltemi_tests::control_plane::{ControlPlane, step, until};
use serde_json::{Value, json};

use crate::reviews::{self, CONFIGURATION, VIRTUAL_HOST, cluster};

async fn mesh() -> Result<ControlPlane> {
    ControlPlane::start(&[
        ("app.yaml", &reviews::app()),
        ("other.yaml", &reviews::service("other")),
        ("rule.yaml", &reviews::rule(&["v1", "v2"])),
        ("route.yaml", &reviews::route(&[("v1", 90), ("v2", 10)])),
    ])
    .await
}

/// One type's entry of one proxy on the page `/debug/proxies`.
async fn shown(mesh: &ControlPlane, proxy: &str, kind: &str) -> Result<Value> {
    let page = mesh.proxies().await?;
    let find = |list: &Value, key: &str, wanted: &str| {
        list.as_array().and_then(|all| all.iter().find(|one| one[key] == wanted)).cloned()
    };
    let proxy = find(&page["proxies"], "proxy", proxy).with_context(|| format!("no {proxy}: {page}"))?;
    find(&proxy["types"], "type", kind).with_context(|| format!("no {kind}: {proxy}"))
}

#[tokio::test]
async fn a_refused_virtual_host_keeps_its_last_good_state_and_is_shown_with_its_reason() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = mesh.join(Node::sidecar("picky", "default"), Form::Delta).await?;
    let mut neighbour = mesh.join(Node::sidecar("easy", "default"), Form::Delta).await?;
    let before = [("v1", 90), ("v2", 10)];
    for client in [&mut client, &mut neighbour] {
        until(client, |held| reviews::splits(held, &before)).await?;
    }
    assert_eq!(shown(&mesh, "picky.default", "CDS").await?["state"], "SYNCED");

    client.refuse(|kind, name| {
        (kind == TypeUrl::VirtualHost && name == VIRTUAL_HOST).then(|| "weights look odd".to_owned())
    });
    let after = [("v1", 50), ("v2", 50)];
    mesh.save("route.yaml", &reviews::route(&after)).await?;
    let refused = step(&mut client).await?;
    assert!(refused.refused.is_some() && refused.resources == [VIRTUAL_HOST], "{refused:?}");
    until(&mut neighbour, |held| reviews::splits(held, &after)).await?;

    // At most one response of a type is unanswered, so the next one says that the refusal has arrived.
    mesh.save("timeout.yaml", &reviews::plain("other", "7s")).await?;
    until(&mut client, |held| reviews::has_timeout(held, "other", "7s")).await?;
    assert!(reviews::splits(client.held(), &before), "the last good state stays");
    let entry = shown(&mesh, "picky.default", "VHDS").await?;
    assert_eq!(entry["state"], "REJECTED", "{entry}");
    assert_eq!(entry["rejected"]["resources"], json!([VIRTUAL_HOST]));
    let made_from = entry["rejected"]["madeFrom"].to_string();
    assert!(made_from.contains("VirtualService default/reviews"), "{entry}");
    let reason = entry["rejected"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("weights look odd"), "{entry}");
    assert_ne!(shown(&mesh, "easy.default", "VHDS").await?["state"], "REJECTED");

    // The next version is another try.
    client.accept();
    let mended = [("v1", 60), ("v2", 40)];
    mesh.save("route.yaml", &reviews::route(&mended)).await?;
    until(&mut client, |held| reviews::splits(held, &mended)).await?;
    mesh.save("timeout.yaml", &reviews::plain("other", "8s")).await?;
    until(&mut client, |held| reviews::has_timeout(held, "other", "8s")).await?;
    let entry = shown(&mesh, "picky.default", "VHDS").await?;
    assert!(entry["state"] != "REJECTED" && entry["rejected"].is_null(), "{entry}");
    Ok(())
}

#[tokio::test]
async fn a_refused_route_configuration_of_a_sotw_client_is_shown_and_other_types_go_on() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = mesh.client(Form::Sotw).await?;
    let before = [("v1", 90), ("v2", 10)];
    until(&mut client, |held| reviews::splits(held, &before)).await?;
    client.refuse(|kind, name| {
        (kind == TypeUrl::Route && name == CONFIGURATION).then(|| "weights look odd".to_owned())
    });
    mesh.save("route.yaml", &reviews::route(&[("v1", 50), ("v2", 50)])).await?;
    let refused = step(&mut client).await?;
    assert!(refused.refused.is_some(), "{refused:?}");
    mesh.save("rule.yaml", &reviews::rule(&["v1", "v2", "v3"])).await?;
    until(&mut client, |held| {
        held.resource(TypeUrl::Cluster, &cluster("v3")).is_some() && held.warming().is_empty()
    })
    .await?;
    assert!(reviews::splits(client.held(), &before), "the last good state stays");
    let entry = shown(&mesh, "client.default", "RDS").await?;
    assert_eq!(entry["state"], "REJECTED", "{entry}");
    assert!(entry["rejected"]["madeFrom"].to_string().contains("VirtualService default/reviews"), "{entry}");
    Ok(())
}

#[tokio::test]
async fn a_route_to_a_refused_cluster_keeps_its_last_good_state_and_other_routes_go_on() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = mesh.client(Form::Delta).await?;
    let before = [("v1", 90), ("v2", 10)];
    until(&mut client, |held| reviews::splits(held, &before)).await?;
    client.refuse(|kind, name| {
        (kind == TypeUrl::Cluster && name.contains("|v3|")).then(|| "no third".to_owned())
    });
    mesh.save("rule.yaml", &reviews::rule(&["v1", "v2", "v3"])).await?;
    mesh.save("route.yaml", &reviews::route(&[("v3", 100)])).await?;
    mesh.save("timeout.yaml", &reviews::plain("other", "7s")).await?;
    until(&mut client, |held| reviews::has_timeout(held, "other", "7s")).await?;
    assert!(reviews::splits(client.held(), &before));
    assert_eq!(client.held().missing_clusters()?, Default::default(), "no route without its cluster");
    let entry = shown(&mesh, "client.default", "CDS").await?;
    assert_eq!(entry["state"], "REJECTED", "{entry}");
    assert!(entry["rejected"]["madeFrom"].to_string().contains("DestinationRule default/reviews"), "{entry}");
    Ok(())
}

#[tokio::test]
async fn what_two_proxies_of_a_build_refuse_is_not_given_to_a_third() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut first = mesh.join(Node::sidecar("first", "default"), Form::Delta).await?;
    let mut second = mesh.join(Node::sidecar("second", "default"), Form::Delta).await?;
    let good = [("v1", 90), ("v2", 10)];
    for client in [&mut first, &mut second] {
        until(client, |held| reviews::splits(held, &good)).await?;
        client.refuse(|kind, name| {
            (kind == TypeUrl::VirtualHost && name == VIRTUAL_HOST).then(|| "weights look odd".to_owned())
        });
    }
    mesh.save("route.yaml", &reviews::route(&[("v1", 50), ("v2", 50)])).await?;
    for client in [&mut first, &mut second] {
        let refused = step(client).await?;
        assert!(refused.refused.is_some(), "{refused:?}");
        // It is those bytes that they refuse.
        client.accept();
    }
    // A change after that is answered on a stream after its refusal has arrived.
    mesh.save("timeout.yaml", &reviews::plain("other", "7s")).await?;
    for client in [&mut first, &mut second] {
        until(client, |held| reviews::has_timeout(held, "other", "7s")).await?;
    }
    let mut third = mesh.join(Node::sidecar("third", "default"), Form::Delta).await?;
    until(&mut third, |held| reviews::has_timeout(held, "other", "7s")).await?;
    assert!(reviews::splits(third.held(), &good), "a new proxy of that build starts with the last good");

    let mended = [("v1", 60), ("v2", 40)];
    mesh.save("route.yaml", &reviews::route(&mended)).await?;
    until(&mut third, |held| reviews::splits(held, &mended)).await?;
    Ok(())
}
