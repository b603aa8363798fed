//! A cluster with a control plane of its own, workloads that ask it for certificates, and what an operator looks at.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meltemi_testkit::http::Request;
use meltemi_testkit::kube::{Cluster, Pod};
use meltemi_tests::kubernetes::{Asker, Certificate, Home, LIMIT};
use meltemi_tests::live::Server;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tonic::{Code, Status};

/// Between two looks at what tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(50);

/// Looks until there is something.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looking = async {
        loop {
            ticks.tick().await;
            if let Some(found) = look().await? {
                return anyhow::Ok(found);
            }
        }
    };
    timeout(LIMIT, looking).await.with_context(|| format!("not within {LIMIT:?}: {what}"))?
}

/// The ConfigMap with the roots, if it is there.
pub(crate) async fn config_map(cluster: &Cluster, namespace: &str) -> Result<Option<Value>> {
    let found = cluster.get("v1", "ConfigMap", namespace, "istio-ca-root-cert").await?;
    found.map(|found| Ok(serde_json::to_value(found)?)).transpose()
}

/// The roots of a namespace, as soon as they are such.
pub(crate) async fn roots_that(
    cluster: &Cluster,
    namespace: &str,
    what: &str,
    is_such: impl Fn(&str) -> bool,
) -> Result<String> {
    until(what, async || {
        let found = config_map(cluster, namespace).await?;
        let text = found.and_then(|found| found["data"]["root-cert.pem"].as_str().map(str::to_owned));
        Ok(text.filter(|text| is_such(text)))
    })
    .await
}

/// How many certificates a text has.
pub(crate) fn count(pem: &str) -> usize {
    pem.matches("BEGIN CERTIFICATE").count()
}

/// Whether a text has that certificate (PEM) among others.
pub(crate) fn has(pem: &str, certificate: &str) -> bool {
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    bare(pem).contains(&bare(certificate))
}

/// The control plane's name, as agents know it.
pub(crate) fn name(home: &Home) -> String {
    format!("istiod.{}.svc", home.namespace())
}

/// The roots that this very control plane has told a namespace: those that its own certificate verifies to.
pub(crate) async fn roots_of(home: &Home, server: &Server, namespace: &str) -> Result<String> {
    until("the roots of this control plane", async || {
        let Some(found) = config_map(home.cluster(), namespace).await? else { return Ok(None) };
        let roots = found["data"]["root-cert.pem"].as_str().context("no roots")?.to_owned();
        // Another test's control plane may have written before.
        let connected = Asker::connect(server.addresses().secure, &name(home), &roots, None).await;
        Ok(connected.is_ok().then_some(roots))
    })
    .await
}

/// Asks once, as Istio's agent does: again after what passes, and only then.
pub(crate) async fn ask(
    home: &Home,
    server: &Server,
    roots: &str,
    own: Option<&Certificate>,
    token: Option<&str>,
) -> Result<Result<Certificate, Status>> {
    until("an answer of the certificate service", async || {
        let Ok(mut asker) = Asker::connect(server.addresses().secure, &name(home), roots, own).await else {
            return Ok(None);
        };
        match asker.ask(token).await {
            Err(status) if passes(&status) => Ok(None),
            answer => Ok(Some(answer)),
        }
    })
    .await
    .with_context(|| server.log())
}

/// Whether an agent asks again (istio: pkg/security/retry.go).
pub(crate) fn passes(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
    )
}

/// A certificate, which must be granted.
pub(crate) async fn certificate(
    home: &Home,
    server: &Server,
    roots: &str,
    own: Option<&Certificate>,
    token: Option<&str>,
) -> Result<Certificate> {
    match ask(home, server, roots, own, token).await? {
        Ok(certificate) => Ok(certificate),
        Err(status) => bail!("no certificate: {status}\n{}", server.log()),
    }
}

/// A service account.
pub(crate) async fn account_of(cluster: &Cluster, namespace: &str, account: &str) -> Result<()> {
    let metadata = json!({"name": account, "namespace": namespace});
    let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
    cluster.apply(&object.to_string()).await
}

/// A service account, and a pod that runs as it.
pub(crate) async fn workload(cluster: &Cluster, namespace: &str, account: &str, last: u8) -> Result<String> {
    account_of(cluster, namespace, account).await?;
    let pod = format!("{account}-1");
    cluster.run_pod(&Pod::new(namespace, &pod, [10, 8, 7, last]).account(account)).await?;
    Ok(pod)
}

/// The token of a workload, as the kubelet projects it.
pub(crate) async fn token(cluster: &Cluster, namespace: &str, account: &str, last: u8) -> Result<String> {
    let pod = workload(cluster, namespace, account, last).await?;
    cluster.token(namespace, account, &["istio-ca"], Some(&pod)).await
}

/// Puts a Secret, whole.
pub(crate) async fn put_secret(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    kind: &str,
    data: &[(&str, &str)],
) -> Result<()> {
    let encoded: serde_json::Map<String, Value> =
        data.iter().map(|(key, text)| ((*key).to_owned(), json!(STANDARD.encode(text)))).collect();
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {"name": name, "namespace": namespace}, "data": encoded,
    });
    cluster.apply(&object.to_string()).await
}

/// A Secret's pieces; none: there is no such Secret.
pub(crate) async fn secret(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<Option<std::collections::BTreeMap<String, String>>> {
    let Some(found) = cluster.get("v1", "Secret", namespace, name).await? else { return Ok(None) };
    let found = serde_json::to_value(found)?;
    let mut pieces = std::collections::BTreeMap::new();
    for (key, value) in found["data"].as_object().into_iter().flatten() {
        let bytes = STANDARD.decode(value.as_str().context("text")?)?;
        pieces.insert(key.clone(), String::from_utf8(bytes)?);
    }
    Ok(Some(pieces))
}

/// What the replica says of its authority; none until it is ready.
pub(crate) async fn page(server: &Server) -> Result<Option<Value>> {
    let answer = Request::get("/api/v1/ca").send(server.addresses().monitoring).await?;
    Ok((answer.status == 200).then(|| answer.json()))
}

/// Waits until that page is such.
pub(crate) async fn page_that(
    server: &Server,
    what: &str,
    is_such: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let found = until(what, async || Ok(page(server).await?.filter(|page| is_such(page)))).await;
    match found {
        Ok(found) => Ok(found),
        Err(error) => bail!("{error:#}: {:?}\n{}", page(server).await, server.log()),
    }
}

/// Waits until a counter of the replica has that value.
pub(crate) async fn metric_is(server: &Server, metric: &str, value: u64) -> Result<()> {
    until(&format!("{metric} {value}"), async || Ok((server.metric(metric).await? == value).then_some(())))
        .await
}
