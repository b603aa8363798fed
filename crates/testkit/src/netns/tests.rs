//! Pods that talk to each other, straight and through redirected Envoys.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;

use super::*;
use crate::envoy::Launch;
use crate::http::{App, Request};

/// Without root there is nothing to test; `cargo xtask test` says so.
macro_rules! need_root {
    () => {
        if let Err(error) = available() {
            eprintln!("not run: {error:#}");
            return Ok(());
        }
    };
}

/// Takes redirected connections and passes them on to where they were going, adding a header on the way.
fn sidecar(outbound: &str, inbound: &str) -> String {
    let listener = |name: &str, port: u16, cluster: &str, header: &str| {
        format!(
            "
  - name: {name}
    address: {{socket_address: {{address: 0.0.0.0, port_value: {port}}}}}
    listener_filters:
    - name: envoy.filters.listener.original_dst
      typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ['*']
              request_headers_to_add: [{{header: {{key: x-through, value: {header}}}, append_action: APPEND_IF_EXISTS_OR_ADD}}]
              routes: [{{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}]"
        )
    };
    format!(
        "
static_resources:
  clusters:
  - {{name: passthrough, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}}
  - name: app
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    upstream_bind_config: {{source_address: {{address: 127.0.0.6, port_value: 0}}}}
  listeners:{}{}
",
        listener("outbound", OUTBOUND_PORT, "passthrough", outbound),
        listener("inbound", INBOUND_PORT, "app", inbound)
    )
}

#[tokio::test]
async fn pods_reach_each_other_and_this_process_by_their_addresses() -> Result<()> {
    need_root!();
    let network = Network::new()?;
    let (client, server) = (network.pod("client")?, network.pod("server")?);
    let inside = client.command("ip").args(["-o", "address"]).output().await?;
    assert!(
        String::from_utf8_lossy(&inside.stdout).contains(&format!(" {}/24 ", client.address())),
        "{inside:?}"
    );

    let app = App::builder("reviews", "v1").inside(&server).start().await?;
    assert_eq!(app.address().ip(), server.address());
    let answer = Request::get("/").send_through(&client.connector(), app.address()).await?;
    assert_eq!((answer.status, answer.version()), (200, Some("v1")));

    let here =
        App::builder("here", "v1").address(SocketAddr::new(network.address().into(), 0)).start().await?;
    let answer = Request::get("/").send_through(&client.connector(), here.address()).await?;
    assert_eq!(answer.header("x-app-name"), Some("here"));
    Ok(())
}

#[tokio::test]
async fn redirected_requests_pass_the_sidecars_of_both_sides() -> Result<()> {
    need_root!();
    let network = Network::new()?;
    let (client, server) = (network.pod("client")?, network.pod("server")?);
    let app = App::builder("reviews", "v1").inside(&server).port(9080).start().await?;
    let client_envoy = Launch::new(sidecar("client", "unused")).inside(&client).start().await?;
    let server_envoy = Launch::new(sidecar("unused", "server")).inside(&server).start().await?;
    client.redirect()?;
    server.redirect()?;

    let answer = Request::get("/").send_through(&client.connector(), app.address()).await?;
    assert_eq!((answer.status, answer.version()), (200, Some("v1")));
    // The client's own outbound side first, then the server's inbound side; each once.
    assert_eq!(answer.json()["headers"]["x-through"], "client, server");
    assert_eq!(client_envoy.admin().stat("http.outbound.downstream_rq_2xx").await?, 1);
    assert_eq!(server_envoy.admin().stat("http.inbound.downstream_rq_2xx").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_dropped_network_leaves_nothing_behind() -> Result<()> {
    need_root!();
    let network = Network::new()?;
    let pod = network.pod("client")?;
    let namespace = PathBuf::from("/run/netns").join(pod.name());
    assert!(namespace.exists());
    let before = command::run("ip -o address show")?;
    let address = network.address().to_string();
    assert!(before.contains(&address));
    drop(network);
    drop(pod);
    assert!(!namespace.exists());
    assert!(!command::run("ip -o address show")?.contains(&address));
    Ok(())
}
