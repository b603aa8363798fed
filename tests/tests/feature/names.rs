//! The table of names of agents that answer DNS: told as one resource without a name, and again when it changes.

use anyhow::{Context, Result};
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use meltemi_proto::istio::networking::nds::v1::NameTable;
use meltemi_testkit::xds::{DeltaStream, Node, SotwStream, connect};
use meltemi_tests::control_plane::{ControlPlane, LIMIT};
use prost::Message as _;
use tokio::time::timeout;

fn entry(host: &str, address: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: one}}, spec: {{hosts: [{host}], addresses: [{address}], resolution: STATIC, endpoints: [{{address: 10.1.1.1}}], ports: [{{number: 80, name: http, protocol: HTTP}}]}}}}"
    )
}

fn agent() -> Node {
    Node::sidecar("client", "default").metadata("DNS_CAPTURE", "true")
}

/// By name: the addresses.
fn told(bytes: &[u8]) -> Result<Vec<String>> {
    let table = NameTable::decode(bytes)?.table;
    Ok(table.into_iter().map(|(name, info)| format!("{name} {}", info.ips.join(" "))).collect())
}

const BEFORE: [&str; 1] = ["one.example.com 192.0.2.1"];
const AFTER: [&str; 1] = ["two.example.com 192.0.2.2"];

#[tokio::test]
async fn an_agent_on_a_delta_stream_is_told_the_names_and_their_changes() -> Result<()> {
    let mut mesh = ControlPlane::start(&[("entry.yaml", &entry("one.example.com", "192.0.2.1"))]).await?;
    let first = DeltaDiscoveryRequest {
        node: Some(agent().message()?),
        type_url: TypeUrl::NameTable.as_str().to_owned(),
        ..DeltaDiscoveryRequest::default()
    };
    let mut stream = DeltaStream::delta(connect(mesh.xds()).await?, first).await?;
    for (expected, next) in [(BEFORE, Some(("two.example.com", "192.0.2.2"))), (AFTER, None)] {
        let answer = timeout(LIMIT, stream.receive()).await??.context("the stream ended")?;
        let [resource] = answer.resources.as_slice() else { panic!("{answer:?}") };
        assert_eq!((resource.name.as_str(), answer.removed_resources.len()), ("", 0));
        assert_eq!(told(&resource.resource.as_ref().context("no table")?.value)?, expected);
        stream
            .send(DeltaDiscoveryRequest {
                type_url: answer.type_url.clone(),
                response_nonce: answer.nonce.clone(),
                ..DeltaDiscoveryRequest::default()
            })
            .await?;
        if let Some((host, address)) = next {
            mesh.save("entry.yaml", &entry(host, address)).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_on_a_state_of_the_world_stream_is_told_the_names_and_their_changes() -> Result<()> {
    let mut mesh = ControlPlane::start(&[("entry.yaml", &entry("one.example.com", "192.0.2.1"))]).await?;
    let first = DiscoveryRequest {
        node: Some(agent().message()?),
        type_url: TypeUrl::NameTable.as_str().to_owned(),
        ..DiscoveryRequest::default()
    };
    let mut stream = SotwStream::sotw(connect(mesh.xds()).await?, first).await?;
    for (expected, next) in [(BEFORE, Some(("two.example.com", "192.0.2.2"))), (AFTER, None)] {
        let answer = timeout(LIMIT, stream.receive()).await??.context("the stream ended")?;
        let [resource] = answer.resources.as_slice() else { panic!("{answer:?}") };
        assert_eq!(resource.type_url, TypeUrl::NameTable.as_str());
        assert_eq!(told(&resource.value)?, expected);
        stream
            .send(DiscoveryRequest {
                type_url: answer.type_url.clone(),
                version_info: answer.version_info.clone(),
                response_nonce: answer.nonce.clone(),
                ..DiscoveryRequest::default()
            })
            .await?;
        if let Some((host, address)) = next {
            mesh.save("entry.yaml", &entry(host, address)).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_is_told_even_where_there_is_no_name() -> Result<()> {
    let service =
        "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{name: http, port: 80}]}}";
    let mesh = ControlPlane::start(&[("service.yaml", service)]).await?;
    let first = DiscoveryRequest {
        node: Some(agent().message()?),
        type_url: TypeUrl::NameTable.as_str().to_owned(),
        ..DiscoveryRequest::default()
    };
    let mut stream = SotwStream::sotw(connect(mesh.xds()).await?, first).await?;
    let answer = timeout(LIMIT, stream.receive()).await??.context("the stream ended")?;
    let [resource] = answer.resources.as_slice() else { panic!("{answer:?}") };
    assert_eq!(told(&resource.value)?, Vec::<String>::new());
    Ok(())
}
