//! The program as the service account of the chart: it needs no permission that the roles do not give, and uses each that they do.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use meltemi_serve::{Access, Config, Own};
use meltemi_testkit::http::Request;
use meltemi_testkit::kube::{Asked, Cluster};
use meltemi_testkit::xds::Node;
use meltemi_tests::identity::{Client, Peer};
use meltemi_tests::kubernetes::certificate;
use serde_json::Value;
use tokio::time::{interval, timeout};

use crate::install::helm;
use crate::objects::documents;

/// One object of each kind, so that there is a status to write.
const OBJECTS: &str = "
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: a}, spec: {host: a}}
---
{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: a}, spec: {}}
---
{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}, spec: {selector: {a: b}}}
---
{apiVersion: networking.istio.io/v1beta1, kind: ProxyConfig, metadata: {name: a}, spec: {concurrency: 1}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: a}, spec: {hosts: [a.example]}}
---
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: a}, spec: {egress: [{hosts: [./*]}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: a}, spec: {address: 10.0.0.1}}
---
{apiVersion: networking.istio.io/v1, kind: WorkloadGroup, metadata: {name: a}, spec: {template: {}}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: a}, spec: {}}
---
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: a}, spec: {}}
---
{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: a}, spec: {}}
---
{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {name: a}, spec: {}}
";

const LIMIT: Duration = Duration::from_secs(60);

/// `verb resource` of each permission that a role gives.
fn given(roles: &[Value]) -> BTreeSet<String> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut all = BTreeSet::new();
    for rule in roles.iter().flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
        for resource in texts(&rule["resources"]) {
            all.extend(texts(&rule["verbs"]).into_iter().map(|verb| format!("{verb} {resource}")));
        }
    }
    all
}

/// `verb resource` of each request for an object; discovery is open to everyone.
fn used(asked: &BTreeSet<Asked>) -> BTreeSet<String> {
    let of_objects = asked.iter().filter(|asked| !asked.resource.is_empty());
    let verbs = of_objects.flat_map(|asked| {
        // An apply that made something needed both rights.
        let made = (asked.verb == "patch" && asked.status == 201).then_some("create");
        [Some(asked.verb.as_str()), made]
            .into_iter()
            .flatten()
            .map(|verb| format!("{verb} {}", asked.resource))
    });
    verbs.collect()
}

async fn ready(address: SocketAddr) -> Result<()> {
    let mut ticks = interval(Duration::from_millis(50));
    let asked = async {
        loop {
            ticks.tick().await;
            if Request::get("/ready").send(address).await.is_ok_and(|answer| answer.status == 200) {
                return;
            }
        }
    };
    timeout(LIMIT, asked).await.context("it does not become ready")
}

/// Waits until it has asked for as much as that; the audit log is written a moment after.
async fn asked(cluster: &Cluster, namespace: &str, expected: &BTreeSet<String>) -> Result<BTreeSet<Asked>> {
    let mut ticks = interval(Duration::from_millis(50));
    let mut last = BTreeSet::new();
    let seen = async {
        loop {
            ticks.tick().await;
            last = cluster.asked_by(namespace, "meltemi").await?;
            if used(&last).is_superset(expected) {
                return anyhow::Ok(());
            }
        }
    };
    match timeout(LIMIT, seen).await {
        Ok(outcome) => outcome.map(|()| last),
        Err(_) => bail!("never asked for: {:?}", expected.difference(&used(&last)).collect::<Vec<_>>()),
    }
}

#[tokio::test]
async fn the_program_needs_no_more_than_the_roles_give_and_uses_all_of_it() -> Result<()> {
    // One of its own: it writes the status of every object that there is.
    let cluster = Cluster::start().await?;
    let namespace = cluster.namespace("roles").await?;
    let rendered = helm(&cluster, "template", &namespace, &[]).await?;
    cluster.apply(&rendered).await?;
    let roles: Vec<Value> = documents(&rendered)?
        .into_iter()
        .filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role")
        .collect();
    let given = given(&roles);

    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let kubeconfig = cluster.kubeconfig_for(&namespace, "meltemi", Duration::from_secs(600)).await?;
    let running = meltemi_serve::start(Config {
        cluster: Some(Access::Kubeconfig { file: Some(kubeconfig), context: None }),
        own: Own { namespace: namespace.as_str().into(), pod: Some("meltemi-0".into()), ..Own::default() },
        xds: free,
        secure_xds: free,
        http: free,
        monitoring: free,
        ..Config::default()
    })
    .await?;
    ready(running.http).await?;

    cluster.kubectl_with(&["apply", "--server-side", "-n", &namespace, "-f", "-"], OBJECTS).await?;

    // A workload asks for its certificate.
    let token = cluster.token(&namespace, "meltemi", &["istio-ca"], None).await?;
    let secure = running.secure_xds.context("no TLS port")?;
    let mut ticks = interval(Duration::from_millis(50));
    let asking = async {
        loop {
            ticks.tick().await;
            let roots = cluster.get("v1", "ConfigMap", "default", "istio-ca-root-cert").await?;
            let Some(roots) = roots else { continue };
            let roots = roots.data["data"]["root-cert.pem"].as_str().context("roots")?.to_owned();
            let name = format!("istiod.{namespace}.svc");
            if let Ok(found) = certificate(secure, &name, &roots, None, Some(&token)).await {
                return found.verified_by(&roots);
            }
        }
    };
    timeout(LIMIT, asking).await.context("no certificate")??;

    // And a gateway asks for its clusters: whether it may have Secrets is asked about it.
    let roots =
        cluster.get("v1", "ConfigMap", "default", "istio-ca-root-cert").await?.context("the roots")?;
    let roots = roots.data["data"]["root-cert.pem"].as_str().context("roots")?.to_owned();
    let gateway = Client::connect(secure, &roots, &format!("istiod.{namespace}.svc"), None).await?;
    let proof = format!("Bearer {token}");
    let node = Node::sidecar("edge", &namespace).router();
    gateway.stream(Peer { authorization: Some(&proof) }, &node).await?;

    let asked = asked(&cluster, &namespace, &given).await?;
    let refused: Vec<&Asked> = asked.iter().filter(|asked| asked.status == 403).collect();
    assert!(refused.is_empty(), "the roles do not let it: {refused:#?}");
    let more: Vec<String> = used(&asked).difference(&given).cloned().collect();
    assert_eq!(more, [""; 0], "asked for and answered, though no role of the chart gives it");
    for one in asked.iter().filter(|asked| asked.resource == "configmaps") {
        let is_settings = (one.namespace.as_str(), one.name.as_str()) == (namespace.as_str(), "istio");
        let is_ours = ["istio-ca-root-cert", "istio-ca-crl"].contains(&one.name.as_str());
        assert!(is_settings || is_ours, "no other is read: {one:?}");
    }
    for one in asked.iter().filter(|asked| asked.resource == "secrets") {
        // For gateways, all that there are, by one list and one watch; and nothing else is done to any.
        if one.namespace.is_empty() && ["list", "watch"].contains(&one.verb.as_str()) {
            continue;
        }
        assert_eq!(one.namespace, namespace, "no other namespace's");
        assert!(
            ["istio-ca-secret", "cacerts"].contains(&one.name.as_str()) || one.verb == "create",
            "no other is read: {one:?}"
        );
    }
    drop(running);
    Ok(())
}
