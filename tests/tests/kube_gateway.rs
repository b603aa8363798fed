//! Gateways of a cluster and their certificates: Secrets of the real API server, its say about who may have them, real agents and Envoys,
//! real TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use meltemi_testkit::http::Request;
use meltemi_testkit::kube::Cluster;
use meltemi_tests::kubernetes::{Asker, Case, Home, Needs, main as run_all, run};
use meltemi_tests::live::edge::{Gateway, Plan, get};
use meltemi_tests::live::https::{Https, Pair, Signer, secret};
use meltemi_tests::live::{Server, eventually, free_port};
use serde_json::{Value, json};

fn main() {
    let cases: &[Case] = &[
        (
            "a_gateway_shows_the_certificate_of_its_secret_and_the_next_one_without_a_lost_request",
            Needs::Kubernetes,
            || run(served()),
        ),
        ("a_gateway_whose_account_may_not_list_secrets_gets_them_once_it_may", Needs::Kubernetes, || {
            run(let_in())
        }),
        ("without_the_right_to_secrets_all_else_is_served_and_that_is_said_once", Needs::Kubernetes, || {
            run(forbidden())
        }),
    ];
    run_all(cases);
}

const ACCOUNT: &str = "edge";

/// A namespace of gateways, and the control plane.
struct Edge {
    home: Home,
    server: Server,
    namespace: String,
}

impl Edge {
    /// `named`: the Secrets of that namespace alone are read.
    async fn open(home: Home, named: bool) -> Result<Self> {
        let namespace = home.cluster().namespace("edge").await?;
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}
        });
        home.cluster().apply(&account.to_string()).await?;
        let secrets = if named { namespace.as_str() } else { "all" };
        let arguments = ["--custom-host", "127.0.0.1", "--gateway-secrets", secrets];
        let server = home.launch(home.kubeconfig(), &arguments).await?.when_ready().await?;
        Ok(Self { home, server, namespace })
    }

    fn cluster(&self) -> &Arc<Cluster> {
        self.home.cluster()
    }

    async fn apply(&self, yaml: &str) -> Result<()> {
        self.cluster().apply(yaml).await
    }

    /// Lets the gateways' account list Secrets here, as the charts of gateways do.
    async fn lets(&self) -> Result<()> {
        let metadata = json!({"name": "gateway-secrets", "namespace": self.namespace});
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
            "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}],
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "gateway-secrets"},
            "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.namespace}],
        });
        let both = json!({"apiVersion": "v1", "kind": "List", "items": [role, binding]});
        self.apply(&both.to_string()).await?;
        // The API server hears of roles by watches of its own.
        let account = format!("system:serviceaccount:{}:{ACCOUNT}", self.namespace);
        may_list_secrets(self.cluster(), &account, &["-n", &self.namespace], true).await
    }

    /// A Gateway of this test's proxies, and a VirtualService that answers by itself.
    async fn gateway(&self, servers: &[Value]) -> Result<()> {
        let name = &self.namespace;
        let gateway = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": {"name": "edge", "namespace": name},
            "spec": {"selector": {"istio": name}, "servers": servers},
        });
        let answers = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
            "metadata": {"name": "edge", "namespace": name},
            "spec": {
                "hosts": ["*.example.com"], "gateways": ["edge"],
                "http": [{"directResponse": {"status": 200, "body": {"string": "here"}}}],
            },
        });
        self.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [gateway, answers]}).to_string())
            .await
    }

    async fn secret(&self, name: &str, pair: &Pair) -> Result<()> {
        self.apply(&secret(name, &self.namespace, pair, None)).await
    }

    /// The roots that this very control plane has told the namespace.
    async fn roots(&self) -> Result<String> {
        let read = async || {
            let found = self.cluster().get("v1", "ConfigMap", &self.namespace, "istio-ca-root-cert").await?;
            let found = found.context("no such ConfigMap")?;
            found.data["data"]["root-cert.pem"].as_str().map(str::to_owned).context("no roots in it")
        };
        // Another test's control plane may have written before.
        let secure = self.server.addresses().secure;
        eventually(async || Asker::connect(secure, "127.0.0.1", &read().await?, None).await.map(drop))
            .await
            .with_context(|| self.server.log())?;
        read().await
    }

    /// A gateway's proxy: agent and Envoy.
    async fn start(&self) -> Result<Gateway> {
        let token = self.cluster().token(&self.namespace, ACCOUNT, &["istio-ca"], None).await?;
        let roots = self.roots().await?;
        let label = format!("istio={}", self.namespace);
        Gateway::start(&Plan {
            namespace: &self.namespace,
            account: ACCOUNT,
            label: &label,
            token: &token,
            roots: &roots,
            secure: self.server.addresses().secure,
        })
        .await
    }
}

fn encrypted(port: u16, name: &str, host: &str, credential: &str) -> Value {
    json!({
        "port": {"number": port, "name": name, "protocol": "HTTPS"}, "hosts": [host],
        "tls": {"mode": "SIMPLE", "credentialName": credential},
    })
}

fn plain(port: u16) -> Value {
    json!({"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*.example.com"]})
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Waits until the API server says that of an account.
async fn may_list_secrets(cluster: &Cluster, account: &str, scope: &[&str], may: bool) -> Result<()> {
    let account = format!("--as={account}");
    let question = [&["auth", "can-i", "list", "secrets", &account], scope].concat();
    eventually(async || {
        let says = match cluster.kubectl(&question).await {
            Ok(_) => true,
            Err(error) if format!("{error:#}").contains("\nno") => false,
            Err(error) => return Err(error),
        };
        ensure!(says == may, "the API server says {says} of {account}");
        Ok(())
    })
    .await
}

/// The bytes of a key as they would stand in a text.
fn lines_of(pair: &Pair) -> Vec<&str> {
    pair.key.lines().filter(|line| line.len() > 40).collect()
}

async fn served() -> Result<()> {
    let edge = Edge::open(Home::shared().await?, false).await?;
    let (signer, port) = (Signer::new("Edge root")?, free_port()?);
    let other = edge.cluster().namespace("other").await?;
    let (a, b, c) =
        (signer.server("a.example.com")?, signer.server("b.example.com")?, signer.server("c.example.com")?);
    edge.lets().await?;
    edge.secret("a", &a).await?;
    // As older clusters have them, of whatever type.
    let generic = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "example.com/edge",
        "metadata": {"name": "b", "namespace": edge.namespace}, "stringData": {"cert": b.chain, "key": b.key},
    });
    edge.apply(&generic.to_string()).await?;
    edge.apply(&secret("c", &other, &c, None)).await?;
    edge.gateway(&[
        encrypted(port, "a", "a.example.com", "a"),
        encrypted(port, "b", "b.example.com", "b"),
        encrypted(port, "c", "c.example.com", &format!("{other}/c")),
    ])
    .await?;
    let gateway = edge.start().await?;
    let client = Https::believing(&signer.roots);
    for (host, pair) in [("a.example.com", &a), ("b.example.com", &b)] {
        let shown = pair.der()?;
        eventually(async || {
            let reply = client.get(at(port), host).await?;
            ensure!(reply.status == 200 && reply.certificate == shown, "{host}: {reply:?}");
            Ok(())
        })
        .await
        .with_context(|| format!("{}\n{}", gateway.log(), edge.server.log()))?;
    }
    ensure!(client.get(at(port), "c.example.com").await.is_err(), "another namespace's Secret is shown");

    // The next certificate, of another authority, while requests come.
    let next = Signer::new("Next root")?;
    let both = Https::believing(&format!("{}{}", signer.roots, next.roots));
    let loads = ["a.example.com", "b.example.com"].map(|host| both.load(at(port), host));
    let renewed = next.server("a.example.com")?;
    edge.secret("a", &renewed).await?;
    let shown = renewed.der()?;
    eventually(async || {
        ensure!(
            both.get(at(port), "a.example.com").await?.certificate == shown,
            "the old certificate is shown"
        );
        Ok(())
    })
    .await?;

    // One that is broken, and then none at all: what was good stays.
    let before = edge.server.generation().await?;
    let broken = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "a", "namespace": edge.namespace}, "stringData": {"tls.crt": "none", "tls.key": "none"},
    });
    edge.apply(&broken.to_string()).await?;
    edge.server.says(&["Secret", "tls.crt", "holds no PEM block"]).await?;
    ensure!(both.get(at(port), "a.example.com").await?.certificate == shown, "a broken Secret counts");
    edge.cluster().kubectl(&["delete", "secret", "a", "-n", &edge.namespace]).await?;
    edge.server.in_force(before, 1).await?;
    ensure!(
        both.get(at(port), "a.example.com").await?.certificate == shown,
        "the listener lost its certificate"
    );
    for load in loads {
        ensure!(load.stop().await? > 0);
    }

    // What is secret stands in no log, and on no page.
    let asked = async |page: &str| {
        Ok::<_, anyhow::Error>(Request::get(page).send(edge.server.addresses().monitoring).await?.text())
    };
    let pages = [
        asked("/api/v1/objects").await?,
        asked(&format!("/debug/config_dump?proxyID=edge.{}", edge.namespace)).await?,
    ];
    ensure!(pages[1].contains("kubernetes://b"), "the Secret is on its page: {}", pages[1]);
    let said = format!("{}{}{}", edge.server.log(), gateway.log(), pages.concat());
    for pair in [&a, &b, &c, &renewed] {
        for line in lines_of(pair) {
            ensure!(!said.contains(line), "a key is in a log or on a page");
        }
    }
    let nacks = edge.server.metric("meltemi_xds_nacks_total").await?;
    ensure!(nacks == 0, "{nacks} refusals\n{}", edge.server.log());
    gateway.end().await
}

async fn let_in() -> Result<()> {
    let edge = Edge::open(Home::shared().await?, true).await?;
    let (signer, port, http) = (Signer::new("Edge root")?, free_port()?, free_port()?);
    let a = signer.server("a.example.com")?;
    edge.secret("a", &a).await?;
    edge.gateway(&[encrypted(port, "a", "a.example.com", "a"), plain(http)]).await?;
    let gateway = edge.start().await?;
    gateway.ready().await.with_context(|| edge.server.log())?;
    let client = Https::believing(&signer.roots);
    ensure!(get(http, "a.example.com").await?.status == 200, "what needs no Secret is served");
    ensure!(client.get(at(port), "a.example.com").await.is_err(), "a key went to whoever may not have it");
    // The operator is told, in the log and where proxies are looked at.
    edge.server
        .says(&["a gateway gets no keys of Secrets", "account edge may not list Secrets", &edge.namespace])
        .await?;
    let (code, status) = edge
        .server
        .command(&["proxy-status", "--server", &edge.server.addresses().monitoring.to_string()])
        .await?;
    ensure!(code == 0 && status.contains("(may not list secrets)"), "{status}");

    edge.lets().await?;
    let shown = a.der()?;
    eventually(async || {
        let reply = client.get(at(port), "a.example.com").await?;
        ensure!(reply.certificate == shown, "another certificate");
        Ok(())
    })
    .await
    .with_context(|| format!("{}\n{}", gateway.log(), edge.server.log()))?;
    gateway.end().await
}

async fn forbidden() -> Result<()> {
    let home = Home::shared().await?;
    let role =
        home.rights().iter().find(|object| object["kind"] == "ClusterRole").context("a ClusterRole")?;
    let mut less = role.clone();
    let rules = less["rules"].as_array_mut().context("rules")?;
    rules.retain(|rule| rule["resources"] != json!(["secrets"]));
    home.cluster().apply(&less.to_string()).await?;
    let account = format!("system:serviceaccount:{}:{}", home.namespace(), home.account());
    may_list_secrets(home.cluster(), &account, &["--all-namespaces"], false).await?;
    let role = role.to_string();

    let edge = Edge::open(home, false).await?;
    let words =
        ["may not list and watch secrets", "so gateways get no certificates", "--gateway-secrets off"];
    edge.server.says(&words).await?;
    let (signer, port, http) = (Signer::new("Edge root")?, free_port()?, free_port()?);
    let a = signer.server("a.example.com")?;
    edge.lets().await?;
    edge.secret("a", &a).await?;
    edge.gateway(&[encrypted(port, "a", "a.example.com", "a"), plain(http)]).await?;
    let gateway = edge.start().await?;
    gateway.ready().await.with_context(|| edge.server.log())?;
    ensure!(get(http, "a.example.com").await?.status == 200, "what needs no Secret is served");
    let client = Https::believing(&signer.roots);
    ensure!(client.get(at(port), "a.example.com").await.is_err(), "there is no certificate to show");
    let told = edge.server.log().matches(words[0]).count();
    if told != 1 {
        bail!("told {told} times:\n{}", edge.server.log());
    }
    // Once it may, it goes on by itself.
    edge.apply(&role).await?;
    let shown = a.der()?;
    eventually(async || {
        ensure!(client.get(at(port), "a.example.com").await?.certificate == shown, "another certificate");
        Ok(())
    })
    .await
    .with_context(|| format!("{}\n{}", gateway.log(), edge.server.log()))?;
    gateway.end().await
}
