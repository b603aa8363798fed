//! `meltemi explain --gateway`: what becomes of a request that comes from outside of the mesh.

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::program::{ended, text};
use crate::yaml::folder;

const EDGE: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: edge-1, namespace: edge, labels: {istio: edge, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: edge, containers: [{name: istio-proxy}]}
status: {phase: Running, podIP: 10.2.0.1, podIPs: [{ip: 10.2.0.1}]}
---
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: edge}
spec:
  selector: {istio: edge}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tls, port: 443, targetPort: 8443}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: edge}
spec:
  selector: {istio: edge}
  servers:
  - hosts: [shop/shop.example.com]
    port: {number: 80, name: http, protocol: HTTP}
  - hosts: [\"*/*.example.com\"]
    port: {number: 443, name: tls, protocol: TLS}
    tls: {mode: PASSTHROUGH}
";

const SHOP: &str = "\
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  clusterIP: 10.0.0.5
  selector: {app: cart}
  ports: [{name: http, port: 9080}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart-1, namespace: shop}
spec: {address: 10.1.0.1, serviceAccount: cart, labels: {app: cart, security.istio.io/tlsMode: istio}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: shop}
spec:
  hosts: [shop.example.com]
  gateways: [edge/edge]
  http:
  - name: inside
    match: [{gateways: [mesh], uri: {prefix: /cart}}]
    redirect: {uri: /}
  - name: cart
    match: [{uri: {prefix: /cart}}]
    route: [{destination: {host: cart}}]
    timeout: 3s
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.example.com, other.example.com]
  gateways: [edge/edge]
  tls:
  - match: [{sniHosts: [other.example.com]}]
    route: [{destination: {host: cart, port: {number: 9080}}}]
  - match:
    - {port: 8443, sniHosts: [db.example.com]}
    - {port: 443, sniHosts: [db.example.com]}
    route: [{destination: {host: cart, port: {number: 9080}}}]
";

/// Written by eye, against Istio's documentation. FOLDER stands for the folder.
const PAGE: &str = "\
GET http://shop.example.com/cart/1

At        the gateway Pod edge/edge-1, from outside of the mesh
          labels istio=edge, security.istio.io/tlsMode=istio
Listener  0.0.0.0_8080: the client connects to its socket at 0.0.0.0:8080
          takes the connection as HTTP, by the route configuration http.8080
Host      shop.example.com:80: by its domain shop.example.com
Rules     there is one
          no  VirtualService shop/shop, spec.http[0].match[0] (FOLDER/shop.yaml:22)
              is for sidecars, or for another gateway
          yes VirtualService shop/shop, spec.http[1].match[0] (FOLDER/shop.yaml:25) \"cart\"
              the path begins with \"/cart\"
Goes to   outbound|9080||cart.shop.svc.cluster.local (the endpoint with fewer requests of two)
            10.1.0.1:9080           100 %
Timeout   3s for all tries together
Retries   twice more after connect-failure, refused-stream, unavailable and cancelled
          an endpoint that failed is avoided
Limits    a connection may take 10s
TLS       to 10.1.0.1:9080: mutual TLS, as spiffe://cluster.local/ns/edge/sa/edge
            accepts only spiffe://cluster.local/ns/shop/sa/cart
            verifies by ROOTCA
            SNI outbound_.9080_._.cart.shop.svc.cluster.local; ALPN istio-http/1.1, istio, http/1.1; TLS 1.2 at least
At        10.1.0.1:9080, WorkloadEntry shop/cart-1: its sidecar takes mutual TLS, and plaintext too (PERMISSIVE)
            knows the sender as spiffe://cluster.local/ns/edge/sa/edge
Logs      both sides: none
Metrics   both sides: counted
Traces    both sides: none
Sees      what an endpoint of cart.shop.svc.cluster.local answers
";

fn mesh() -> Result<TempDir> {
    folder(&[("edge.yaml", EDGE), ("shop.yaml", SHOP)])
}

async fn explained(folder: &TempDir, more: &[&str]) -> Result<String> {
    let base = ["explain", "--config", text(folder.path())?, "--from", "edge-1.edge", "--gateway"];
    let ended = ended(&[base.as_slice(), more].concat()).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    Ok(ended.stdout)
}

#[tokio::test]
async fn the_page_of_a_request_from_outside_begins_at_the_gateway() -> Result<()> {
    let folder = mesh()?;
    let page = explained(&folder, &["GET", "http://shop.example.com/cart/1"]).await?;
    let expected = PAGE.replace("FOLDER", text(folder.path())?);
    assert_eq!(page.lines().collect::<Vec<_>>(), expected.lines().collect::<Vec<_>>());
    Ok(())
}

#[tokio::test]
async fn json_has_the_same_for_scripts() -> Result<()> {
    let folder = mesh()?;
    let all = explained(&folder, &["-o", "json", "GET", "http://shop.example.com/cart/1"]).await?;
    let all: serde_json::Value = serde_json::from_str(&all)?;
    assert_eq!(all["from"]["gateway"], true);
    assert_eq!(all["request"]["destination"]["port"], 8080, "clients know the Service's port");
    assert_eq!(all["way"]["listener"]["name"], "0.0.0.0_8080");
    let handling = &all["way"]["handling"];
    assert_eq!(handling["route_configuration"], "http.8080");
    assert_eq!(handling["virtual_host"]["name"], "shop.example.com:80");
    assert_eq!(
        handling["route"]["action"]["destinations"][0]["cluster"]["name"],
        "outbound|9080||cart.shop.svc.cluster.local"
    );
    let rule = &all["rules"][0]["written"];
    assert_eq!((&rule["field"], &rule["place"]["line"]), (&"spec.http[1].match[0]".into(), &25.into()));
    let passed = &all["passed_over"][0];
    assert_eq!((&passed["reason"], &passed["written"]["place"]["line"]), (&"gateways".into(), &22.into()));
    assert_eq!(all["receivers"][0]["workload"]["name"], "cart-1");
    assert_eq!(all["way"]["seen"][0]["seen"], "endpoint");
    let metrics = all["way"]["reports"]["metrics"].as_array().context("metrics")?;
    assert!(metrics.contains(&"istio_requests_total".into()), "{metrics:?}");
    Ok(())
}

#[tokio::test]
async fn a_connection_that_is_passed_on_names_its_rule_and_one_without_a_rule_is_closed() -> Result<()> {
    let folder = mesh()?;
    let page = explained(&folder, &["GET", "https://db.example.com/"]).await?;
    let rule = format!(
        "Rule      VirtualService shop/db, spec.tls[1].match[1] ({}/shop.yaml:40)\n",
        text(folder.path())?
    );
    assert!(page.contains(&rule), "{page}");
    assert!(page.contains("Goes to   outbound|9080||cart.shop.svc.cluster.local"), "{page}");
    let page = explained(&folder, &["GET", "https://nobody.example.com/"]).await?;
    assert!(!page.contains("Rule ") && page.contains("a closed connection"), "{page}");
    let page = explained(&folder, &["GET", "http://nobody.example.com/"]).await?;
    assert!(page.contains("404 (NR): no virtual host is for that host"), "{page}");
    Ok(())
}
