//! What the objects of a cluster say of themselves, as `kubectl wait` and `kubectl get` show it: accepted, references found, in force.
//!
//! One cluster, one test after the other.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use meltemi_testkit::kube::Cluster;
use meltemi_testkit::netns::Network;
use meltemi_testkit::xds::{Form, Node, Sidecar};
use meltemi_tests::control_plane::virtual_host;
use meltemi_tests::kubernetes::{Case, Client, Home, Needs, main as run_all, rule, run, slice, split};
use meltemi_tests::live::Addresses;
use serde_json::{Value, json};

const PORT: u16 = 9080;

/// For so long `kubectl wait` waits; a status is written half a second after what it tells.
const WAIT: &str = "--timeout=45s";

fn main() {
    let cases: &[Case] = &[
        ("an_object_says_that_it_is_accepted_whole_and_in_force", Needs::Kubernetes, || run(good())),
        ("a_refused_object_says_why_and_its_last_good_stays", Needs::Kubernetes, || run(refused())),
        ("a_held_route_says_what_is_missing_until_it_comes", Needs::Kubernetes, || run(held())),
        ("a_proxy_that_does_not_answer_is_named", Needs::Kubernetes, || run(stalled())),
        ("a_proxy_that_refuses_is_named_with_its_words", Needs::Kubernetes, || run(refusing())),
        ("a_kind_without_effect_says_so", Needs::Kubernetes, || run(untaken())),
        ("nothing_is_written_without_a_change", Needs::Kubernetes, || run(unchanged())),
        ("conditions_of_others_stay", Needs::Kubernetes, || run(others())),
        ("one_of_two_replicas_writes_and_the_other_takes_over", Needs::Kubernetes, || run(takeover())),
        ("it_is_in_force_only_when_it_is_so_at_all_replicas", Needs::Kubernetes, || run(replicas())),
        ("replicas_find_each_other_by_their_service", Needs::Root, || run(found_by_service())),
        ("status_can_be_switched_off", Needs::Kubernetes, || run(off())),
        ("meltemi_wait_returns_when_a_generation_is_in_force", Needs::Kubernetes, || run(wait())),
    ];
    run_all(cases);
}

/// Waits as a person would: until the object's condition has that status, or time is up.
async fn becomes(kube: &Cluster, namespace: &str, object: &str, condition: &str, status: &str) -> Result<()> {
    let wanted = format!("--for=condition=meltemi.io/{condition}={status}");
    let outcome = kube.kubectl(&["wait", object, "-n", namespace, &wanted, WAIT]).await;
    if outcome.is_err() {
        let shown = kube.kubectl(&["get", object, "-n", namespace, "-o", "yaml"]).await.unwrap_or_default();
        outcome.with_context(|| format!("{object} has no {condition}={status}; it is\n{shown}"))?;
    }
    Ok(())
}

/// Waits until the object's condition has that reason, for its present generation.
async fn reason(
    kube: &Cluster,
    namespace: &str,
    object: &str,
    condition: &str,
    reason: &str,
) -> Result<Value> {
    let path = format!("{{.status.conditions[?(@.type==\"meltemi.io/{condition}\")].reason}}");
    let wanted = format!("--for=jsonpath={path}={reason}");
    kube.kubectl(&["wait", object, "-n", namespace, &wanted, WAIT])
        .await
        .with_context(|| format!("{object} has no {condition} for the reason {reason}"))?;
    found(kube, namespace, object, condition).await
}

/// The condition as it is.
async fn found(kube: &Cluster, namespace: &str, object: &str, condition: &str) -> Result<Value> {
    let object: Value =
        serde_json::from_str(&kube.kubectl(&["get", object, "-n", namespace, "-o", "json"]).await?)?;
    let kind = format!("meltemi.io/{condition}");
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|condition| condition["type"] == kind.as_str());
    found.with_context(|| format!("no {kind} in {}", object["status"]))
}

async fn version(kube: &Cluster, namespace: &str, object: &str) -> Result<String> {
    kube.kubectl(&["get", object, "-n", namespace, "-o", "jsonpath={.metadata.resourceVersion}"]).await
}

/// A namespace with the service `reviews` and its two subsets.
async fn shop(kube: &Cluster) -> Result<String> {
    let shop = kube.namespace("shop").await?;
    kube.apply(&slice(&shop, "reviews", PORT, &["10.9.1.1", "10.9.1.2"])).await?;
    kube.apply(&rule(&shop, "reviews", &["v1", "v2"])).await?;
    Ok(shop)
}

const REVIEWS: &str = "virtualservice/reviews";

fn weights(shop: &str, v1: u32) -> String {
    split("v1", shop, "reviews", &[("v1", v1), ("v2", 100 - v1)])
}

async fn good() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), shop(home.cluster()).await?);
    let server = home.replica().await?;
    let mut client = Client::start(server.addresses().xds, Node::sidecar("client", &shop), Form::Delta);
    kube.apply(&weights(&shop, 90)).await?;
    for condition in ["Accepted", "ResolvedRefs", "InForce"] {
        becomes(kube, &shop, REVIEWS, condition, "True").await?;
    }
    client.until("the route", |held| virtual_host(held, "9080", "reviews").is_some()).await?;
    becomes(kube, &shop, "destinationrule/reviews", "InForce", "True").await?;
    // A step is a new generation, and the condition says of which one it speaks.
    kube.apply(&weights(&shop, 50)).await?;
    let two = "--for=jsonpath={.status.observedGeneration}=2";
    kube.kubectl(&["wait", REVIEWS, "-n", &shop, two, WAIT]).await?;
    let condition = found(kube, &shop, REVIEWS, "InForce").await?;
    ensure!(condition["observedGeneration"] == 2 && condition["status"] == "True", "{condition}");
    server.terminate().await
}

async fn refused() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), shop(home.cluster()).await?);
    let server = home.replica().await?;
    kube.apply(&weights(&shop, 90)).await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    // The schema takes any text as a regular expression.
    let patch = json!({"spec": {"http": [{"match": [{"uri": {"regex": "("}}], "route": [{"destination": {"host": "reviews"}}]}]}});
    kube.kubectl(&["patch", REVIEWS, "-n", &shop, "--type=merge", "-p", &patch.to_string()]).await?;
    becomes(kube, &shop, REVIEWS, "Accepted", "False").await?;
    let condition = found(kube, &shop, REVIEWS, "Accepted").await?;
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(message.starts_with("spec.http[0].match[0].uri.regex: "), "{condition}");
    becomes(kube, &shop, REVIEWS, "InForce", "False").await?;
    let condition = reason(kube, &shop, REVIEWS, "InForce", "NotAccepted").await?;
    ensure!(
        condition["message"].as_str().is_some_and(|text| text.contains("generation 1 stays in force")),
        "{condition}"
    );
    kube.apply(&weights(&shop, 10)).await?;
    for condition in ["Accepted", "InForce"] {
        becomes(kube, &shop, REVIEWS, condition, "True").await?;
    }
    server.terminate().await
}

async fn held() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), shop(home.cluster()).await?);
    let server = home.replica().await?;
    let mut client = Client::start(server.addresses().xds, Node::sidecar("client", &shop), Form::Delta);
    kube.apply(&weights(&shop, 90)).await?;
    client.until("the route", |held| virtual_host(held, "9080", "reviews").is_some()).await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    kube.apply(&split("v1", &shop, "reviews", &[("v1", 50), ("v3", 50)])).await?;
    let condition = reason(kube, &shop, REVIEWS, "ResolvedRefs", "SubsetNotFound").await?;
    ensure!(condition["message"].as_str().is_some_and(|text| text.contains("v3")), "{condition}");
    let condition = reason(kube, &shop, REVIEWS, "InForce", "Held").await?;
    ensure!(condition["message"].as_str().is_some_and(|text| text.contains("v3")), "{condition}");
    kube.apply(&rule(&shop, "reviews", &["v1", "v2", "v3"])).await?;
    for condition in ["ResolvedRefs", "InForce"] {
        becomes(kube, &shop, REVIEWS, condition, "True").await?;
    }
    server.terminate().await
}

/// A sidecar that takes everything there is, and then answers nothing more.
async fn mute(xds: std::net::SocketAddr, shop: &str, name: &str) -> Result<Sidecar> {
    let mut sidecar = Sidecar::connect(xds, Node::sidecar(name, shop), Form::Delta).await?;
    sidecar.until(Duration::from_secs(30), |held| virtual_host(held, "9080", "reviews").is_some()).await?;
    Ok(sidecar)
}

async fn stalled() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), shop(home.cluster()).await?);
    let server = home.replica().await?;
    kube.apply(&weights(&shop, 90)).await?;
    let mut silent = mute(server.addresses().xds, &shop, "silent").await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    kube.apply(&weights(&shop, 50)).await?;
    let condition = reason(kube, &shop, REVIEWS, "InForce", "Propagating").await?;
    ensure!(
        condition["message"].as_str().is_some_and(|text| text.starts_with(&format!("silent.{shop}: "))),
        "{condition}"
    );
    // It answers after all.
    silent.step().await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    server.terminate().await
}

async fn refusing() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), shop(home.cluster()).await?);
    let server = home.replica().await?;
    kube.apply(&weights(&shop, 90)).await?;
    let mut proxy = mute(server.addresses().xds, &shop, "picky").await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    proxy.refuse(|_, name| name.contains("reviews").then(|| "no taste for this".to_owned()));
    let refusing = tokio::spawn(async move { while proxy.step().await.is_ok() {} });
    kube.apply(&weights(&shop, 50)).await?;
    let condition = reason(kube, &shop, REVIEWS, "InForce", "RefusedByProxy").await?;
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains(&format!("picky.{shop}")) && message.contains("no taste for this"),
        "{condition}"
    );
    refusing.abort();
    // A proxy that is gone keeps nothing from being in force.
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    server.terminate().await
}

async fn untaken() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), home.cluster().namespace("shop").await?);
    let server = home.replica().await?;
    kube.apply(&format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: deny, namespace: {shop}}}\nspec: {{}}\n"
    ))
    .await?;
    becomes(kube, &shop, "authorizationpolicy/deny", "Accepted", "False").await?;
    let condition = reason(kube, &shop, "authorizationpolicy/deny", "Accepted", "NotSupported").await?;
    ensure!(
        condition["message"].as_str().is_some_and(|text| text.contains("every request is allowed")),
        "{condition}"
    );
    server.terminate().await
}

async fn unchanged() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), shop(home.cluster()).await?);
    let server = home.replica().await?;
    kube.apply(&weights(&shop, 90)).await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    becomes(kube, &shop, "destinationrule/reviews", "InForce", "True").await?;
    let before = version(kube, &shop, REVIEWS).await?;
    // Proxies come and go, endpoints change, the control plane is started anew.
    for turn in 0..3 {
        drop(mute(server.addresses().xds, &shop, &format!("turn-{turn}")).await?);
    }
    kube.apply(&slice(&shop, "reviews", PORT, &["10.9.1.7"])).await?;
    server.terminate().await?;
    let server = home.replica().await?;
    drop(mute(server.addresses().xds, &shop, "again").await?);
    // What is written after all that comes after it in the queue as well.
    kube.apply(
        &split("v1", &shop, "reviews", &[("v1", 1), ("v2", 99)]).replace("name: reviews", "name: later"),
    )
    .await?;
    becomes(kube, &shop, "virtualservice/later", "Accepted", "True").await?;
    let after = version(kube, &shop, REVIEWS).await?;
    // The other VirtualService of the same host is a finding on one of the two: the younger.
    ensure!(before == after, "it was written at {before}, and again at {after}");
    server.terminate().await
}

async fn others() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), shop(home.cluster()).await?);
    kube.apply(&weights(&shop, 90)).await?;
    let theirs = json!({"status": {"conditions": [{"type": "example.com/Reviewed", "status": "True", "reason": "Four", "message": "eyes"}],
        "observedGeneration": "1", "validationMessages": [{"level": "INFO"}]}});
    kube.kubectl(&[
        "patch",
        REVIEWS,
        "-n",
        &shop,
        "--type=merge",
        "--subresource=status",
        "-p",
        &theirs.to_string(),
    ])
    .await?;
    let server = home.replica().await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    let object: Value =
        serde_json::from_str(&kube.kubectl(&["get", REVIEWS, "-n", &shop, "-o", "json"]).await?)?;
    let status = &object["status"];
    ensure!(status["conditions"][0] == theirs["status"]["conditions"][0], "{status}");
    ensure!(status["validationMessages"] == theirs["status"]["validationMessages"], "{status}");
    ensure!(status["conditions"].as_array().is_some_and(|all| all.len() == 4), "{status}");
    server.terminate().await
}

async fn takeover() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), shop(home.cluster()).await?);
    let holder = async |name: &str| {
        let wanted = format!("--for=jsonpath={{.spec.holderIdentity}}={name}");
        let namespace = home.namespace();
        kube.kubectl(&["wait", "lease/meltemi-leader", "-n", namespace, &wanted, WAIT]).await.map(drop)
    };
    let first = home.launch(home.kubeconfig(), &["--pod-name", "one"]).await?.when_ready().await?;
    // Until it is there, `kubectl wait` finds nothing to wait for.
    first.says(&["it was decided who writes status", "leads=true"]).await?;
    holder("one").await?;
    let second = home.launch(home.kubeconfig(), &["--pod-name", "two"]).await?.when_ready().await?;
    kube.apply(&weights(&shop, 90)).await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    ensure!(second.metric("meltemi_serve_status_writes_total").await? == 0, "the second one writes, too");
    ensure!(first.metric("meltemi_serve_status_writes_total").await? >= 1, "the first one wrote nothing");
    // One that ends well lets go of the Lease.
    first.terminate().await?;
    holder("two").await?;
    kube.apply(&split("v1", &shop, "reviews", &[("v1", 1), ("v9", 99)])).await?;
    reason(kube, &shop, REVIEWS, "ResolvedRefs", "SubsetNotFound").await?;
    ensure!(second.metric("meltemi_serve_status_writes_total").await? >= 1, "nobody wrote");
    // One that is killed does not: it runs out.
    second.kill().await?;
    let third = home.launch(home.kubeconfig(), &["--pod-name", "three"]).await?.when_ready().await?;
    holder("three").await?;
    kube.apply(&weights(&shop, 5)).await?;
    becomes(kube, &shop, REVIEWS, "ResolvedRefs", "True").await?;
    third.terminate().await
}

async fn replicas() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), shop(home.cluster()).await?);
    kube.apply(&weights(&shop, 90)).await?;
    let other = home.launch(home.kubeconfig(), &["--status", "off"]).await?.when_ready().await?;
    let peer = other.addresses().monitoring.to_string();
    let leader = home.launch(home.kubeconfig(), &["--peer", &peer]).await?.when_ready().await?;
    let mut silent = mute(other.addresses().xds, &shop, "elsewhere").await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    kube.apply(&weights(&shop, 50)).await?;
    let condition = reason(kube, &shop, REVIEWS, "InForce", "Propagating").await?;
    ensure!(
        condition["message"].as_str().is_some_and(|text| text.contains(&format!("elsewhere.{shop}"))),
        "{condition}"
    );
    silent.step().await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    // Of a replica that does not answer nobody knows.
    other.kill().await?;
    kube.apply(&weights(&shop, 30)).await?;
    reason(kube, &shop, REVIEWS, "InForce", "ReplicaUnreachable").await?;
    leader.terminate().await
}

async fn found_by_service() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), shop(home.cluster()).await?);
    kube.apply(&weights(&shop, 90)).await?;
    // An address that an EndpointSlice may hold: those of loopback are refused.
    let network = Network::new()?;
    let addresses = Addresses::all_on(network.address().into())?;
    let other =
        home.launch_at(addresses, home.kubeconfig(), &["--pod-name", "two", "--status", "off"]).await?;
    let other = other.when_ready().await?;
    let leader = home.launch(home.kubeconfig(), &["--pod-name", "one", "--service-name", "meltemi"]).await?;
    let leader = leader.when_ready().await?;
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "meltemi-own", "namespace": home.namespace(), "labels": {"kubernetes.io/service-name": "meltemi"}},
        "ports": [{"name": "http-monitoring", "port": addresses.monitoring.port(), "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [addresses.monitoring.ip()], "targetRef": {"kind": "Pod", "name": "two", "namespace": home.namespace()}},
            // Its own: not to be asked.
            {"addresses": ["10.9.9.9"], "targetRef": {"kind": "Pod", "name": "one", "namespace": home.namespace()}},
        ],
    });
    kube.apply(&slice.to_string()).await?;
    let mut silent = mute(other.addresses().xds, &shop, "elsewhere").await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    kube.apply(&weights(&shop, 50)).await?;
    let condition = reason(kube, &shop, REVIEWS, "InForce", "Propagating").await?;
    let words = format!("elsewhere.{shop}");
    ensure!(condition["message"].as_str().is_some_and(|text| text.contains(&words)), "{condition}");
    silent.step().await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    // One that Kubernetes lists no more is not asked, and keeps nothing from being in force.
    other.kill().await?;
    kube.delete(&slice.to_string()).await?;
    kube.apply(&weights(&shop, 30)).await?;
    kube.kubectl(&["wait", REVIEWS, "-n", &shop, "--for=jsonpath={.status.observedGeneration}=3", WAIT])
        .await?;
    becomes(kube, &shop, REVIEWS, "InForce", "True").await?;
    leader.terminate().await
}

async fn off() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), shop(home.cluster()).await?);
    let server =
        home.launch(home.kubeconfig(), &["--status", "off", "--ca", "off"]).await?.when_ready().await?;
    kube.apply(&weights(&shop, 90)).await?;
    let mut client = Client::start(server.addresses().xds, Node::sidecar("client", &shop), Form::Delta);
    client.until("the route", |held| virtual_host(held, "9080", "reviews").is_some()).await?;
    server.terminate().await?;
    let asked = kube.asked_by(home.namespace(), home.account()).await?;
    let writes =
        asked.iter().filter(|asked| !matches!(asked.verb.as_str(), "list" | "watch")).collect::<Vec<_>>();
    if !writes.is_empty() {
        bail!("it asked for more than lists and watches: {writes:?}");
    }
    Ok(())
}

async fn wait() -> Result<()> {
    let home = Home::shared().await?;
    let (kube, shop) = (home.cluster(), shop(home.cluster()).await?);
    let server = home.replica().await?;
    kube.apply(&weights(&shop, 90)).await?;
    let mut silent = mute(server.addresses().xds, &shop, "silent").await?;
    kube.apply(&weights(&shop, 50)).await?;
    let generation =
        kube.kubectl(&["get", REVIEWS, "-n", &shop, "-o", "jsonpath={.metadata.generation}"]).await?;
    let arguments = ["wait", "virtualservice/reviews", "-n", &shop, "--generation", &generation, "--server"];
    let monitoring = server.addresses().monitoring.to_string();
    let (code, text) = server.command(&[&arguments[..], &[&monitoring, "--timeout", "1s"]].concat()).await?;
    ensure!(code == 1 && text.contains(&format!("silent.{shop}")), "{code}: {text}");
    let patient = [&arguments[..], &[&monitoring, "--timeout", "40s"]].concat();
    let waiting = server.command(&patient);
    let (waited, stepped) = tokio::join!(waiting, silent.step());
    stepped?;
    let (code, text) = waited?;
    ensure!(code == 0, "{code}: {text}");
    server.terminate().await
}
