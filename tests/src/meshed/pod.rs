//! One pod of the mesh: a network namespace with redirect rules, the files that a kubelet mounts, and the agent with its Envoy.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use meltemi_testkit::envoy::{Admin, binary};
use meltemi_testkit::http::{Answer, Load, Request};
use meltemi_testkit::netns::Pod;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{Agent, Pids};
use super::until;

/// Where the agent's Envoy has its admin interface (Istio's), in the pod.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15000);

/// Where a pod says whether it is ready (Istio's).
const HEALTH: u16 = 15021;

/// Where an agent says what is counted (Istio's).
const STATUS: u16 = 15020;

/// The part of a short life that is left when a certificate is renewed.
const LEFT: f64 = 0.85;

const TOKEN: &str = "var/run/secrets/tokens/istio-token";
const ROOTS: &str = "var/run/secrets/istio/root-cert.pem";
const REVOKED: &str = "var/run/secrets/istio/crl/ca-crl.pem";
const LABELS: &str = "etc/istio/pod/labels";
const ANNOTATIONS: &str = "etc/istio/pod/annotations";

/// What a pod is to be.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// The pod.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its service account.
    pub account: &'a str,
    /// Its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// What it proves its account with.
    pub token: &'a str,
    /// What it trusts at first (PEM).
    pub roots: &'a str,
    /// Where the control plane is, by the name that its certificate is to have.
    pub control_plane: &'a str,
    /// How long its certificate is to live; the mesh's usual life where nothing is said.
    pub life: Option<Duration>,
}

/// The pod. Dropping it ends the agent, and with it the Envoy.
pub struct MeshedPod {
    agent: Agent,
    admin: Admin,
    folder: TempDir,
    name: String,
    pod: Pod,
}

impl MeshedPod {
    /// Makes the pod's folder, redirects its traffic and starts the agent; waits for nothing.
    ///
    /// # Errors
    /// When the machine refuses one of these.
    pub async fn start(pod: Pod, plan: &Plan<'_>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("meltemi-pod-").tempdir()?;
        let listed = |pairs: &[(&str, &str)]| -> String {
            pairs.iter().map(|(key, value)| format!("{key}=\"{value}\"\n")).collect()
        };
        // As the downward API writes them. Istio's agents keep few of Envoy's statistics unless a pod asks for more.
        let stats = [("sidecar.istio.io/statsInclusionPrefixes", "listener,cluster,http")];
        for (file, text) in [
            (TOKEN, plan.token.to_owned()),
            (ROOTS, plan.roots.to_owned()),
            (LABELS, listed(plan.labels)),
            (ANNOTATIONS, listed(&stats)),
        ] {
            deliver(folder.path(), file, &text)?;
        }
        // As Istio's init container does, before the sidecar: a connection that is there already would be cut.
        pod.redirect()?;
        let agent = Agent::start(&pod, folder.path(), &variables(&pod, plan)?).await?;
        let admin = Admin::new(ADMIN, pod.connector());
        Ok(Self { agent, admin, folder, name: plan.name.to_owned(), pod })
    }

    /// Waits until it is ready, as a kubelet asks.
    ///
    /// # Errors
    /// When the agent ends, or it is not ready in time; with its log.
    pub async fn ready(&mut self) -> Result<()> {
        let health = SocketAddr::new(self.pod.address().into(), HEALTH);
        let (agent, connector) = (&mut self.agent, self.pod.connector());
        let outcome = until("the pod is ready", async || {
            if let Err(ended) = agent.runs() {
                // Nothing will come of waiting.
                return Ok(Err(ended));
            }
            let answer = Request::get("/healthz/ready").send_through(&connector, health).await?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
            Ok(Ok(()))
        });
        let outcome = outcome.await.and_then(|outcome| outcome);
        outcome.with_context(|| format!("the pod {}; its log:\n{}", self.name, self.agent.log()))
    }

    /// All that is counted in it, as a scraper from outside sees it.
    ///
    /// # Errors
    /// When the agent does not answer with 200.
    pub async fn metrics(&self) -> Result<String> {
        let status = SocketAddr::new(self.pod.address().into(), STATUS);
        let answer = Request::get("/stats/prometheus").send_through(&self.pod.connector(), status).await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        Ok(answer.text())
    }

    /// Its Envoy's admin interface.
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// Its network.
    pub fn pod(&self) -> &Pod {
        &self.pod
    }

    /// Its agent.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// The processes in it.
    ///
    /// # Errors
    /// When one of them does not run.
    pub fn pids(&self) -> Result<Pids> {
        self.agent.pids()
    }

    /// Puts another token in the place of the old one, as a kubelet does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn deliver_token(&self, token: &str) -> Result<()> {
        deliver(self.folder.path(), TOKEN, token)
    }

    /// Puts other roots in the place of the old ones, as a kubelet does when the ConfigMap changes.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn deliver_roots(&self, roots: &str) -> Result<()> {
        deliver(self.folder.path(), ROOTS, roots)
    }

    /// Puts a list of what was revoked (PEM) in the place of the old one, or takes it away.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn deliver_revoked(&self, list: Option<&str>) -> Result<()> {
        match list {
            Some(list) => deliver(self.folder.path(), REVOKED, list),
            None => std::fs::remove_file(self.folder.path().join(REVOKED)).context("removing the list"),
        }
    }

    /// A GET of `/` from its app.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub async fn get(&self, address: SocketAddr, host: &str) -> Result<Answer> {
        Request::get("/").host(host).send_through(&self.pod.connector(), address).await
    }

    /// Requests from its app, one after the other.
    pub fn load(&self, address: SocketAddr, host: &str) -> Load {
        let request = Request::get("/").host(host);
        Load::new(address, request).through(self.pod.connector()).pace(Duration::from_millis(10))
    }

    /// The sum of its Envoy's statistics that match.
    ///
    /// # Errors
    /// When Envoy does not answer.
    pub async fn sum(&self, filter: &str) -> Result<u64> {
        Ok(self.admin.stats(filter).await?.iter().map(|(_, value)| value).sum())
    }

    /// The serial number of the certificate that its Envoy shows.
    ///
    /// # Errors
    /// When it has none.
    pub async fn serial(&self) -> Result<String> {
        let certs = self.admin.certs().await?;
        let serial = own(&certs)?["serial_number"].as_str().map(str::to_owned);
        serial.with_context(|| format!("no serial number in {certs}"))
    }

    /// The URI names of the certificate that its Envoy shows.
    ///
    /// # Errors
    /// When it has none.
    pub async fn names(&self) -> Result<Vec<String>> {
        let certs = self.admin.certs().await?;
        let names = own(&certs)?["subject_alt_names"].as_array().into_iter().flatten();
        Ok(names.filter_map(|name| name["uri"].as_str()).map(str::to_owned).collect())
    }
}

/// The one certificate that Envoy shows, however many contexts use it. While it is replaced there are two.
fn own(certs: &Value) -> Result<&Value> {
    let all = certs["certificates"].as_array().into_iter().flatten();
    let mut own: Vec<&Value> = all
        .flat_map(|certificate| certificate["cert_chain"].as_array().into_iter().flatten().take(1))
        .collect();
    own.sort_by_key(|certificate| certificate["serial_number"].as_str());
    own.dedup_by_key(|certificate| &certificate["serial_number"]);
    match own[..] {
        [one] => Ok(one),
        _ => bail!("not one certificate in all contexts: {certs}"),
    }
}

/// What an injected container has in its environment, as far as this agent reads it.
fn variables(pod: &Pod, plan: &Plan<'_>) -> Result<Vec<(String, String)>> {
    let proxy = json!({
        "discoveryAddress": plan.control_plane,
        "binaryPath": binary()?,
        "concurrency": 1,
        // A test ends many of them.
        "terminationDrainDuration": "1s",
    });
    let mut variables = vec![
        ("POD_NAME", plan.name.to_owned()),
        ("POD_NAMESPACE", plan.namespace.to_owned()),
        ("SERVICE_ACCOUNT", plan.account.to_owned()),
        ("INSTANCE_IP", pod.address().to_string()),
        ("ISTIO_META_INTERCEPTION_MODE", "REDIRECT".to_owned()),
        ("PROXY_CONFIG", proxy.to_string()),
    ];
    if let Some(life) = plan.life {
        variables.push(("SECRET_TTL", format!("{}s", life.as_secs())));
        // Renewed when so much of it is left: a busy machine has the rest of a short life to do it in.
        variables.push(("SECRET_GRACE_PERIOD_RATIO", LEFT.to_string()));
    }
    Ok(variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Whole at once: nobody reads half of it.
fn deliver(folder: &Path, file: &str, text: &str) -> Result<()> {
    let path: PathBuf = folder.join(file);
    std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, &path).with_context(|| format!("writing {file}"))
}
