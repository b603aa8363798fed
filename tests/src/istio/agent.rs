//! The agent in its pod: started as the injected container starts, asked what it says of itself, ended.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use meltemi_testkit::envoy::{Admin, binary};
use meltemi_testkit::http::Request;
use meltemi_testkit::kube::{Cluster, Pod as Record};
use meltemi_testkit::netns::{PROXY_GROUP, Pod};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::certs::{Shown, shown};
use super::files::{Content, lay};
use super::kit::Kit;
use crate::kubernetes::{Home, LIMIT};

/// The ConfigMap that pods of Istio mount, and its key (Istio: pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go).
const ROOTS: (&str, &str) = ("istio-ca-root-cert", "root-cert.pem");

/// Where the app of the pod listens.
const TARGET: u16 = 9080;

/// How a process that is not ours is looked at: without blocking, again and again.
fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(std::time::Duration::from_millis(50));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Which pod.
pub struct Spot<'a> {
    /// Where Meltemi runs.
    pub home: &'a Home,
    /// The TLS port of the control plane.
    pub control_plane: SocketAddr,
    /// The namespace of the pod.
    pub namespace: &'a str,
    /// Its app, after which its service account is called.
    pub app: &'a str,
}

/// The agent, with its Envoy, its files and its pod; they end in this order.
pub struct Agent {
    child: Child,
    admin: Admin,
    folder: TempDir,
    pod: Pod,
    identity: String,
    roots: String,
}

impl Agent {
    /// Makes the pod in the cluster, mounts what its kubelet would (which waits for the roots, as a kubelet does), and starts the agent.
    /// `more` is added to its environment.
    ///
    /// # Errors
    /// When the API server or the machine refuses something.
    pub async fn start(kit: &Kit, spot: &Spot<'_>, pod: Pod, more: &[(&str, &str)]) -> Result<Self> {
        let Spot { home, control_plane, namespace, app } = *spot;
        let (cluster, name) = (home.cluster(), format!("{app}-1"));
        account(cluster, namespace, app).await?;
        let labels = labels(app);
        let annotations = annotations();
        let record = Record::new(namespace, &name, pod.address()).account(app).port("http", TARGET);
        let record = labels.iter().fold(record, |record, (key, value)| record.label(key, value));
        let record = annotations.iter().fold(record, |record, (key, value)| record.annotation(key, value));
        cluster.run_pod(&record).await?;

        let host = format!("istiod.{}.svc", home.namespace());
        let roots = roots(cluster, namespace).await?;
        let folder = lay(&Content {
            token: &cluster.token(namespace, app, &["istio-ca"], Some(&name)).await?,
            roots: &roots,
            labels: &labels,
            annotations: &annotations,
            template: &kit.template,
            control_plane: (&host, control_plane.ip()),
        })?;
        pod.redirect()?;
        let log = std::fs::File::create(folder.path().join("agent.log"))?;
        let mut command = command(kit, &pod, namespace);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(environment(spot, &name, &format!("{host}:{}", control_plane.port()), pod.address())?);
        command.envs(more.iter().copied()).current_dir(folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("starting Istio's agent")?;
        let admin = Admin::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 15000)), pod.connector());
        let identity = format!("spiffe://cluster.local/ns/{namespace}/sa/{app}");
        Ok(Self { child, admin, folder, pod, identity, roots })
    }

    /// Waits until the pod is ready: as a kubelet asks, by way of Envoy, and the agent itself.
    ///
    /// # Errors
    /// When it ends or is not ready in time; with the end of its log.
    pub async fn ready(&mut self) -> Result<()> {
        let ask = |port| {
            let (connect, address) = (self.pod.connector(), SocketAddr::from((self.pod.address(), port)));
            async move {
                let answer = Request::get("/healthz/ready").send_through(&connect, address).await;
                answer.is_ok_and(|answer| answer.status == 200)
            }
        };
        let mut ticks = ticks();
        let asking = async {
            loop {
                ticks.tick().await;
                if let Some(status) = self.child.try_wait()? {
                    bail!("the agent ended with {status}");
                }
                if ask(15021).await && ask(15020).await {
                    return Ok(());
                }
            }
        };
        let outcome = timeout(LIMIT, asking).await;
        outcome.unwrap_or_else(|_| bail!("not ready after {LIMIT:?}")).map_err(|error| self.explained(&error))
    }

    /// Waits until Envoy uses a certificate, and roots, of which that is so.
    ///
    /// # Errors
    /// When it does not in time; says which it has.
    pub async fn until_shown(&self, what: &str, is_so: impl Fn(&Shown) -> bool) -> Result<Shown> {
        let mut ticks = ticks();
        let mut last = None;
        let looking = async {
            loop {
                ticks.tick().await;
                last = shown(&self.admin.certs().await?);
                if let Some(found) = last.as_ref().filter(|found| is_so(found)) {
                    return anyhow::Ok(found.clone());
                }
            }
        };
        match timeout(LIMIT, looking).await {
            Ok(found) => found,
            Err(_) => Err(self.explained(&anyhow!("{what}: not so after {LIMIT:?}; Envoy has {last:?}"))),
        }
    }

    /// Envoy's admin interface.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Its pod.
    pub fn pod(&self) -> &Pod {
        &self.pod
    }

    /// The name that its certificate is to have.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The roots that were mounted, PEM.
    pub fn roots(&self) -> &str {
        &self.roots
    }

    /// What the agent and its Envoy logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("agent.log")).unwrap_or_default()
    }

    fn explained(&self, error: &anyhow::Error) -> anyhow::Error {
        let log = self.log();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("FLAG: ")).collect();
        let end = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n");
        anyhow!("{error:#}\nthe end of the log of {}:\n{end}", self.identity)
    }
}

/// In the pod's network, as the group that its rules leave alone, and as the first process of its own, so that Envoy ends with it. The
/// names of the cluster come from a file, since there is no DNS.
fn command(kit: &Kit, pod: &Pod, namespace: &str) -> Command {
    let mut command = pod.command("setpriv");
    command.args(["--pdeathsig", "KILL", "--regid", &PROXY_GROUP.to_string(), "--clear-groups", "--"]);
    command.args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.args(["sh", "-c", "mount --bind hosts /etc/hosts && exec \"$@\"", "sh"]).arg(&kit.agent);
    // As injection writes them.
    command.args(["proxy", "sidecar", "--domain", &format!("{namespace}.svc.cluster.local")]);
    command.args(["--proxyLogLevel=warning", "--proxyComponentLogLevel=misc:error"]);
    command.args(["--log_output_level=default:info"]);
    command
}

/// The labels that injection adds, and the app's.
fn labels(app: &str) -> BTreeMap<String, String> {
    let labels = [
        ("app", app),
        ("security.istio.io/tlsMode", "istio"),
        ("service.istio.io/canonical-name", app),
        ("service.istio.io/canonical-revision", "latest"),
    ];
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The annotations that injection adds, and one of the user's: Istio's bootstrap leaves out the stats of all clusters but its own, so
/// that nobody could say what went through them.
fn annotations() -> BTreeMap<String, String> {
    let annotations = [
        ("istio.io/rev", "default"),
        ("sidecar.istio.io/statsInclusionPrefixes", "cluster.outbound,cluster.inbound"),
    ];
    annotations.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The variables that injection writes, in its order. Only the path of Envoy is not what it would be in Istio's image.
fn environment(
    spot: &Spot<'_>,
    name: &str,
    discovery: &str,
    address: Ipv4Addr,
) -> Result<Vec<(&'static str, String)>> {
    let Spot { namespace, app, .. } = *spot;
    let envoy = std::path::absolute(binary()?)?;
    let settings = json!({"discoveryAddress": discovery, "binaryPath": envoy});
    let ports = json!([{"name": "http", "containerPort": TARGET, "protocol": "TCP"}]);
    Ok(vec![
        ("PILOT_CERT_PROVIDER", "istiod".to_owned()),
        ("CA_ADDR", discovery.to_owned()),
        ("POD_NAME", name.to_owned()),
        ("POD_NAMESPACE", namespace.to_owned()),
        ("INSTANCE_IP", address.to_string()),
        ("SERVICE_ACCOUNT", app.to_owned()),
        ("HOST_IP", address.to_string()),
        ("ISTIO_CPU_LIMIT", "2".to_owned()),
        ("PROXY_CONFIG", settings.to_string()),
        ("ISTIO_META_POD_PORTS", ports.to_string()),
        ("ISTIO_META_APP_CONTAINERS", "app".to_owned()),
        ("GOMEMLIMIT", (1_u64 << 30).to_string()),
        ("ISTIO_META_CLUSTER_ID", "Kubernetes".to_owned()),
        ("ISTIO_META_NODE_NAME", "node".to_owned()),
        ("ISTIO_META_INTERCEPTION_MODE", "REDIRECT".to_owned()),
        ("ISTIO_META_WORKLOAD_NAME", app.to_owned()),
        ("ISTIO_META_OWNER", format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{app}")),
        ("ISTIO_META_MESH_ID", "cluster.local".to_owned()),
        ("TRUST_DOMAIN", "cluster.local".to_owned()),
    ])
}

async fn account(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
    });
    cluster.apply(&account.to_string()).await
}

/// What the ConfigMap of the roots has, when it is there.
async fn roots(cluster: &Cluster, namespace: &str) -> Result<String> {
    let (map, key) = ROOTS;
    let mut ticks = ticks();
    let looking = async {
        loop {
            ticks.tick().await;
            let found = cluster.get("v1", "ConfigMap", namespace, map).await?;
            if let Some(pem) = found.as_ref().and_then(|map| map.data["data"][key].as_str()) {
                return anyhow::Ok(pem.to_owned());
            }
        }
    };
    timeout(LIMIT, looking).await.with_context(|| format!("no ConfigMap {namespace}/{map}"))?
}

impl Spot<'_> {
    /// Where the app of a pod listens.
    pub const TARGET: u16 = TARGET;

    /// The address at which the whole machine reaches a Service, of the cluster's own giving.
    ///
    /// # Errors
    /// When there is no such Service.
    pub async fn service_address(&self) -> Result<IpAddr> {
        let service = self.home.cluster().get("v1", "Service", self.namespace, self.app).await?;
        let service = service.context("no such Service")?;
        Ok(service.data["spec"]["clusterIP"].as_str().context("no address")?.parse()?)
    }
}
