//! A real cluster, and what the harness plays in it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::core::v1::{ConfigMap, Pod as PodObject};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::wait::{Seen, until};
use super::*;

const LIMIT: Duration = Duration::from_secs(60);

const DEPLOYMENT: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews}
spec:
  replicas: 3
  selector: {matchLabels: {app: reviews}}
  template:
    metadata: {labels: {app: reviews}}
    spec: {containers: [{name: app, image: app}]}
";

/// The addresses that the endpoint slices of a service have, ready or not as said.
async fn addresses(cluster: &Cluster, namespace: &str, service: &str, ready: bool) -> Result<Vec<String>> {
    let api: Api<EndpointSlice> = Api::namespaced(cluster.admin().await?, namespace);
    let slices =
        api.list(&ListParams::default().labels(&format!("kubernetes.io/service-name={service}"))).await?;
    let mut found: Vec<String> = slices
        .items
        .into_iter()
        .flat_map(|slice| slice.endpoints.unwrap_or_default())
        .filter(|endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(ready)
        })
        .flat_map(|endpoint| endpoint.addresses)
        .collect();
    found.sort();
    Ok(found)
}

/// Waits until a service has just these ready endpoints.
async fn has_endpoints(cluster: &Cluster, namespace: &str, service: &str, expected: &[&str]) -> Result<()> {
    until(service, LIMIT, async || {
        let found = addresses(cluster, namespace, service, true).await?;
        Ok(if found == expected { Seen::Yes(()) } else { Seen::NotYet(format!("{found:?}")) })
    })
    .await
}

/// Deployments, their pods in turn and their endpoints.
#[tokio::test]
async fn a_deployment_becomes_ready_and_its_service_has_its_pods_as_endpoints() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let shop = cluster.namespace("shop").await?;
    let kubelet = Kubelet::start(&cluster, &shop, &["east", "west"], Ipv4Addr::new(10, 244, 7, 1)).await?;
    cluster.kubectl_with(&["apply", "-n", &shop, "-f", "-"], DEPLOYMENT).await?;
    cluster.kubectl(&["rollout", "status", "deployment/reviews", "-n", &shop, "--timeout=60s"]).await?;
    has_endpoints(&cluster, &shop, "reviews", &["10.244.7.1", "10.244.7.2", "10.244.7.3"]).await?;

    cluster.kubectl(&["scale", "deployment/reviews", "--replicas=1", "-n", &shop]).await?;
    let pods: Api<PodObject> = Api::namespaced(cluster.admin().await?, &shop);
    until("one pod", LIMIT, async || {
        let left = pods.list(&ListParams::default()).await?.items;
        Ok(if left.len() == 1 { Seen::Yes(()) } else { Seen::NotYet(format!("{} pods", left.len())) })
    })
    .await?;
    drop(kubelet);
    Ok(())
}

/// Runs each pod at the one address, and notes what it was asked.
#[derive(Clone)]
struct OneAddress(Arc<Mutex<Vec<String>>>);

impl OneAddress {
    fn note(&self, what: &str, pod: &PodObject) {
        let line = format!("{what} {}", pod.labels()["app"]);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

impl Runtime for OneAddress {
    async fn start(&self, pod: &PodObject) -> Result<IpAddr> {
        self.note("start", pod);
        Ok(Ipv4Addr::new(10, 9, 8, 7).into())
    }

    async fn stop(&self, pod: &PodObject) {
        self.note("stop", pod);
    }
}

#[tokio::test]
async fn what_a_runtime_starts_is_an_endpoint_where_it_says_and_it_is_told_of_the_end() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let shop = cluster.namespace("shop").await?;
    let runtime = OneAddress(Arc::default());
    let _kubelet = Kubelet::start_with(&cluster, &shop, &["east"], runtime.clone()).await?;
    let deployment = DEPLOYMENT.replace("replicas: 3", "replicas: 1");
    cluster.kubectl_with(&["apply", "-n", &shop, "-f", "-"], &deployment).await?;
    has_endpoints(&cluster, &shop, "reviews", &["10.9.8.7"]).await?;
    cluster.kubectl(&["delete", "deployment/reviews", "-n", &shop]).await?;
    until("the end", LIMIT, async || {
        let mut asked = runtime.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // It may be asked again for a pod that it started already.
        asked.dedup();
        Ok(if asked == ["start reviews", "stop reviews"] {
            Seen::Yes(())
        } else {
            Seen::NotYet(format!("{asked:?}"))
        })
    })
    .await
}

/// A pod with that wish to the kubelet.
fn wishing(name: &str, wish: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, annotations: {{meltemi.test/kubelet: {wish}}}}}
spec: {{containers: [{{name: app, image: app}}]}}
---
"
    )
}

#[tokio::test]
async fn a_job_completes_pods_have_their_wish_and_a_namespace_goes_with_all_that_is_in_it() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let shop = cluster.namespace("shop").await?;
    let _kubelet = Kubelet::start(&cluster, &shop, &["east"], Ipv4Addr::new(10, 244, 8, 1)).await?;
    let job = "{apiVersion: batch/v1, kind: Job, metadata: {name: once}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: app}]}}}}";
    let all =
        [wishing("a", "pending"), wishing("b", "unready"), wishing("c", "lingers"), job.to_owned()].concat();
    cluster.kubectl_with(&["apply", "-n", &shop, "-f", "-"], &all).await?;
    cluster.kubectl(&["wait", "-n", &shop, "--for=condition=complete", "job/once", "--timeout=60s"]).await?;
    cluster.kubectl(&["wait", "-n", &shop, "--for=condition=Ready", "pod/c", "--timeout=60s"]).await?;
    cluster
        .kubectl(&["wait", "-n", &shop, "--for=jsonpath={.status.phase}=Running", "pod/b", "--timeout=60s"])
        .await?;
    let condition = "jsonpath={.status.phase} {.status.conditions[?(@.type==\"Ready\")].status}";
    assert_eq!(cluster.kubectl(&["get", "pod/b", "-n", &shop, "-o", condition]).await?, "Running False");
    assert_eq!(cluster.kubectl(&["get", "pod/a", "-n", &shop, "-o", condition]).await?, "Pending ");

    cluster.terminate_pod(&shop, "b").await?;
    cluster.terminate_pod(&shop, "c").await?;
    cluster.kubectl(&["wait", "-n", &shop, "--for=delete", "pod/b", "--timeout=60s"]).await?;
    let lingering = cluster.get("v1", "Pod", &shop, "c").await?.context("it is gone")?;
    assert!(lingering.metadata.deletion_timestamp.is_some());
    cluster.delete_pod(&shop, "c").await?;
    cluster.kubectl(&["delete", "namespace", &shop, "--timeout=60s"]).await.map(drop)
}

#[tokio::test]
async fn a_pod_made_by_hand_is_an_endpoint_while_it_is_ready() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let shop = cluster.namespace("shop").await?;
    cluster.node("zoned", &[("topology.kubernetes.io/zone", "b")]).await?;
    let pod = Pod::new(&shop, "cart-1", Ipv4Addr::new(10, 1, 2, 3))
        .label("app", "cart")
        .on("zoned")
        .port("http", 80);
    cluster.run_pod(&pod).await?;
    let service = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: cart, namespace: {shop}}}, spec: {{selector: {{app: cart}}, ports: [{{port: 80}}]}}}}"
    );
    cluster.apply(&service).await?;
    has_endpoints(&cluster, &shop, "cart", &["10.1.2.3"]).await?;

    cluster.set_ready(&shop, "cart-1", false).await?;
    has_endpoints(&cluster, &shop, "cart", &[]).await?;
    assert_eq!(addresses(&cluster, &shop, "cart", false).await?, ["10.1.2.3"]);

    cluster.terminate_pod(&shop, "cart-1").await?;
    let pods: Api<PodObject> = Api::namespaced(cluster.admin().await?, &shop);
    assert!(pods.get("cart-1").await?.metadata.deletion_timestamp.is_some());
    cluster.delete_pod(&shop, "cart-1").await?;
    assert!(pods.get_opt("cart-1").await?.is_none());
    Ok(())
}

/// What TokenReview says of a token for that audience: the name of its account, or why not.
async fn review(
    cluster: &Cluster,
    token: &str,
    audience: &str,
) -> Result<std::result::Result<String, String>> {
    let api: Api<TokenReview> = Api::all(cluster.admin().await?);
    let review = serde_json::from_value(json!({"spec": {"token": token, "audiences": [audience]}}))?;
    let status = api.create(&PostParams::default(), &review).await?.status.context("no status")?;
    match status.authenticated {
        Some(true) => Ok(Ok(status.user.and_then(|user| user.username).context("no user")?)),
        _ => Ok(Err(status.error.unwrap_or_default())),
    }
}

#[tokio::test]
async fn a_token_is_taken_for_its_audience_alone_and_as_long_as_its_pod_is_there() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let shop = cluster.namespace("shop").await?;
    cluster.run_pod(&Pod::new(&shop, "cart-1", Ipv4Addr::new(10, 1, 2, 4))).await?;
    let token = cluster.token(&shop, "default", &["istio-ca"], Some("cart-1")).await?;

    let account = format!("system:serviceaccount:{shop}:default");
    assert_eq!(review(&cluster, &token, "istio-ca").await?, Ok(account));
    let Err(why) = review(&cluster, &token, "elsewhere").await? else { bail!("taken elsewhere") };
    assert!(why.contains("audience"), "{why}");

    cluster.delete_pod(&shop, "cart-1").await?;
    until("the end of the token", LIMIT, async || {
        Ok(match review(&cluster, &token, "istio-ca").await? {
            Ok(account) => Seen::NotYet(account),
            Err(_) => Seen::Yes(()),
        })
    })
    .await
}

#[tokio::test]
async fn an_account_may_do_what_its_role_says_and_the_log_knows_what_it_asked() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let shop = cluster.namespace("shop").await?;
    let access = cluster.access_for(&shop, "default", Duration::from_secs(600)).await?;
    let api: Api<ConfigMap> = Api::namespaced(access.client().await?, &shop);
    let Err(kube::Error::Api(status)) = api.list(&ListParams::default()).await else { bail!("not refused") };
    assert_eq!(status.code, 403);

    cluster
        .apply(&format!(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reader, namespace: {shop}}}
rules: [{{apiGroups: [''], resources: [configmaps], verbs: [list]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reader, namespace: {shop}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}}
subjects: [{{kind: ServiceAccount, name: default, namespace: {shop}}}]
"
        ))
        .await?;
    // The API server reads the roles by a watch of its own.
    let listed = until("the role", LIMIT, async || {
        Ok(match api.list(&ListParams::default()).await {
            Ok(list) => Seen::Yes(list.items),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })
    .await?;
    assert_eq!(listed.first().map(ResourceExt::name_any).as_deref(), Some("kube-root-ca.crt"));

    let asked = cluster.asked_by(&shop, "default").await?;
    let seen: Vec<_> = asked.iter().map(|asked| (&*asked.verb, &*asked.resource, asked.status)).collect();
    assert_eq!(seen, [("list", "configmaps", 200), ("list", "configmaps", 403)]);
    Ok(())
}

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: kites.meltemi.test}
spec:
  group: meltemi.test
  scope: Namespaced
  names: {kind: Kite, plural: kites}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {color: {type: string}}}}}}
---
apiVersion: meltemi.test/v1
kind: Kite
metadata: {name: red}
spec: {color: red}
";

#[tokio::test]
async fn a_kind_can_be_used_in_the_document_after_its_definition() -> Result<()> {
    let cluster = Cluster::shared().await?;
    cluster.apply(DEFINITION).await?;
    let kite = cluster.get("meltemi.test/v1", "Kite", "default", "red").await?.context("no kite")?;
    assert_eq!(kite.data["spec"]["color"], "red");

    let Err(error) = cluster.apply(&DEFINITION.replace("spec: {color: red}", "spec: {colour: red}")).await
    else {
        bail!("a field that is none is taken")
    };
    let text = format!("{error:#}");
    assert!(text.contains("Kite red") && text.contains("colour"), "{text}");

    cluster.delete(DEFINITION).await
}

#[tokio::test]
async fn helm_installs_a_chart() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let shop = cluster.namespace("shop").await?;
    let chart = tempfile::tempdir()?;
    let path = chart.path().join("c");
    std::fs::create_dir_all(path.join("templates"))?;
    std::fs::write(path.join("Chart.yaml"), "{apiVersion: v2, name: c, version: 0.1.0}")?;
    std::fs::write(
        path.join("templates/map.yaml"),
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: '{{ .Release.Name }}'}, data: {a: b}}",
    )?;
    cluster.helm(&["install", "first", &path.display().to_string(), "-n", &shop]).await?;
    let api: Api<ConfigMap> = Api::namespaced(cluster.admin().await?, &shop);
    assert_eq!(api.get("first").await?.data.context("no data")?["a"], "b");
    Ok(())
}

/// Apart from the cluster that the others share, which must not go away under them.
#[tokio::test]
async fn what_was_written_is_there_after_each_part_was_killed_and_started_again() -> Result<()> {
    let cluster = Cluster::start().await?;
    let folder = cluster.folder().to_owned();
    cluster.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: kept}, data: {a: b}}").await?;
    let api: Api<ConfigMap> = Api::namespaced(cluster.admin().await?, "default");

    cluster.stop_api_server();
    assert!(api.get("kept").await.is_err());
    cluster.stop_etcd();
    cluster.stop_controllers();
    assert_eq!(cluster.memory(), [0, 0, 0]);
    cluster.start_etcd().await?;
    cluster.start_api_server().await?;
    cluster.start_controllers().await?;
    assert_eq!(api.get("kept").await?.data.context("no data")?["a"], "b");
    // The controllers work, too.
    cluster.namespace("after").await?;

    drop(cluster);
    assert!(!folder.exists());
    Ok(())
}

#[tokio::test]
async fn a_part_that_refuses_its_flags_is_named_with_the_end_of_its_log() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("etcd.log");
    let mut process =
        process::Process::start(&assets::program("etcd")?, &["--no-such-flag".to_owned()], &log)?;
    let status = until("its end", LIMIT, async || {
        Ok(process.ended()?.map_or(Seen::NotYet("running".to_owned()), Seen::Yes))
    })
    .await?;
    assert!(!status.success());
    assert!(process::end_of(&log).contains("no-such-flag"));
    Ok(())
}
