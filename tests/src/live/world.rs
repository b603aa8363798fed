//! One mesh on loopback: a folder, `meltemi serve`, a client's Envoy and the apps behind it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use meltemi_testkit::envoy::{Envoy, Launch};
use meltemi_testkit::http::{Answer, App, Load, Request};
use tempfile::TempDir;
use tokio::time::timeout;

use super::server::Addresses;
use super::{LIMIT, Server, free_port, service, ticks, workload};

/// How the Envoy speaks to the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Delta, with virtual hosts as resources of their own.
    Delta,
    /// State of the world, with whole route configurations.
    StateOfTheWorld,
}

/// The mesh. All its services have one and the same port, at which the client's Envoy listens on 127.0.0.1.
pub struct World {
    folder: TempDir,
    port: u16,
    addresses: Addresses,
    holds: bool,
    form: Form,
    running: Option<(Server, Envoy)>,
}

impl World {
    /// An empty folder, and nothing running yet.
    ///
    /// # Errors
    /// When there is no folder or port to be had.
    pub fn new(form: Form) -> Result<Self> {
        Ok(Self {
            folder: tempfile::Builder::new().prefix("meltemi-world-").tempdir()?,
            port: free_port()?,
            addresses: Addresses::free(IpAddr::V4(Ipv4Addr::LOCALHOST))?,
            holds: true,
            form,
            running: None,
        })
    }

    /// Without holds, as Istio does it.
    #[must_use]
    pub fn without_holds(mut self) -> Self {
        self.holds = false;
        self
    }

    /// The port of all services.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A Service `name`, an app of that version, and the WorkloadEntry that leads to it.
    ///
    /// # Errors
    /// When it cannot start, or its files cannot be written.
    pub async fn app(&self, name: &str, version: &str) -> Result<App> {
        let app = App::start(name, version).await?;
        self.write(&format!("{name}.yaml"), &service(name, self.port))?;
        let entry = format!("{name}-{version}");
        self.write(&format!("{entry}.yaml"), &workload(&entry, name, version, app.address()))?;
        Ok(app)
    }

    /// Writes a file as editors do: a new file takes the place of the old one. Waits for nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &str, yaml: &str) -> Result<()> {
        let draft = self.folder.path().join(format!(".{file}.draft"));
        std::fs::write(&draft, yaml)?;
        std::fs::rename(&draft, self.folder.path().join(file)).with_context(|| format!("saving {file}"))
    }

    /// Removes a file. Waits for nothing.
    ///
    /// # Errors
    /// When it is not there.
    pub fn delete(&self, file: &str) -> Result<()> {
        std::fs::remove_file(self.folder.path().join(file)).with_context(|| format!("removing {file}"))
    }

    /// Starts `meltemi serve` and the client's Envoy; when this returns, it takes requests.
    ///
    /// # Errors
    /// When one of them does not get ready; with its log.
    pub async fn start(&mut self) -> Result<()> {
        let server = Server::start(self.folder.path(), self.addresses, self.holds).await?;
        let envoy = self.launch(&server).await?;
        self.running = Some((server, envoy));
        self.settle().await;
        Ok(())
    }

    /// Ends the client's Envoy and starts another one in its place, which has nothing of what that one had.
    ///
    /// # Errors
    /// When it does not get ready; with the control plane's log.
    pub async fn replace_envoy(&mut self) -> Result<()> {
        let (server, envoy) = self.running.take().context("the world is not started")?;
        drop(envoy);
        let envoy = self.launch(&server).await?;
        self.running = Some((server, envoy));
        self.settle().await;
        Ok(())
    }

    async fn launch(&self, server: &Server) -> Result<Envoy> {
        let bootstrap = server.bootstrap("client.default", &["--interception", "NONE"]).await?;
        let bootstrap = match self.form {
            Form::Delta => bootstrap,
            Form::StateOfTheWorld => {
                let changed = bootstrap.replace("DELTA_GRPC", "GRPC");
                if changed == bootstrap {
                    bail!("the bootstrap does not say DELTA_GRPC: {bootstrap}");
                }
                changed
            }
        };
        let envoy = Launch::new(bootstrap).start().await;
        let envoy = envoy.with_context(|| format!("meltemi's log:\n{}", server.log()))?;
        server.in_force(0, 1).await?;
        Ok(envoy)
    }

    /// The control plane.
    ///
    /// # Errors
    /// When it is not running.
    pub fn server(&self) -> Result<&Server> {
        self.running.as_ref().map(|(server, _)| server).context("the world is not started")
    }

    /// The client's Envoy.
    ///
    /// # Errors
    /// When it is not running.
    pub fn envoy(&self) -> Result<&Envoy> {
        self.running.as_ref().map(|(_, envoy)| envoy).context("the world is not started")
    }

    /// Writes a file, and waits until that is in force.
    ///
    /// # Errors
    /// When it does not get in force in time.
    pub async fn save(&self, file: &str, yaml: &str) -> Result<()> {
        let before = self.server()?.generation().await?;
        self.write(file, yaml)?;
        self.in_force(before).await.with_context(|| format!("after saving {file}"))
    }

    /// Removes a file, and waits until that is in force.
    ///
    /// # Errors
    /// As [`World::save`].
    pub async fn remove(&self, file: &str) -> Result<()> {
        let before = self.server()?.generation().await?;
        self.delete(file)?;
        self.in_force(before).await.with_context(|| format!("after removing {file}"))
    }

    async fn in_force(&self, before: u64) -> Result<()> {
        self.server()?.in_force(before, 1).await?;
        self.settle().await;
        Ok(())
    }

    /// Waits with `meltemi wait` until a file of the folder, as it is now, is in force.
    ///
    /// # Errors
    /// When it does not get in force in time.
    pub async fn wait_for(&self, file: &str) -> Result<()> {
        let path = self.folder.path().join(file);
        self.server()?.wait(&["-f", path.to_str().context("a path that is text")?]).await?;
        self.settle().await;
        Ok(())
    }

    /// Envoy acknowledges when its main thread has a change, and hands it to its workers by a queue. A request that a worker answers has
    /// that queue behind it, but for what came while it was polled: two requests are a barrier. [`World::save`] does this itself; a test
    /// needs it for what Envoy decides on its own.
    pub async fn settle(&self) {
        for _ in 0..2 {
            // Any answer will do; and before the first service nobody listens.
            drop(Request::get("/").host("barrier.invalid").send(self.address()).await);
        }
    }

    /// Kills the control plane.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn kill_server(&mut self) -> Result<Gap> {
        let (server, envoy) = self.running.take().context("the world is not started")?;
        server.kill().await?;
        Ok(Gap { envoy })
    }

    /// Starts the control plane again, at the same addresses, and waits until the Envoy is back and settled.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn restart_server(&mut self, gap: Gap) -> Result<()> {
        let server = Server::start(self.folder.path(), self.addresses, self.holds).await?;
        server.in_force(0, 1).await?;
        self.running = Some((server, gap.envoy));
        self.settle().await;
        Ok(())
    }

    /// Where the client sends its requests.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Load to a host: GET `/` by four workers, unless told otherwise.
    pub fn load(&self, host: &str) -> Load {
        self.load_of(Request::get("/").host(host))
    }

    /// Load of that request.
    pub fn load_of(&self, request: Request) -> Load {
        Load::new(self.address(), request).workers(4)
    }

    /// What a GET of `/` from that host answers.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub async fn get(&self, host: &str) -> Result<Answer> {
        Request::get("/").host(host).send(self.address()).await
    }

    /// The status and version that `host` answers.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub async fn answer(&self, host: &str) -> Result<(u16, Option<String>)> {
        let answer = self.get(host).await?;
        Ok((answer.status, answer.version().map(str::to_owned)))
    }

    /// Waits until the counter or gauge of the client's Envoy is at least that.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn stat_reaches(&self, name: &str, value: u64) -> Result<()> {
        let admin = self.envoy()?.admin();
        let mut ticks = ticks();
        let mut last = 0;
        let asking = async {
            while last < value {
                ticks.tick().await;
                last = admin.stat(name).await?;
            }
            Ok(())
        };
        match timeout(LIMIT, asking).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("{name} is {last} after {LIMIT:?}, not {value}"),
        }
    }

    /// The names of the clusters that the client's Envoy has, sorted.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn clusters(&self) -> Result<Vec<String>> {
        let clusters = self.envoy()?.admin().clusters().await?;
        let all = clusters["cluster_statuses"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> =
            all.iter().filter_map(|cluster| cluster["name"].as_str().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// The end of a test: nothing that was sent was refused by Envoy.
    ///
    /// # Errors
    /// Names what was refused.
    pub async fn end(self) -> Result<()> {
        let (server, envoy) = self.running.context("the world is not started")?;
        let rejected = envoy.admin().stats("update_rejected$").await?;
        let rejected: Vec<_> = rejected.into_iter().filter(|(_, count)| *count > 0).collect();
        let nacks = server.metric("meltemi_xds_nacks_total").await?;
        if !rejected.is_empty() || nacks > 0 {
            bail!("Envoy refused something: {rejected:?}, {nacks} NACKs\n{}", server.log());
        }
        Ok(())
    }
}

/// The world without its control plane.
pub struct Gap {
    envoy: Envoy,
}
