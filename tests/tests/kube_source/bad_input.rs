//! What an API server, a kubeconfig or an object can have wrong: a sentence that says what to do, and the rest goes on.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, ensure};
use meltemi_testkit::kube::{Cluster, Fault, Pod, Proxy};
use meltemi_testkit::xds::{Form, Node};
use meltemi_tests::kubernetes::{
    Client, Home, LIMIT, rule, same_as_from_scratch, service, settled, slice, split, state, until_page,
};
use meltemi_tests::live::{Addresses, Server};

use crate::objects::{PORT, has, is_split};

/// Starts it on that kubeconfig; it must end by itself, and say this.
async fn must_end(kubeconfig: &str, words: &[&str]) -> Result<()> {
    let server =
        Server::launch(&["--kubeconfig", kubeconfig], Addresses::free([127, 0, 0, 1].into())?).await?;
    let (well, log) = server.ended().await?;
    ensure!(!well, "it ended well:\n{log}");
    for word in words {
        ensure!(log.contains(word), "`{word}` is not said:\n{log}");
    }
    ensure!(log.lines().count() <= 4, "more than a sentence:\n{log}");
    Ok(())
}

pub(crate) async fn kubeconfigs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path: PathBuf = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let hint = "--kubeconfig FILE";
    must_end("/no/such/file", &["/no/such/file", "No such file", hint]).await?;
    must_end(&file("broken", "}{")?, &["broken", hint]).await?;
    must_end(&file("other", "{apiVersion: v1, kind: Service}")?, &["other", hint]).await?;
    let nobody =
        "{apiVersion: v1, kind: Config, current-context: gone, clusters: [], contexts: [], users: []}";
    must_end(&file("empty", nobody)?, &["empty", "gone", hint]).await
}

/// Starts it on that kubeconfig; it must not get ready, and say these words, in its log and at its probe.
async fn must_wait(home: &Home, kubeconfig: &std::path::Path, words: &[&str]) -> Result<()> {
    let server = home.launch(kubeconfig, &[]).await?;
    server.says(words).await?;
    until_page(&server, |status, text| status == 503 && words.iter().take(1).all(|word| text.contains(word)))
        .await
}

pub(crate) async fn credentials() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let file = async |access| cluster.kubeconfig_of(&access).await;

    let stranger = cluster.server_identity(&["stranger"])?.certificate;
    let wrong = file(home.access().with_authority(&stranger)).await?;
    must_wait(&home, &wrong, &["cannot be reached", "certificate-authority"]).await?;
    let wrong = file(home.access().with_token("no-token")).await?;
    must_wait(&home, &wrong, &["does not accept Meltemi's credentials", "renew the kubeconfig's"]).await?;
    let nobody = file(home.access().through("https://127.0.0.1:9")).await?;
    must_wait(&home, &nobody, &["cannot be reached", "efused", "look whether the API server runs"]).await?;
    let other = cluster.access_for(home.namespace(), "default", std::time::Duration::from_secs(600)).await?;
    must_wait(&home, &file(other).await?, &["may not list and watch services", "ClusterRole"]).await
}

pub(crate) async fn skew() -> Result<()> {
    let home = Home::shared().await?;
    let proxy = Proxy::start(home.cluster()).await?;
    // As a server from before 1.21 answers.
    proxy.set("/apis/discovery.k8s.io/v1/", Fault::Status(404));
    let words = ["the API server does not serve endpointslices", "of a version since 1.21"];
    must_wait(&home, &home.through(&proxy).await?, &words).await
}

pub(crate) async fn permissions() -> Result<()> {
    let shared = Home::shared().await?;
    let cluster = Arc::clone(shared.cluster());
    let shop = cluster.namespace("shop").await?;
    cluster.apply(&slice(&shop, "own", PORT, &["10.8.3.1"])).await?;

    // Localities are a help: without nodes all else is served.
    let home = Home::within(Arc::clone(&cluster), |resource| resource != "nodes").await?;
    let server = home.replica().await?;
    let mut client = Client::start(server.addresses().xds, Node::sidecar("client", &shop), Form::Delta);
    client.until("own slices", |held| has(held, &shop, "own", "", &["10.8.3.1"])).await?;
    let words = ["may not list and watch nodes", "(nodes)", "ClusterRole of the Helm chart"];
    server.says(&words).await?;
    drop(client);

    // Endpoints are not.
    let home = Home::within(Arc::clone(&cluster), |resource| resource != "endpointslices").await?;
    let server = home.launch(home.kubeconfig(), &[]).await?;
    until_page(&server, |status, text| {
        status == 503
            && text.contains("waiting for the first lists of: endpointslices\n")
            && text.contains("may not list and watch endpointslices")
    })
    .await?;
    let told = server.log().matches("may not list and watch endpointslices").count();
    ensure!(told == 1, "told {told} times:\n{}", server.log());
    let mut client = Client::start(server.addresses().xds, Node::sidecar("client", &shop), Form::Delta);
    // Once it may, it goes on by itself.
    let granted = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": home.whole_rights()});
    cluster.apply(&granted.to_string()).await?;
    let server = server.when_ready().await?;
    client.until("own slices", |held| has(held, &shop, "own", "", &["10.8.3.1"])).await?;
    drop(server);
    Ok(())
}

pub(crate) async fn revoked() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let shop = cluster.namespace("shop").await?;
    cluster.apply(&slice(&shop, "own", PORT, &["10.8.4.1"])).await?;
    let proxy = Proxy::start(cluster).await?;
    let server = home.launch(&home.through(&proxy).await?, &[]).await?.when_ready().await?;
    let node = Node::sidecar("client", &shop);
    let mut client = Client::start(server.addresses().xds, node.clone(), Form::Delta);
    client.until("own slices", |held| has(held, &shop, "own", "", &["10.8.4.1"])).await?;
    settled(&server, &format!("client.{shop}")).await?;
    let before = state(&client.held());

    // Tokens end with their account; the API server remembers a good one for ten seconds, and what is told is told at the fourth failure.
    cluster.kubectl(&["delete", "serviceaccount", home.account(), "-n", home.namespace()]).await?;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
    let cutting = async {
        loop {
            ticks.tick().await;
            proxy.cut_watches("");
        }
    };
    tokio::select! {
        line = server.says_within(LIMIT, &["does not accept Meltemi's credentials"]) => drop(line?),
        () = cutting => {}
    }
    ensure!(server.ready_page().await?.0 == 200, "it gave up");
    let mut late = Client::start(server.addresses().xds, node, Form::Delta);
    late.until("own slices", |held| has(held, &shop, "own", "", &["10.8.4.1"])).await?;
    ensure!(state(&client.held()) == before && client.streams() == 1, "something was taken away");
    Ok(())
}

pub(crate) async fn readiness() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let shop = cluster.namespace("shop").await?;
    cluster.apply(&slice(&shop, "own", PORT, &["10.8.5.1"])).await?;
    let proxy = Proxy::start(cluster).await?;
    proxy.set("/endpointslices", Fault::Hold);
    let server = home.launch(&home.through(&proxy).await?, &[]).await?;
    let mut client = Client::start(server.addresses().xds, Node::sidecar("client", &shop), Form::Delta);
    until_page(&server, |status, text| {
        status == 503 && text.contains("waiting for the first lists of: endpointslices\n")
    })
    .await?;
    ensure!(client.take_steps().is_empty(), "a proxy was served before everything was known");
    proxy.heal();
    let server = server.when_ready().await?;
    client.until("own slices", |held| has(held, &shop, "own", "", &["10.8.5.1"])).await?;
    ensure!(server.ready_page().await? == (200, "ready\n".to_owned()));
    Ok(())
}

pub(crate) async fn garbled() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let shop = cluster.namespace("shop").await?;
    for name in ["reviews", "ratings"] {
        cluster.apply(&service(&shop, name, PORT, 8080)).await?;
        cluster.apply(&rule(&shop, name, &["v1", "v2"])).await?;
        cluster.apply(&split("v1", &shop, name, &[("v1", 90), ("v2", 10)])).await?;
    }
    let proxy = Proxy::start(cluster).await?;
    let kubeconfig = home.through(&proxy).await?;
    let server = home.launch(&kubeconfig, &[]).await?.when_ready().await?;
    let node = Node::sidecar("client", &shop);
    let mut client = Client::start(server.addresses().xds, node.clone(), Form::Delta);
    client
        .until("both", |held| is_split(held, &shop, "reviews", 90) && is_split(held, &shop, "ratings", 90))
        .await?;

    // One that cannot be read keeps its last good, and its neighbours come through.
    proxy.set("/virtualservices", Fault::Garble("reviews".to_owned()));
    cluster.apply(&split("v1", &shop, "reviews", &[("v1", 50), ("v2", 50)])).await?;
    cluster.apply(&split("v1", &shop, "ratings", &[("v1", 70), ("v2", 30)])).await?;
    client.until("the neighbour", |held| is_split(held, &shop, "ratings", 70)).await?;
    server.says(&["VirtualService", "reviews", &shop]).await?;
    ensure!(is_split(&client.held(), &shop, "reviews", 90), "the last good is gone");

    // So at a start: the rest is served.
    let fresh = home.launch(&kubeconfig, &[]).await?.when_ready().await?;
    let mut other = Client::start(fresh.addresses().xds, node.clone(), Form::Delta);
    other.until("the neighbour", |held| is_split(held, &shop, "ratings", 70)).await?;
    fresh.says(&["VirtualService", "reviews", &shop]).await?;
    drop(other);

    // Its deletion counts although it cannot be read.
    cluster.kubectl(&["delete", "virtualservice", "reviews", "-n", &shop]).await?;
    client.until("no route of its own", |held| is_split(held, &shop, "reviews", 0)).await?;
    proxy.heal();
    same_as_from_scratch(&home, &mut client, &node, &format!("client.{shop}")).await
}

/// A megabyte and five thousand labels are within what the API server takes.
pub(crate) async fn large() -> Result<()> {
    let home = Home::shared().await?;
    let cluster = home.cluster();
    let shop = cluster.namespace("shop").await?;
    let mut rules = split("v1", &shop, "reviews", &[("v1", 90), ("v2", 10)]);
    let (head, last) = rules.split_at(rules.find("  - route:").unwrap_or_default());
    let (mut text, last) = (head.to_owned(), last.to_owned());
    let long = "x".repeat(460);
    for number in 0..2_000 {
        _ = writeln!(
            text,
            "  - match: [{{headers: {{x-user: {{exact: '{number}-{long}'}}}}}}]\n    route: [{{destination: {{host: reviews, subset: v2}}}}]"
        );
    }
    text += &last;
    rules = text;
    ensure!(rules.len() > 1_000_000, "{} bytes", rules.len());
    cluster.apply(&service(&shop, "reviews", PORT, 8080)).await?;
    cluster.apply(&rule(&shop, "reviews", &["v1", "v2"])).await?;
    let mut pod = Pod::new(&shop, "reviews-1", Ipv4Addr::new(10, 8, 6, 1))
        .label("app", "reviews")
        .label("version", "v1");
    for number in 0..5_000 {
        pod = pod.label(&format!("label-{number}"), "value");
    }
    cluster.run_pod(&pod).await?;

    let server = home.replica().await?;
    let mut node = Node::sidecar("client", &shop);
    for number in 0..5_000 {
        node = node.label(&format!("label-{number}"), "value");
    }
    let mut client = Client::start(server.addresses().xds, node.clone(), Form::Delta);
    client.until("the pod", |held| has(held, &shop, "reviews", "v1", &["10.8.6.1"])).await?;
    // As a change, in one line of a watch; and in a list, for the one that starts afresh.
    cluster.apply(&rules).await?;
    client.until("the last of 2,001 routes", |held| is_split(held, &shop, "reviews", 90)).await?;
    same_as_from_scratch(&home, &mut client, &node, &format!("client.{shop}")).await?;
    cluster.kubectl(&["delete", "virtualservice", "reviews", "-n", &shop]).await?;
    client.until("no route of its own", |held| is_split(held, &shop, "reviews", 0)).await
}

/// For the tests that need a cluster alone.
pub(crate) async fn own_cluster() -> Result<Arc<Cluster>> {
    Ok(Arc::new(Cluster::start().await?))
}
