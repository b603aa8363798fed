//! Certificates by the thousand and changes of the mesh do not wait for each other. Counts, no times: figures are printed by the example
//! `identity_figures`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meltemi_testkit::xds::{Form, Node, Sidecar};
use meltemi_tests::control_plane::{ControlPlane, split, until, virtual_host};
use meltemi_tests::kubernetes::Certificate;
use meltemi_tests::kubernetes::{Asker, certificate};
use meltemi_tests::storm::{Proof, SERVER, Shape, Storm, request, route, tokens};
use tempfile::TempDir;

/// What a storm is: all sidecars of a large mesh.
const REQUESTS: u64 = 10_000;

/// How many identities ask; each stays within its own bound.
const ACCOUNTS: usize = 50;

/// After so long a test has failed: of a build without optimizations, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(300);

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  selector: {app: reviews}
  ports: [{name: http, port: 80, targetPort: 9080}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
";

/// A mesh with an authority, and a sidecar that has all of it.
struct World {
    plane: ControlPlane,
    state: TempDir,
    roots: String,
    sidecar: Sidecar,
}

impl World {
    async fn start() -> Result<Self> {
        let state = tempfile::Builder::new().prefix("meltemi-storm-").tempdir()?;
        let folder = state.path().to_path_buf();
        let files = [("service.yaml", SERVICE), ("route.yaml", &route(0))];
        let plane = ControlPlane::start_with(&files, |config| {
            config.identity.state_dir = Some(folder);
            config.secure_xds = ([127, 0, 0, 1], 0).into();
        })
        .await?;
        let mut sidecar = plane.join(Node::sidecar("client", "shop"), Form::Delta).await?;
        until(&mut sidecar, |held| virtual_host(held, "80", "reviews").is_some()).await?;
        let roots = std::fs::read_to_string(state.path().join("root-cert.pem"))?;
        Ok(Self { plane, state, roots, sidecar })
    }

    fn address(&self) -> Result<std::net::SocketAddr> {
        self.plane.secure_xds().context("no TLS port")
    }

    /// Saves a weight, and waits until the sidecar has it.
    async fn push(&mut self, weight: u64) -> Result<()> {
        self.plane.write("route.yaml", &route(weight))?;
        let wanted = [("v1".to_owned(), 100 - weight), ("v2".to_owned(), weight)];
        until(&mut self.sidecar, |held| {
            virtual_host(held, "80", "reviews").is_some_and(|host| split(&host) == wanted)
        })
        .await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_change_arrives_during_a_storm_of_requests_for_certificates() -> Result<()> {
    let mut world = World::start().await?;
    let shape = Shape { connections: 8, at_once: 32, requests: None, proof: Proof::Token };
    let tokens = tokens(world.state.path(), ACCOUNTS)?;
    let mut storm = Storm::start(world.address()?, &world.roots, tokens, &request()?, &shape).await?;
    // It rages as long as changes are made: not one of them finds the control plane at leisure.
    for weight in 1..=30 {
        world.push(weight).await.with_context(|| format!("weight {weight}, {} answers", storm.answered()))?;
    }
    storm.until(REQUESTS, LIMIT).await?;
    for weight in 31..=60 {
        world.push(weight).await.with_context(|| format!("weight {weight}, {} answers", storm.answered()))?;
    }
    let answered = storm.end().await?;
    ensure!(answered >= REQUESTS, "{answered} answers");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_while_the_mesh_changes_all_the_time() -> Result<()> {
    let mut world = World::start().await?;
    let (address, roots) = (world.address()?, world.roots.clone());
    let token = tokens(world.state.path(), 1)?.pop();
    let mut own: Certificate = certificate(address, SERVER, &roots, None, token.as_deref()).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel();
    // Changes without a pause, each awaited: as hard as a mesh can be pushed by what arrives.
    let pushes = tokio::spawn(async move {
        let mut stopped = stopped;
        let mut count = 0_u64;
        loop {
            count += 1;
            world.push(1 + count % 99).await.with_context(|| format!("push {count}"))?;
            if count >= 100 && stopped.try_recv().is_ok() {
                return anyhow::Ok(count);
            }
        }
    });
    for turn in 0..100 {
        // As an agent does at half life: a new key, over a connection of its own, by the certificate that it has.
        let mut asker = Asker::connect(address, SERVER, &roots, Some(&own)).await?;
        let renewed = asker.ask(None).await.with_context(|| format!("renewal {turn}"))?;
        ensure!(renewed.chain != own.chain, "the same certificate again");
        ensure!(renewed.verified_by(&roots)? == "spiffe://cluster.local/ns/shop/sa/a0");
        own = renewed;
    }
    ensure!(stop.send(()).is_ok(), "the pushes have ended: {:?}", pushes.await?);
    ensure!(pushes.await?? >= 100);
    Ok(())
}
