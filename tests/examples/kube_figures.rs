//! What a cluster costs the control plane: start, memory, the way of a change, steady churn. Prints figures, judges nothing.
//!
//! `cargo xtask tools` first; then, with the programs that it names in `KUBEBUILDER_ASSETS` and a release build in `MELTEMI_BIN`:
//! `cargo run --release -p meltemi-tests --example kube_figures [SERVICES] [PODS]`. The API server, etcd and the clients share this machine's
//! cores with the control plane: times are upper bounds. A quiet machine, some two minutes.

#![allow(clippy::print_stdout, reason = "an example prints what it is for")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::io::AsyncBufReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use meltemi_names::TypeUrl;
use meltemi_testkit::kube::Cluster;
use meltemi_testkit::xds::{Form, Held, Node, Sidecar};
use meltemi_tests::control_plane::virtual_host;
use meltemi_tests::kubernetes::Home;
use meltemi_tests::live::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

const NAMESPACES: usize = 10;
const PORT: u16 = 9080;
const WRITES: usize = 50;
const SIDECARS: usize = 100;
/// Changes that nobody reads, in 30 s.
const UNREAD: u32 = 300;
/// The word that makes of this program the floor of [`unread`].
const HEAR: &str = "hear";
const CHURN: u64 = 50;
const CHURN_SECONDS: u64 = 20;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|word| word == HEAR) {
        let kubeconfig = arguments.next().context("whose events?")?;
        return Builder::new_current_thread().enable_all().build()?.block_on(hear(Path::new(&kubeconfig)));
    }
    Builder::new_multi_thread().enable_all().build()?.block_on(figures())
}

async fn figures() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse());
    let services = numbers.next().transpose()?.unwrap_or(1_000);
    let pods = numbers.next().transpose()?.unwrap_or(10_000);
    let home = Home::shared().await?;
    let mesh = Mesh::make(home.cluster(), services, pods).await?;
    let server = start(&home).await?;
    idle_write(&home, &mesh, &server).await?;
    let sidecars = churn(&home, &mesh, &server).await?;
    unread(&home, &mesh, &server).await?;
    drop(sidecars);
    server.terminate().await
}

/// What there is in the cluster.
struct Mesh {
    namespaces: Vec<String>,
    services: usize,
    pods_each: usize,
}

impl Mesh {
    async fn make(kube: &Arc<Cluster>, services: usize, pods: usize) -> Result<Self> {
        let began = Instant::now();
        let mut namespaces = Vec::new();
        for _ in 0..NAMESPACES {
            namespaces.push(kube.namespace("mesh").await?);
        }
        let mesh = Self { namespaces, services, pods_each: pods / services };
        kube.node("node", &[("topology.kubernetes.io/region", "r"), ("topology.kubernetes.io/zone", "z")])
            .await?;
        mesh.make_pods(kube).await?;
        let mut text = String::new();
        for index in 0..services {
            text += &mesh.service(index);
        }
        kube.apply_at_once(&text).await?;
        println!(
            "made {services} services, each with a slice, a rule and a route, and {pods} pods in {:.0} s",
            began.elapsed().as_secs_f64()
        );
        Ok(mesh)
    }

    fn namespace(&self, index: usize) -> &str {
        self.namespaces.get(index % self.namespaces.len()).map_or("", String::as_str)
    }

    fn address(&self, index: usize, pod: usize) -> String {
        let number = index * self.pods_each + pod;
        format!("10.{}.{}.{}", 128 + number / 62_500, number / 250 % 250, 1 + number % 250)
    }

    async fn make_pods(&self, kube: &Arc<Cluster>) -> Result<()> {
        let client = kube.admin().await?;
        let at_once = Arc::new(Semaphore::new(32));
        let mut work = JoinSet::new();
        for index in 0..self.services {
            for pod in 0..self.pods_each {
                let api: Api<Pod> = Api::namespaced(client.clone(), self.namespace(index));
                let (name, address) = (format!("s{index}-{pod}"), self.address(index, pod));
                let at_once = Arc::clone(&at_once);
                work.spawn(async move {
                    let _turn = at_once.acquire_owned().await?;
                    let env: Vec<_> = (0..20).map(|i| json!({"name": format!("VARIABLE_{i}"), "value": "a value of some length"})).collect();
                    let object = serde_json::from_value(json!({
                        "metadata": {"name": name, "labels": {"app": format!("s{index}"), "version": format!("v{}", 1 + pod % 2)}},
                        "spec": {"nodeName": "node", "containers": [{"name": "app", "image": "example/app:1", "env": env,
                            "ports": [{"containerPort": 8080}]}]},
                    }))?;
                    api.create(&PostParams::default(), &object).await?;
                    let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
                        "conditions": [{"type": "Ready", "status": "True"}]}});
                    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
                    anyhow::Ok(())
                });
            }
        }
        while let Some(done) = work.join_next().await {
            done??;
        }
        Ok(())
    }

    fn service(&self, index: usize) -> String {
        let namespace = self.namespace(index);
        let endpoints = self.endpoints(index, true);
        format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: s{index}, namespace: {namespace}}}
spec: {{ports: [{{name: http, port: {PORT}, targetPort: 8080}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: s{index}-own, namespace: {namespace}, labels: {{kubernetes.io/service-name: s{index}}}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints: {endpoints}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: s{index}, namespace: {namespace}}}
spec:
  host: s{index}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
{}",
            self.route(index, 90)
        )
    }

    /// The endpoints of its slice, the first of which is ready or not.
    fn endpoints(&self, index: usize, first_ready: bool) -> Value {
        let endpoint = |pod: usize| {
            json!({
                "addresses": [self.address(index, pod)],
                "conditions": {"ready": pod > 0 || first_ready, "terminating": false},
                "targetRef": {"kind": "Pod", "name": format!("s{index}-{pod}"), "namespace": self.namespace(index)},
            })
        };
        (0..self.pods_each).map(endpoint).collect()
    }

    fn route(&self, index: usize, weight: u32) -> String {
        let namespace = self.namespace(index);
        format!(
            "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{index}, namespace: {namespace}}}
spec:
  hosts: [s{index}]
  http:
  - route:
    - {{destination: {{host: s{index}, subset: v1}}, weight: {weight}}}
    - {{destination: {{host: s{index}, subset: v2}}, weight: {}}}
",
            100 - weight
        )
    }
}

async fn start(home: &Home) -> Result<Server> {
    let began = Instant::now();
    // Without status: 2,000 objects that never had one would be written meanwhile.
    let server = home.launch(home.kubeconfig(), &["--status", "off"]).await?.when_ready().await?;
    println!(
        "start to ready: {:.2} s; then {:.0} MB resident",
        began.elapsed().as_secs_f64(),
        resident(&server)?
    );
    Ok(server)
}

/// One write through the API after the other, and one sidecar that has nothing else to do.
async fn idle_write(home: &Home, mesh: &Mesh, server: &Server) -> Result<()> {
    let namespace = mesh.namespace(0);
    let mut sidecar =
        Sidecar::connect(server.addresses().xds, Node::sidecar("idle", namespace), Form::Delta).await?;
    let began = Instant::now();
    sidecar.until(Duration::from_secs(60), |held| virtual_host(held, "9080", "s0").is_some()).await?;
    while tokio::time::timeout(Duration::from_secs(1), sidecar.step()).await.is_ok() {}
    println!(
        "a sidecar has everything after {:.2} s; {:.0} MB resident",
        began.elapsed().as_secs_f64(),
        resident(server)?
    );
    let client = home.cluster().admin().await?;
    let (mut whole, mut after, mut bytes) = (Vec::new(), Vec::new(), 0);
    for turn in 0..WRITES {
        let index = turn * NAMESPACES % mesh.services;
        let api = api_of(&client, mesh.namespace(index));
        let patch = json!({"spec": {"http": [{"route": [
            {"destination": {"host": format!("s{index}"), "subset": "v1"}, "weight": 50},
            {"destination": {"host": format!("s{index}"), "subset": "v2"}, "weight": 50},
        ]}]}});
        let began = Instant::now();
        // The answer of the API server and the sidecar's come at about the same time: which is later is a matter of luck.
        let written = async {
            api.patch(&format!("s{index}"), &PatchParams::default(), &Patch::Merge(&patch)).await?;
            anyhow::Ok(Instant::now())
        };
        let acknowledged = async {
            let step = sidecar.step().await?;
            anyhow::Ok((step, Instant::now()))
        };
        let (written, acknowledged) = tokio::join!(written, acknowledged);
        let (written, (step, acknowledged)) = (written?, acknowledged?);
        bytes = step.bytes;
        whole.push(acknowledged.duration_since(began));
        after.push(acknowledged.saturating_duration_since(written));
    }
    println!("{WRITES} weight changes through the API, one idle sidecar, {bytes} bytes each:");
    println!(
        "  write returned -> ACK sent   median {}, p95 {}",
        shown(&mut after, 50),
        shown(&mut after, 95)
    );
    println!(
        "  write begun -> ACK sent      median {}, p95 {}",
        shown(&mut whole, 50),
        shown(&mut whole, 95)
    );
    Ok(())
}

/// Endpoints that come and go all the time, and many sidecars.
async fn churn(home: &Home, mesh: &Mesh, server: &Server) -> Result<JoinSet<()>> {
    let bytes = Arc::new(AtomicUsize::new(0));
    let answers = Arc::new(AtomicUsize::new(0));
    let mut sidecars = JoinSet::new();
    for index in 0..SIDECARS {
        let node = Node::sidecar(&format!("busy-{index}"), mesh.namespace(index));
        let mut sidecar = Sidecar::connect(server.addresses().xds, node, Form::Delta).await?;
        let everything = |held: &Held| held.names(TypeUrl::VirtualHost).len() >= mesh.services;
        sidecar.until(Duration::from_secs(60), everything).await?;
        let (bytes, answers) = (Arc::clone(&bytes), Arc::clone(&answers));
        sidecars.spawn(async move {
            while let Ok(step) = sidecar.step().await {
                bytes.fetch_add(step.bytes, Ordering::Relaxed);
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    println!("{SIDECARS} sidecars connected; {:.0} MB resident", resident(server)?);
    bytes.store(0, Ordering::Relaxed);
    answers.store(0, Ordering::Relaxed);
    let api_client = home.cluster().admin().await?;
    let (before, began) = (cpu(pid(server)?)?, Instant::now());
    let mut ticks = interval(Duration::from_millis(1_000 / CHURN));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ready = BTreeMap::new();
    let mut writes = JoinSet::new();
    let mut changes = 0;
    while began.elapsed() < Duration::from_secs(CHURN_SECONDS) {
        ticks.tick().await;
        let index = changes * 7 % mesh.services;
        let is_ready = ready.entry(index).or_insert(true);
        *is_ready = !*is_ready;
        let patch = json!({"endpoints": mesh.endpoints(index, *is_ready)});
        let api: Api<EndpointSlice> = Api::namespaced(api_client.clone(), mesh.namespace(index));
        // Not one after the other: an answer takes longer than the time between two changes.
        writes.spawn(async move {
            api.patch(&format!("s{index}-own"), &PatchParams::default(), &Patch::Merge(patch)).await
        });
        changes += 1;
    }
    while let Some(written) = writes.join_next().await {
        written??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let used = (cpu(pid(server)?)? - before).as_secs_f64();
    let (bytes, answers) = (bytes.load(Ordering::Relaxed), answers.load(Ordering::Relaxed));
    let per = |total: f64| total / f64::from(u32::try_from(changes).unwrap_or(1));
    println!("{changes} endpoint changes in {seconds:.1} s, {SIDECARS} sidecars:");
    println!("  CPU {:.1} % of a core, {:.2} ms a change", 100.0 * used / seconds, 1_000.0 * per(used));
    #[allow(clippy::cast_precision_loss, reason = "a count of bytes")]
    let (sent, answers) = (bytes as f64, answers as f64);
    println!(
        "  {:.0} bytes and {:.2} answers a change and sidecar",
        per(sent) / SIDECARS as f64,
        per(answers) / SIDECARS as f64
    );
    println!("  {:.0} MB resident", resident(server)?);
    Ok(sidecars)
}

/// What the control plane reads of the cluster and does nothing about: beyond what it uses at rest in the same time.
/// The floor: a process of one thread that asks for the events of all pods and reads their bytes, whatever they say.
async fn hear(kubeconfig: &Path) -> Result<()> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    let list: Value = client.request(http::Request::get("/api/v1/pods?limit=1").body(Vec::new())?).await?;
    let version = list.pointer("/metadata/resourceVersion").and_then(Value::as_str).context("no version")?;
    let path = format!("/api/v1/pods?watch=1&resourceVersion={version}");
    let mut events = client.request_stream(http::Request::get(path).body(Vec::new())?).await?;
    println!("listening");
    let mut line = Vec::new();
    while events.read_until(b'\n', &mut line).await? > 0 {
        line.clear();
    }
    bail!("the API server has ended the events")
}

async fn unread(home: &Home, mesh: &Mesh, server: &Server) -> Result<()> {
    let client = home.cluster().admin().await?;
    let mut floor = Command::new(std::env::current_exe()?);
    floor.arg(HEAR).arg(home.kubeconfig()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut floor = floor.spawn()?;
    let said = floor.stdout.take().context("the floor has no output")?;
    BufReader::new(said).lines().next_line().await?.context("the floor did not start")?;
    let pids = [pid(server)?, floor.id().context("the floor has ended")?];
    let [rest, floor_rest] = used_in(pids, |_| std::future::ready(Ok(()))).await?;
    println!("{SIDECARS} sidecars at rest: {:.2} ms of CPU a second", rest.as_secs_f64() * 1e3 / 30.0);
    for (what, is_status) in [
        ("a pod's status that says nothing new to the mesh", true),
        ("a pod's label that no rule reads", false),
    ] {
        let [used, floor_used] = used_in(pids, |number| {
            let index = number % mesh.services;
            let api: Api<Pod> = Api::namespaced(client.clone(), mesh.namespace(index));
            async move {
                let name = format!("s{index}-0");
                let parameters = PatchParams::default();
                if is_status {
                    let containers = json!([{"name": "app", "image": "example/app:1", "imageID": "", "ready": true, "restartCount": number}]);
                    let patch = Patch::Merge(json!({"status": {"containerStatuses": containers}}));
                    api.patch_status(&name, &parameters, &patch).await?;
                } else {
                    let patch = Patch::Merge(json!({"metadata": {"labels": {"build": number.to_string()}}}));
                    api.patch(&name, &parameters, &patch).await?;
                }
                Ok(())
            }
        })
        .await?;
        let each = |used: Duration, rest| (used.saturating_sub(rest) / UNREAD).as_secs_f64() * 1e6;
        println!(
            "{UNREAD} times {what}: {:.0} µs of CPU each; {:.0} µs in a process that only reads the event's bytes",
            each(used, rest),
            each(floor_used, floor_rest)
        );
    }
    Ok(())
}

/// CPU of the processes while that is done at fixed times for one turn of HTTP/2's keepalive, which costs what it costs.
async fn used_in<Done: Future<Output = Result<()>>>(
    pids: [u32; 2],
    mut change: impl FnMut(usize) -> Done,
) -> Result<[Duration; 2]> {
    let mut ticks = interval(Duration::from_secs(30) / UNREAD);
    ticks.tick().await;
    let [server, floor] = pids;
    let before = [cpu(server)?, cpu(floor)?];
    for number in 0..UNREAD as usize {
        change(number).await?;
        ticks.tick().await;
    }
    Ok([cpu(server)?.saturating_sub(before[0]), cpu(floor)?.saturating_sub(before[1])])
}

fn api_of(client: &Client, namespace: &str) -> Api<kube::api::DynamicObject> {
    let gvk = kube::core::GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService");
    Api::namespaced_with(client.clone(), namespace, &kube::api::ApiResource::from_gvk(&gvk))
}

/// Resident memory of the control plane, in MB.
fn resident(server: &Server) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid(server)?))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes / 1024.0)
}

fn pid(server: &Server) -> Result<u32> {
    server.pid().context("it has ended")
}

/// What a process has used of processors.
fn cpu(pid: u32) -> Result<Duration> {
    // Each thread has a file of its own.
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanos += text.split_whitespace().next().context("an empty schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

fn shown(times: &mut [Duration], percent: usize) -> String {
    times.sort_unstable();
    let at = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(at).map_or_else(String::new, |time| format!("{:.1} ms", 1_000.0 * time.as_secs_f64()))
}
