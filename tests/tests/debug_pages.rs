//! Istiod's debug pages of a real `meltemi serve`: what Istio's tools read over xDS and by HTTP, and who may read what.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::admin::v3::{ClustersConfigDump, RoutesConfigDump};
use meltemi_proto::envoy::config::route::v3::RouteConfiguration;
use meltemi_proto::envoy::service::discovery::v3::DiscoveryResponse;
use meltemi_proto::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use meltemi_proto::google::protobuf::value::Kind;
use meltemi_testkit::http::Request;
use meltemi_testkit::xds::{Form, Node, Sidecar};
use meltemi_tests::identity::{Authority, Client, Peer};
use prost::Message;
use serde_json::Value;
use tonic::Code;

/// After so long a test has failed.
const LIMIT: Duration = Duration::from_secs(120);

const PAGES: &str = "istio.io/debug";
const SYNCZ: &str = "istio.io/debug/syncz";
const CONFIG_DUMP: &str = "istio.io/debug/config_dump";

/// As `istioctl` introduces itself, from a namespace.
fn tool(namespace: &str) -> Node {
    Node::sidecar("test-1", namespace)
        .metadata("GENERATOR", "event")
        .metadata("ISTIO_VERSION", "65536.65536.65536")
}

/// A connection of the account `default` of a namespace.
async fn of(authority: &Authority, namespace: &str) -> Result<Client> {
    let token = format!("Bearer {}", authority.token(&format!("{namespace}/default"), "1h").await?);
    let holder = authority.connect(None).await?.hold(Peer { authorization: Some(&token) }, 0).await?;
    authority.connect(Some(&holder)).await
}

fn clients(answer: &DiscoveryResponse) -> Result<Vec<ClientConfig>> {
    let decode = |resource: &meltemi_proto::google::protobuf::Any| {
        ensure!(
            resource.type_url.ends_with("/envoy.service.status.v3.ClientConfig"),
            "{}",
            resource.type_url
        );
        Ok(ClientConfig::decode(&*resource.value)?)
    };
    answer.resources.iter().map(decode).collect()
}

/// The JSON of a page over xDS.
fn json(answer: &DiscoveryResponse) -> Result<Value> {
    let [page] = answer.resources.as_slice() else { anyhow::bail!("{} resources", answer.resources.len()) };
    ensure!(page.type_url == PAGES, "{}", page.type_url);
    Ok(serde_json::from_slice(&page.value)?)
}

/// An authority, and the sidecar `reviews-1.shop` on it, all of whose first answers it has acknowledged.
async fn served() -> Result<(Authority, Sidecar)> {
    let authority = Authority::start(&[]).await?;
    let token = format!("Bearer {}", authority.token("shop/reviews", "1h").await?);
    let holder = authority.connect(None).await?.hold(Peer { authorization: Some(&token) }, 0).await?;
    let node =
        Node::sidecar("reviews-1", "shop").metadata("CLUSTER_ID", "east").metadata("ISTIO_VERSION", "1.30.0");
    let mut sidecar =
        Sidecar::over(authority.connect(Some(&holder)).await?.channel(), node, Form::Delta).await?;
    sidecar.until(LIMIT, |held| !held.names(TypeUrl::VirtualHost).is_empty()).await?;
    Ok((authority, sidecar))
}

#[tokio::test]
async fn istio_s_tools_see_how_far_each_proxy_is_and_what_it_is_served() -> Result<()> {
    let (authority, mut sidecar) = served().await?;
    let root = of(&authority, "istio-system").await?;
    let synced = async {
        loop {
            let answer = root.page(Peer::default(), &tool("istio-system"), SYNCZ, &[]).await?;
            let who = answer.control_plane.as_ref().map(|plane| plane.identifier.clone()).unwrap_or_default();
            let who: Value = serde_json::from_str(&who).context(who)?;
            ensure!(
                who["Component"] == "istiod" && who["ID"].as_str().is_some_and(|id| !id.is_empty()),
                "{who}"
            );
            ensure!(!answer.nonce.is_empty() && answer.type_url == SYNCZ, "{answer:?}");
            let clients = clients(&answer)?;
            let [client] = clients.as_slice() else {
                anyhow::bail!("{clients:?}: the tool itself is no proxy")
            };
            let node = client.node.as_ref().context("a node")?;
            ensure!(node.id == "reviews-1.shop", "{node:?}");
            let said = |key: &str| match node.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
                Kind::StringValue(text) => Some(text.clone()),
                _ => None,
            };
            ensure!(said("CLUSTER_ID").as_deref() == Some("east"), "{node:?}");
            ensure!(said("ISTIO_VERSION").as_deref() == Some("1.30.0"), "{node:?}");
            ensure!(said("NAMESPACE").as_deref() == Some("shop"), "{node:?}");
            let types: Vec<&str> = client.generic_xds_configs.iter().map(|of| of.type_url.as_str()).collect();
            for type_url in [TypeUrl::Cluster, TypeUrl::Listener, TypeUrl::Endpoint, TypeUrl::Route] {
                ensure!(types.contains(&type_url.as_str()), "{types:?}");
            }
            let is_synced = |status: i32| status == i32::from(ConfigStatus::Synced);
            if client.generic_xds_configs.iter().all(|of| is_synced(of.config_status)) {
                return anyhow::Ok(());
            }
            // What is on its way is taken, so that it is acknowledged.
            drop(tokio::time::timeout(Duration::from_millis(50), sidecar.step()).await);
        }
    };
    tokio::time::timeout(LIMIT, synced).await.context("all is acknowledged")??;

    let answer = root.page(Peer::default(), &tool("istio-system"), CONFIG_DUMP, &["reviews-1.shop"]).await?;
    let kinds: Vec<&str> =
        answer.resources.iter().filter_map(|dump| dump.type_url.rsplit('.').next()).collect();
    ensure!(
        kinds
            == [
                "BootstrapConfigDump",
                "ClustersConfigDump",
                "ListenersConfigDump",
                "ScopedRoutesConfigDump",
                "RoutesConfigDump",
                "SecretsConfigDump",
                "EcdsConfigDump"
            ],
        "{kinds:?}"
    );
    let clusters = ClustersConfigDump::decode(&*answer.resources[1].value)?.dynamic_active_clusters;
    ensure!(clusters.len() >= 3, "{}", clusters.len());
    // Virtual hosts that go out as resources of their own are where Istio's tools look for them.
    let routes = RoutesConfigDump::decode(&*answer.resources[4].value)?.dynamic_route_configs;
    let routes: Vec<RouteConfiguration> = routes
        .iter()
        .filter_map(|route| RouteConfiguration::decode(&*route.route_config.as_ref()?.value).ok())
        .collect();
    let hosts = routes.iter().flat_map(|route| &route.virtual_hosts);
    let reviews = "reviews.shop.svc.cluster.local".to_owned();
    ensure!(hosts.into_iter().any(|host| host.domains.contains(&reviews)), "{routes:?}");

    for (page, holds) in [
        ("syncz", "reviews-1.shop"),
        ("adsz", "totalClients"),
        ("registryz", "reviews.shop.svc.cluster.local"),
        ("configz", "[]"),
        ("config_dump?proxyID=reviews-1", "dynamic_active_clusters"),
        ("edsz?proxyID=reviews-1.shop", "outbound|80||reviews.shop.svc.cluster.local"),
        ("clusterz", "synced"),
        ("endpointz", "{}"),
        ("instancesz", "reviews-1.shop"),
        ("config_dump?proxyID=reviews-1&types=eds", "ClusterLoadAssignment"),
        ("sidecarz?proxyID=reviews-1.shop", "default-sidecar"),
    ] {
        let answer = root.page(Peer::default(), &tool("istio-system"), PAGES, &[page]).await?;
        let shown = json(&answer)?.to_string();
        ensure!(shown.contains(holds), "{page}: {shown}");
    }
    let two = root.page(Peer::default(), &tool("istio-system"), PAGES, &["syncz", "adsz"]).await;
    ensure!(two.is_err_and(|status| status.code() == Code::InvalidArgument));
    Ok(())
}

#[tokio::test]
async fn nobody_sees_another_namespace_but_who_is_of_the_root_namespace() -> Result<()> {
    let (authority, _sidecar) = served().await?;
    let own = of(&authority, "shop").await?;
    ensure!(clients(&own.page(Peer::default(), &tool("shop"), SYNCZ, &[]).await?)?.len() == 1);
    let dump = own.page(Peer::default(), &tool("shop"), CONFIG_DUMP, &["reviews-1.shop"]).await?;
    ensure!(dump.resources.len() == 7, "{}", dump.resources.len());
    own.page(Peer::default(), &tool("shop"), PAGES, &["config_dump?proxyID=reviews-1.shop"]).await?;
    own.page(Peer::default(), &tool("shop"), PAGES, &["ndsz?proxyID=reviews-1.shop"]).await?;
    for page in ["syncz", "configz", "endpointz", "registryz", "adsz", "sidecarz?proxyID=reviews-1.shop"] {
        let refused = own.page(Peer::default(), &tool("shop"), PAGES, &[page]).await;
        ensure!(refused.is_err_and(|status| status.code() == Code::PermissionDenied), "{page}");
    }
    let other = of(&authority, "web").await?;
    ensure!(clients(&other.page(Peer::default(), &tool("web"), SYNCZ, &[]).await?)?.is_empty());
    let dump = other.page(Peer::default(), &tool("web"), CONFIG_DUMP, &["reviews-1.shop"]).await?;
    ensure!(dump.resources.is_empty(), "{}", dump.resources.len());
    let dump =
        other.page(Peer::default(), &tool("web"), PAGES, &["config_dump?proxyID=reviews-1.shop"]).await;
    ensure!(dump.is_err_and(|status| status.code() == Code::NotFound));
    // Who says to be of the root namespace, and is not, is nobody.
    let liar = other.page(Peer::default(), &tool("istio-system"), SYNCZ, &[]).await;
    ensure!(liar.is_err_and(|status| status.code() == Code::PermissionDenied));
    // Without TLS there is no identity.
    let plain = Client::plain(authority.server()?.addresses().xds).await?;
    let plain = plain.page(Peer::default(), &tool("istio-system"), SYNCZ, &[]).await;
    ensure!(plain.is_err_and(|status| status.code() == Code::PermissionDenied));
    Ok(())
}

#[tokio::test]
async fn the_pages_are_there_by_http_for_who_is_on_the_machine() -> Result<()> {
    let (authority, _sidecar) = served().await?;
    let monitoring = authority.server()?.addresses().monitoring;
    let get = async |path: &str| Request::get(path).send(monitoring).await;
    let answer = get("/debug/syncz").await?;
    let syncz = answer.json();
    ensure!(answer.status == 200 && syncz[0]["proxy"] == "reviews-1.shop", "{syncz}");
    ensure!(syncz[0]["proxy_type"] == "sidecar" && syncz[0]["istio_version"] == "1.30.0", "{syncz}");
    ensure!(syncz[0]["cluster_sent"].as_str().is_some_and(|nonce| !nonce.is_empty()), "{syncz}");
    ensure!(get("/debug/syncz?namespace=web").await?.json().as_array().is_some_and(Vec::is_empty));
    let dump = get("/debug/config_dump?proxyID=reviews-1.shop").await?.json();
    ensure!(dump["configs"].as_array().is_some_and(|configs| configs.len() == 7), "{dump}");
    // istioctl looks for these two texts.
    let answer = get("/debug/config_dump").await?;
    ensure!(answer.status == 400 && answer.text().contains("You must provide a proxyID in the query string"));
    let answer = get("/debug/config_dump?proxyID=nobody").await?;
    let text = "Proxy not connected to this Pilot instance. It may be connected to another instance.";
    ensure!(answer.status == 404 && answer.text().contains(text), "{}", answer.text());
    ensure!(get("/debug/nothing").await?.status == 404);
    let answer = get("/debug/config_dump?proxyID=reviews-1.shop&types=xds").await?;
    ensure!(answer.status == 400 && answer.text().contains("`xds` is no type"), "{}", answer.text());
    let pages = get("/debug/list").await?.json();
    let pages = pages.as_array().context("a list")?;
    ensure!(pages.contains(&"endpointz".into()) && pages.contains(&"config_dump".into()), "{pages:?}");
    for page in pages {
        let page = format!("/debug/{}?proxyID=reviews-1.shop", page.as_str().unwrap_or_default());
        ensure!(get(&page).await?.status == 200, "{page}");
    }
    Ok(())
}

/// A workload of `reviews` in the mesh, one beside it that nothing is known of, an entry, and what the pages tell beside services.
const MESH: &str = "\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-1, namespace: shop}
spec:
  address: 10.1.0.1
  labels: {app: reviews, version: v1, security.istio.io/tlsMode: istio}
  serviceAccount: reviews
  locality: eu/eu-1
  weight: 3
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: bank, namespace: shop}
spec:
  hosts: [bank.example.com]
  addresses: [240.1.2.3]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  location: MESH_EXTERNAL
  endpoints: [{address: 192.0.2.7, ports: {tls: 8443}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy: {}
    accessLogFile: /dev/stdout
    extensionProviders: [{name: own, envoyFileAccessLog: {path: /tmp/log}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop, labels: {team: a}}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}], timeout: 2s}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: shop}
spec: {workloadSelector: {labels: {app: reviews}}, egress: [{hosts: [./bank.example.com]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: logs, namespace: shop}
spec: {accessLogging: [{providers: [{name: envoy}]}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: others, namespace: shop}
spec: {selector: {matchLabels: {app: ratings}}, accessLogging: [{disabled: true}]}
";

#[tokio::test]
async fn the_mesh_and_a_proxy_s_part_of_it_are_shown_in_istiods_shapes() -> Result<()> {
    let authority = Authority::start(&[]).await?;
    std::fs::write(authority.place().join("config/mesh.yaml"), MESH)?;
    let token = format!("Bearer {}", authority.token("shop/reviews", "1h").await?);
    let holder = authority.connect(None).await?.hold(Peer { authorization: Some(&token) }, 0).await?;
    let node = Node::sidecar("reviews-1", "shop").ip("10.1.0.1").metadata("DNS_CAPTURE", "true");
    let channel = authority.connect(Some(&holder)).await?.channel();
    let mut sidecar = Sidecar::over(channel, node, Form::Delta).await?;
    let bank = "outbound|443||bank.example.com";
    let reviews = "outbound|80||reviews.shop.svc.cluster.local";
    let scoped = |held: &meltemi_testkit::xds::Held| {
        let names = held.names(TypeUrl::Cluster);
        names.contains(&bank) && !names.contains(&reviews)
    };
    sidecar.until(LIMIT, scoped).await?;

    let monitoring = authority.server()?.addresses().monitoring;
    let get = async |page: &str| Request::get(&format!("/debug/{page}")).send(monitoring).await;
    let page = get("endpointz").await?.json();
    let of = &page["reviews.shop.svc.cluster.local"]["shop"];
    let expected = serde_json::json!({
        "Shards": {"Kubernetes/Kubernetes": [{
            "Labels": {"app": "reviews", "version": "v1", "security.istio.io/tlsMode": "istio"},
            "Addresses": ["10.1.0.1"],
            "ServicePortName": "http",
            "LegacyClusterPortKey": 80,
            "ServiceAccount": "spiffe://cluster.local/ns/shop/sa/reviews",
            "Network": "",
            "Locality": {"Label": "eu/eu-1", "ClusterID": "Kubernetes"},
            "EndpointPort": 80,
            "LbWeight": 3,
            "TLSMode": "istio",
            "Namespace": "shop",
            "WorkloadName": "reviews-1",
            "HostName": "",
            "HealthStatus": 1,
            "NodeName": "",
        }]},
        "ServiceAccounts": {"spiffe://cluster.local/ns/shop/sa/reviews": {}},
    });
    ensure!(*of == expected, "{page:#}");
    let of = &page["bank.example.com"]["shop"]["Shards"]["External/Kubernetes"][0];
    let told = (&of["Addresses"][0], &of["ServicePortName"], &of["EndpointPort"], &of["TLSMode"]);
    ensure!(told == (&"192.0.2.7".into(), &"tls".into(), &8443.into(), &"disabled".into()), "{page:#}");
    ensure!(get("endpointShardz").await?.json() == page);

    let page = get("configz").await?.json();
    let all = page.as_array().context("an array")?;
    let rule = all.iter().find(|object| object["kind"] == "VirtualService").context("the rule")?;
    ensure!(rule["apiVersion"] == "networking.istio.io/v1" && rule["metadata"]["labels"]["team"] == "a");
    ensure!(rule["spec"]["http"][0]["timeout"] == "2s", "{rule}");
    ensure!(!all.iter().any(|object| object["kind"] == "Service"), "{page}");

    let page = get("registryz").await?.json();
    let services = page.as_array().context("an array")?;
    let found = services.iter().find(|service| service["hostname"] == "bank.example.com").context("bank")?;
    let told = (&found["Attributes"]["ServiceRegistry"], &found["addresses"][0], &found["ports"][0]);
    let port = serde_json::json!({"name": "tls", "port": 443, "protocol": "TLS"});
    ensure!(told == (&"External".into(), &"240.1.2.3".into(), &port), "{page:#}");

    let page = get("instancesz").await?.json();
    let [only] = page["reviews-1.shop"].as_array().context("an array")?.as_slice() else {
        anyhow::bail!("{page:#}")
    };
    ensure!(only["Service"]["hostname"] == "reviews.shop.svc.cluster.local", "{page:#}");
    ensure!(only["Port"]["protocol"] == "HTTP" && only["Port"]["TargetPort"] == 80, "{page:#}");

    let page = get("sidecarz?proxyID=reviews-1.shop").await?.json();
    let told = (&page["name"], &page["namespace"], &page["outboundTrafficPolicy"]["mode"]);
    ensure!(told == (&"narrow".into(), &"shop".into(), &"REGISTRY_ONLY".into()), "{page:#}");
    ensure!(page["sidecar"]["egress"][0]["hosts"][0] == "./bank.example.com", "{page:#}");
    let hosts: Vec<&Value> =
        page["services"].as_array().context("an array")?.iter().map(|of| &of["hostname"]).collect();
    ensure!(hosts == ["bank.example.com"], "{page:#}");

    let page = get("telemetryz?proxyID=reviews-1.shop").await?.json();
    let names: Vec<&Value> =
        page["telemetries"].as_array().context("an array")?.iter().map(|of| &of["name"]).collect();
    ensure!(names == ["logs"], "{page:#}");
    let page = get("telemetryz").await?.json();
    let all = &page["telemetries"]["namespace_to_telemetries"]["shop"];
    ensure!(all[0]["spec"]["accessLogging"][0]["providers"][0]["name"] == "envoy", "{page:#}");
    ensure!(all[1]["name"] == "others" && page["telemetries"]["root_namespace"] == "istio-system");

    let page = get("mesh").await?.json();
    ensure!(
        page["extensionProviders"][0]["name"] == "own" && page["accessLogFile"] == "/dev/stdout",
        "{page:#}"
    );
    ensure!(page["rootNamespace"] == "istio-system" && page["connectTimeout"] == "10s", "{page:#}");
    ensure!(page["outboundTrafficPolicy"]["mode"] == "REGISTRY_ONLY", "{page:#}");

    let page = get("ndsz?proxyID=reviews-1.shop").await?.json();
    ensure!(page["configs"][0]["table"]["bank.example.com"]["ips"][0] == "240.1.2.3", "{page:#}");
    let page = get("config_dump?proxyID=reviews-1.shop&types=cds,eds").await?.json();
    let configs = page["configs"].as_array().context("an array")?;
    let kinds: std::collections::BTreeSet<&str> =
        configs.iter().filter_map(|of| of["@type"].as_str()?.rsplit('.').next()).collect();
    ensure!(kinds == ["Cluster", "ClusterLoadAssignment"].into(), "{kinds:?}");
    let page = get("config_dump?proxyID=reviews-1.shop&include_eds").await?.json();
    let third = page["configs"][2]["@type"].as_str().unwrap_or_default();
    ensure!(third.ends_with("EndpointsConfigDump"), "{third}");
    ensure!(get("connections").await?.json()["totalClients"] == 1);
    let kinds = get("resourcesz").await?.json();
    let gateway = serde_json::json!({"Group": "networking.istio.io", "Version": "v1", "Kind": "Gateway"});
    ensure!(kinds.as_array().is_some_and(|kinds| kinds.contains(&gateway)), "{kinds}");
    for page in ["adsz", "telemetryz", "sidecarz"] {
        ensure!(get(&format!("{page}?proxyID=nobody")).await?.status == 404, "{page}");
    }
    ensure!(get("sidecarz").await?.status == 400);
    for page in ["push_status", "inject", "cachez", "authorizationz"] {
        ensure!(get(page).await?.status == 404, "{page}");
    }
    Ok(())
}
