//! The pods of these tests: a client and a server with sidecars, and a stranger.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meltemi_testkit::envoy::{Envoy, Launch};
use meltemi_testkit::http::{Answer, App, Connect, Request};
use meltemi_testkit::netns::{Network, Pod};
use meltemi_testkit::sds::{self, Authority, Secrets};
use meltemi_tests::live::{Addresses, Server};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

/// Who calls.
pub(crate) const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/client";
/// Who is called.
pub(crate) const SERVER: &str = "spiffe://cluster.local/ns/default/sa/server";

/// The service's port that declares HTTP.
pub(crate) const DECLARED: u16 = 80;
/// The one that declares nothing.
pub(crate) const SNIFFED: u16 = 81;
/// The one that declares nothing either, of a server that speaks no HTTP.
const ECHO: u16 = 82;
/// Where the applications listen: the two of HTTP, and the echo.
pub(crate) const OWN: [u16; 3] = [9080, 9081, 9082];

/// The service's own address, which no machine has.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// How long bytes on the way may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A pod with its Envoy and what serves that its certificates; they end in this order.
struct Sidecar {
    envoy: Envoy,
    _secrets: sds::Server,
    pod: Pod,
}

/// The mesh.
pub(crate) struct Mesh {
    /// Behind [`DECLARED`].
    pub(crate) app: App,
    /// Behind [`SNIFFED`].
    pub(crate) other_app: App,
    echo: JoinHandle<()>,
    client: Sidecar,
    server_pod: Sidecar,
    stranger: Pod,
    server: Server,
    folder: TempDir,
    _network: Network,
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.echo.abort();
    }
}

/// A PeerAuthentication of namespace `default`.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: default}}\nspec: {spec}\n"
    )
}

/// A GET of `/`.
pub(crate) async fn get(connect: &Connect, address: SocketAddr, host: &str) -> Result<Answer> {
    Request::get("/").host(host).send_through(connect, address).await
}

impl Mesh {
    /// Starts it; client and server have certificates of these names.
    pub(crate) async fn start(client_name: &str, server_name: &str) -> Result<Self> {
        let network = Network::new()?;
        let folder = tempfile::Builder::new().prefix("meltemi-mtls-").tempdir()?;
        let (client, one, stranger) =
            (network.pod("client")?, network.pod("server")?, network.pod("stranger")?);
        let app = App::builder("myapp", "v1").inside(&one).port(OWN[0]).start().await?;
        let other_app = App::builder("myapp", "v1").inside(&one).port(OWN[1]).start().await?;
        let echo = echo(&one.connector(), SocketAddr::from((one.address(), OWN[2]))).await?;
        let service = format!(
            "apiVersion: v1
kind: Service
metadata: {{name: pods, namespace: default}}
spec:
  clusterIP: None
  selector: {{app: myapp}}
  ports: [{{name: http, port: {}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: myapp, namespace: default}}
spec:
  clusterIP: {ADDRESS}
  selector: {{app: myapp}}
  ports:
  - {{name: http, port: {DECLARED}, targetPort: {}}}
  - {{name: any, port: {SNIFFED}, targetPort: {}}}
  - {{name: other, port: {ECHO}, targetPort: {}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: server, namespace: default}}
spec: {{address: {}, labels: {{app: myapp}}, serviceAccount: server}}
",
            OWN[0],
            OWN[0],
            OWN[1],
            OWN[2],
            one.address()
        );
        std::fs::write(folder.path().join("service.yaml"), service)?;
        let server = Server::start(folder.path(), Addresses::free(network.address().into())?, true).await?;
        let authority = Authority::new()?;
        let client = sidecar(&server, client, "client", authority.secrets(client_name)?).await?;
        let server_pod = sidecar(&server, one, "myapp", authority.secrets(server_name)?).await?;
        server.in_force(0, 2).await?;
        Ok(Self { app, other_app, echo, client, server_pod, stranger, server, folder, _network: network })
    }

    /// Saves a file, and waits until it is in force in both sidecars.
    pub(crate) async fn save(&self, file: &str, yaml: &str) -> Result<()> {
        let before = self.server.generation().await?;
        let draft = self.folder.path().join(".draft");
        std::fs::write(&draft, yaml)?;
        std::fs::rename(&draft, self.folder.path().join(file))?;
        self.server.in_force(before, 2).await
    }

    /// The service's address at one of its ports.
    pub(crate) fn service(&self, port: u16) -> SocketAddr {
        SocketAddr::from((ADDRESS, port))
    }

    /// The server's own address at one of its ports.
    pub(crate) fn server_at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.server_pod.pod.address(), port))
    }

    /// Sockets in the client's pod.
    pub(crate) fn client_connect(&self) -> Connect {
        self.client.pod.connector()
    }

    /// Sockets in the stranger's pod.
    pub(crate) fn stranger_connect(&self) -> Connect {
        self.stranger.connector()
    }

    /// What the client asks.
    pub(crate) fn request(&self) -> Request {
        Request::get("/").host("myapp")
    }

    /// A GET by the client.
    pub(crate) async fn get(&self, port: u16) -> Result<Answer> {
        get(&self.client_connect(), self.service(port), "myapp").await
    }

    /// Waits until plain text from the stranger is answered on a port of the server's, or is not, several times in a row: what is in
    /// force each of Envoy's workers acts on a moment later.
    pub(crate) async fn stranger_is_let_in(&self, target: u16, wanted: bool) -> Result<()> {
        let connect = self.stranger_connect();
        let asked = async || get(&connect, self.server_at(target), "myapp").await.is_ok() == wanted;
        settles(asked).await.with_context(|| format!("plain text on {target}: answered should be {wanted}"))
    }

    /// Waits until the client's requests are answered 200, several times in a row.
    pub(crate) async fn is_answered(&self, port: u16) -> Result<()> {
        let asked = async || self.get(port).await.is_ok_and(|answer| answer.status == 200);
        settles(asked).await.with_context(|| format!("requests to {port} are not answered"))
    }

    /// Who called, as the server's sidecar told the application.
    pub(crate) async fn caller_as_seen(&self, port: u16) -> Result<String> {
        let answer = self.get(port).await?;
        ensure!(answer.status == 200, "{answer:?}");
        let json = answer.json();
        let told = json["headers"]["x-forwarded-client-cert"].as_str();
        Ok(told.with_context(|| format!("the application was told nobody: {json}"))?.to_owned())
    }

    /// The same, by HTTP/2 from the client's application on.
    pub(crate) async fn caller_as_seen_by_http2(&self, port: u16) -> Result<String> {
        let app = if port == DECLARED { &self.app } else { &self.other_app };
        app.forget();
        let mut stream = self.client_connect().to(self.service(port)).await?;
        // The preface, empty settings, and one request on stream 1 in the static table's words: GET, http, /, and the authority.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        stream.write_all(b"\0\0\x0a\x01\x05\0\0\0\x01\x82\x86\x84\x41\x05myapp").await?;
        app.wait_for(1, LIMIT).await?;
        let seen = app.seen();
        let seen = seen.first().context("nothing was seen")?;
        Ok(seen.headers.get("x-forwarded-client-cert").with_context(|| format!("{seen:?}"))?.clone())
    }

    /// What comes back of these bytes.
    pub(crate) async fn echo(&self, text: &str) -> Result<String> {
        let mut stream = self.client_connect().to(self.service(ECHO)).await?;
        stream.write_all(text.as_bytes()).await?;
        let mut back = vec![0; text.len()];
        tokio::time::timeout(LIMIT, stream.read_exact(&mut back)).await??;
        Ok(String::from_utf8(back)?)
    }

    /// The sum of the server's stats that match.
    pub(crate) async fn server_stat(&self, filter: &str) -> Result<u64> {
        sum(&self.server_pod.envoy, filter).await
    }

    /// The sum of the client's stats that match.
    pub(crate) async fn client_stat(&self, filter: &str) -> Result<u64> {
        sum(&self.client.envoy, filter).await
    }

    /// Nothing was refused by any Envoy.
    pub(crate) async fn end(self) -> Result<()> {
        let nacks = self.server.metric("meltemi_xds_nacks_total").await?;
        ensure!(nacks == 0, "{nacks} NACKs\n{}", self.server.log());
        Ok(())
    }
}

/// Asks again and again until it was as wanted five times in a row.
async fn settles(asked: impl AsyncFn() -> bool) -> Result<()> {
    let asking = async {
        let mut row = 0;
        while row < 5 {
            row = if asked().await { row + 1 } else { 0 };
        }
    };
    Ok(tokio::time::timeout(LIMIT, asking).await?)
}

async fn sum(envoy: &Envoy, filter: &str) -> Result<u64> {
    Ok(envoy.admin().stats(filter).await?.iter().map(|(_, value)| value).sum())
}

async fn sidecar(server: &Server, pod: Pod, app: &str, secrets: Secrets) -> Result<Sidecar> {
    let address = pod.address().to_string();
    let label = format!("app={app}");
    let arguments = ["--interception", "REDIRECT", "--ip", &address, "--label", &label];
    let bootstrap = server.bootstrap(&format!("{app}.default"), &arguments).await?;
    let secrets = sds::Server::start(secrets)?;
    let bootstrap = sds::with_certificates(&bootstrap, &secrets.socket())?;
    // As Istio's init container does, before the sidecar.
    pod.redirect()?;
    let envoy = Launch::new(bootstrap).inside(&pod).start().await;
    let envoy = envoy.with_context(|| format!("the sidecar of {app}; meltemi's log:\n{}", server.log()))?;
    Ok(Sidecar { envoy, _secrets: secrets, pod })
}

/// Answers every connection with the bytes that it sends.
async fn echo(connect: &Connect, address: SocketAddr) -> Result<JoinHandle<()>> {
    let listener = connect.listen(address).await?;
    Ok(tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    }))
}
