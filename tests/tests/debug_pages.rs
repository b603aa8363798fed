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
        ("configz", "\"List\""),
        ("config_dump?proxyID=reviews-1", "dynamic_active_clusters"),
        ("edsz?proxyID=reviews-1.shop", "outbound|80||reviews.shop.svc.cluster.local"),
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
    for page in ["syncz", "configz", "registryz", "adsz"] {
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
    let pages = get("/debug/list").await?.json();
    for page in pages.as_array().context("a list")? {
        let page = format!("{}?proxyID=reviews-1.shop", page.as_str().unwrap_or_default());
        ensure!(get(&page).await?.status == 200, "{page}");
    }
    Ok(())
}
