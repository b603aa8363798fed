//! What `meltemi diff` says of one field that changes, kind by kind: a mesh, the text that takes another's place, and what a reviewer reads.

use anyhow::{Context, Result};

use crate::program::{ended, text};
use crate::yaml::folder;

/// A shop with a database, an outside host that is called by TLS, and a gateway of another namespace before it.
const MESH: &str = "\
{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {clusterIP: 10.0.0.1, selector: {app: cart}, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: db, namespace: shop}, spec: {clusterIP: 10.0.0.9, selector: {app: db}, ports: [{name: tcp, port: 3306}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: ingress, namespace: infra}, spec: {clusterIP: 10.0.0.8, selector: {istio: ingress}, ports: [{name: http, port: 80, targetPort: 8080}, {name: https, port: 443, targetPort: 8443}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: ingress-1, namespace: infra, labels: {istio: ingress}}, spec: {containers: []}, status: {phase: Running, podIP: 10.3.0.1}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: cart-1, namespace: shop}, spec: {address: 10.1.0.1, serviceAccount: cart, labels: {app: cart, version: v1}}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: cart-2, namespace: shop}, spec: {address: 10.1.0.2, serviceAccount: cart, labels: {app: cart, version: v2}}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: db-1, namespace: shop}, spec: {address: 10.1.0.3, serviceAccount: db, labels: {app: db, version: v1}}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: db-2, namespace: shop}, spec: {address: 10.1.0.4, serviceAccount: db, labels: {app: db, version: v2}}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: cart, namespace: shop}, spec: {host: cart, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: db, namespace: shop}, spec: {host: db, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: cart, namespace: shop}, spec: {hosts: [cart], http: [{route: [{destination: {host: cart, subset: v1}, weight: 90}, {destination: {host: cart, subset: v2}, weight: 10}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: db, namespace: shop}, spec: {hosts: [db], tcp: [{route: [{destination: {host: db, subset: v1}, weight: 80}, {destination: {host: db, subset: v2}, weight: 20}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: ext, namespace: shop}, spec: {hosts: [api.example.com], location: MESH_EXTERNAL, resolution: DNS, endpoints: [{address: a.example.com}, {address: b.example.com}], ports: [{number: 443, name: tls, protocol: TLS}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: ext, namespace: shop}, spec: {hosts: [api.example.com], tls: [{match: [{port: 443, sniHosts: [api.example.com]}], route: [{destination: {host: api.example.com}}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: web, namespace: infra}, spec: {selector: {istio: ingress}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com, old.example.com]}, {port: {number: 443, name: https, protocol: HTTPS}, hosts: [shop.example.com], tls: {mode: SIMPLE, credentialNames: [shop-rsa, shop-ecdsa]}}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: web, namespace: shop}, spec: {hosts: [shop.example.com, old.example.com], gateways: [infra/web], http: [{match: [{uri: {prefix: /cart}}], route: [{destination: {host: cart}}]}, {redirect: {uri: /cart}}]}}
---
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: default, namespace: shop}, spec: {egress: [{hosts: [./*, infra/*]}]}}
---
{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {name: default, namespace: shop}, spec: {accessLogging: [{providers: [{name: envoy}]}]}}
---
{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: idle, namespace: shop}, spec: {configPatches: [{applyTo: NETWORK_FILTER, match: {context: SIDECAR_OUTBOUND, listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}}, patch: {operation: MERGE, value: {typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stream_idle_timeout: 5s}}}}]}}
";

/// What stands there, what takes its place, the lines that are told, and the codes of the warnings.
type Case = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

async fn check(cases: &[Case]) -> Result<()> {
    let base = folder(&[("mesh.yaml", MESH)])?;
    for (before, after, lines, codes) in cases {
        assert_eq!(MESH.matches(before).count(), 1, "{before}");
        let change = folder(&[("mesh.yaml", &MESH.replace(before, after))])?;
        let arguments =
            ["diff", "--config", text(base.path())?, "--with", text(change.path())?, "--replace", "--strict"];
        let page = ended(&arguments).await?;
        let (told, warnings) = page.stdout.split_once("\nWarnings\n").unwrap_or((&page.stdout, ""));
        let mut rest = told;
        for line in *lines {
            let found = rest.find(&format!("{line}\n"));
            let end =
                found.with_context(|| format!("{after}: `{line}` is not there, or not in order:\n{told}"))?;
            rest = &rest[end + line.len()..];
        }
        let own = warnings.lines().filter(|line| !line.starts_with("    "));
        let own: Vec<&str> = own.filter_map(|line| line.trim().split(':').next()).collect();
        assert_eq!(own, *codes, "{after}: {warnings}");
        assert_eq!(page.code, Some(i32::from(!codes.is_empty())), "{after}: {page:?}");
    }
    Ok(())
}

#[tokio::test]
async fn rules_for_connections_read_like_those_for_requests() -> Result<()> {
    check(&[
        (
            "weight: 80}, {destination: {host: db, subset: v2}, weight: 20}",
            "weight: 50}, {destination: {host: db, subset: v2}, weight: 50}",
            &[
                "every sidecar (6 of 7 proxies)",
                "  db.shop:3306",
                "    connections: v1 80 % -> 50 %, v2 20 % -> 50 %",
            ],
            &[],
        ),
        (
            "weight: 80}, {destination: {host: db, subset: v2}, weight: 20}",
            "weight: 100}",
            &["    connections: v1 80 % -> 100 %, v2 20 % -> 0 %"],
            &["fewer-destinations"],
        ),
        (
            "sniHosts: [api.example.com]}], route: [{destination: {host: api.example.com}}]",
            "sniHosts: [api.example.com]}], route: [{destination: {host: db, port: {number: 3306}}}]",
            &["  listener 0.0.0.0_443", "    TLS for api.example.com: to api.example.com -> to db.shop"],
            &["fewer-destinations"],
        ),
    ])
    .await
}

#[tokio::test]
async fn what_becomes_of_requests_beside_their_way_is_told() -> Result<()> {
    check(&[
        (
            "http: [{route: [{destination: {host: cart, subset: v1}, weight: 90}",
            "http: [{fault: {abort: {httpStatus: 500, percentage: {value: 5}}}, mirror: {host: cart, subset: v2}, headers: {request: {set: {x-a: b}}}, route: [{destination: {host: cart, subset: v1}, weight: 90}",
            &[
                "  cart.shop:80",
                "    all requests: a copy goes to subset v2 of cart.shop now; on purpose 5 % get 500 now; requests are sent on with x-a: b now",
            ],
            &[],
        ),
        (
            "spec: {host: cart, subsets",
            "spec: {host: cart, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}, subsets",
            &[
                "    subset v1: balanced by LEAST_REQUEST -> RING_HASH",
                "    all requests: an endpoint is chosen by the hash of header x-user now",
            ],
            &[],
        ),
        (
            "spec: {host: cart, subsets",
            "spec: {host: cart, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}, outlierDetection: {consecutive5xxErrors: 3}}, subsets",
            &[
                "    connections: connections at most no limit -> 7; endpoints that fail are set aside now",
                "WorkloadEntry shop/cart-1 and WorkloadEntry shop/cart-2 (2 of 7 proxies)",
                "    connections to the application: connections at most no limit -> 7",
            ],
            &[],
        ),
        (
            "spec: {host: cart, subsets",
            "spec: {host: cart, trafficPolicy: {tls: {mode: DISABLE}}, subsets",
            &["    connections: mutual TLS is spoken where the other side takes it, no more"],
            &[],
        ),
        (
            "ports: [{name: http, port: 80}]",
            "ports: [{name: http, port: 81}]",
            &["  cart.shop:80", "    cannot be connected to any more", "  cart.shop:81", "    can be connected to"],
            &["host-unknown"],
        ),
    ])
    .await
}

#[tokio::test]
async fn services_from_outside_scopes_and_what_is_told_of_traffic_have_words() -> Result<()> {
    check(&[
        (
            "endpoints: [{address: a.example.com}, {address: b.example.com}]",
            "endpoints: [{address: a.example.com}]",
            &["  api.example.com:443", "    api.example.com: 2 -> 1 endpoint; b.example.com:443 is gone"],
            &["fewer-endpoints"],
        ),
        (
            "resolution: DNS, endpoints: [{address: a.example.com}, {address: b.example.com}]",
            "resolution: STATIC, endpoints: [{address: 10.77.0.1}]",
            &[
                "    connections: endpoints are found by DNS -> as the mesh knows them",
                "    api.example.com: 1 endpoint",
            ],
            &[],
        ),
        (
            "hosts: [./*, infra/*]",
            "hosts: [infra/*]",
            &[
                "sidecars in shop (5 of 7 proxies)",
                "  api.example.com, cart.shop, db.shop",
                "    becomes unknown: nothing of the mesh leads there any more",
            ],
            &["host-unknown", "host-unknown", "host-unknown"],
        ),
        (
            "egress: [{hosts: [./*, infra/*]}]",
            "outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: [./*, infra/*]}]",
            &[
                "  all other hosts at port 80",
                "    requests are refused with 502",
                "  listener 0.0.0.0_443, listener 0.0.0.0_80, unknown destinations",
                "    connections: to wherever they are for -> to nowhere",
            ],
            &["host-unknown"],
        ),
        (
            "accessLogging: [{providers: [{name: envoy}]}]",
            "accessLogging: [{providers: [{name: envoy}], disabled: true}]",
            &["  db.shop:3306, ingress.infra:443", "    connections: no access log any more"],
            &[],
        ),
        (
            "stream_idle_timeout: 5s",
            "stream_idle_timeout: 9s",
            &["  listener 0.0.0.0_80", "    HTTP: stream_idle_timeout 5s -> 9s"],
            &[],
        ),
    ])
    .await
}

#[tokio::test]
async fn gateways_are_told_of_as_their_clients_see_them() -> Result<()> {
    check(&[
        (
            "hosts: [shop.example.com, old.example.com]}, {port",
            "hosts: [shop.example.com]}, {port",
            &[
                "gateway Pod infra/ingress-1 (1 of 7 proxies)",
                "  gateway old.example.com:8080",
                "    is served no more: clients get 404",
            ],
            &["host-unknown"],
        ),
        (
            "hosts: [shop.example.com, old.example.com], gateways",
            "hosts: [shop.example.com], gateways",
            &["  gateway old.example.com:8080", "    is served no more: clients get 404"],
            &["host-unknown"],
        ),
        (
            "credentialNames: [shop-rsa, shop-ecdsa]",
            "credentialNames: [shop-rsa]",
            &["  gateway port 8443", "    HTTPS for shop.example.com: certificate shop-rsa and shop-ecdsa -> shop-rsa"],
            &["certificate-lost"],
        ),
        (
            ", {port: {number: 443, name: https, protocol: HTTPS}, hosts: [shop.example.com], tls: {mode: SIMPLE, credentialNames: [shop-rsa, shop-ecdsa]}}",
            "",
            &["  gateway port 8443", "    is listened for no more"],
            &["gateway-port-lost", "host-unknown"],
        ),
        (
            "hosts: [shop.example.com, old.example.com]}, {port",
            "hosts: [shop.example.com, old.example.com], tls: {httpsRedirect: true}}, {port",
            &[
                "  gateway old.example.com:8080, gateway shop.example.com:8080",
                "    requests without TLS are redirected to https:// now",
            ],
            &[],
        ),
        (
            "[{match: [{uri: {prefix: /cart}}], route: [{destination: {host: cart}}]}",
            "[{match: [{uri: {prefix: /cart}}], route: [{destination: {host: cart, subset: v1}}]}",
            &["    requests whose path begins with /cart: to cart.shop -> to subset v1 of cart.shop"],
            &["fewer-destinations", "fewer-destinations", "fewer-destinations"],
        ),
    ])
    .await
}

#[tokio::test]
async fn a_secret_that_changes_is_named_and_not_shown() -> Result<()> {
    let secret = |bytes: &str| {
        let pem = |kind: &str| format!("\"-----BEGIN {kind}-----\\n{bytes}\\n-----END {kind}-----\\n\"");
        let (chain, key) = (pem("CERTIFICATE"), pem("PRIVATE KEY"));
        format!(
            "---\n{{apiVersion: v1, kind: Secret, metadata: {{name: shop-rsa, namespace: infra}}, type: kubernetes.io/tls, stringData: {{tls.crt: {chain}, tls.key: {key}}}}}\n"
        )
    };
    let (first, second) = ("Zmlyc3Q=", "c2Vjb25k");
    let base = folder(&[("mesh.yaml", &format!("{MESH}{}", secret(first)))])?;
    let path = text(base.path())?;
    for (with, says, code) in [
        (format!("{MESH}{}", secret(second)), "    is another one, of the same name\n", Some(0)),
        (MESH.to_owned(), "    is there no more\n", Some(1)),
    ] {
        let change = folder(&[("mesh.yaml", &with)])?;
        let arguments = ["diff", "--config", path, "--with", text(change.path())?, "--replace", "--strict"];
        let page = ended(&arguments).await?;
        assert!(page.stdout.contains(&format!("  certificate shop-rsa\n{says}")), "{page:?}");
        assert_eq!(page.code, code, "{page:?}");
        let data = ended(&[arguments.as_slice(), &["-o", "json"]].concat()).await?;
        for shown in [&page.stdout, &data.stdout] {
            // As it is, and as Envoy's messages would be shown.
            for bytes in [first, second, "LS0tLS1CRUdJTi"] {
                assert!(!shown.contains(bytes), "{bytes}: {shown}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_gateway_without_a_workload_is_thought_up() -> Result<()> {
    let pod = MESH.split("---\n").find(|document| document.contains("kind: Pod")).context("a pod")?;
    let base = MESH.replace(&format!("{pod}---\n"), "");
    let change = base.replace(
        "hosts: [shop.example.com, old.example.com], gateways",
        "hosts: [old.example.com], gateways",
    );
    let (base, change) = (folder(&[("mesh.yaml", &base)])?, folder(&[("mesh.yaml", &change)])?);
    let page = ended(&["diff", "--config", text(base.path())?, "--with", text(change.path())?]).await?.stdout;
    let says = "gateway selected by Gateway infra/web (1 of 7 proxies)\n";
    assert!(page.contains(says), "{page}");
    assert!(page.contains("host-unknown: gateway shop.example.com:443 is served no more"), "{page}");
    Ok(())
}
