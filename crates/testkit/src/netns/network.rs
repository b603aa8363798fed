//! A bridge on this machine, and pods connected to it.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::command::{run, run_with};
use super::namespace::Namespace;
use super::redirect;
use crate::http::Connect;

/// Begins the name of every namespace made here; the process ID follows.
const PREFIX: &str = "meltemi-";

/// The networks to choose from are the 512 of 198.18.0.0/15, which is set aside for tests of network devices
/// (RFC 2544), so that nothing on a developer's machine uses it.
const NETWORKS: u32 = 512;

/// The last byte of the bridge's address.
const BRIDGE: u8 = 1;

/// Whether pods can be made here.
///
/// # Errors
/// Says what is missing.
pub fn available() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("network namespaces need root: run this test as root, for instance in a container");
    }
    run("ip -V")?;
    run("iptables --version").map(drop)
}

/// A bridge of this machine and the pods on it. Dropping the last handle removes them.
///
/// The bridge's address is this process's own: what listens there (a control plane) is reached by every pod.
pub struct Network {
    inner: Arc<Inner>,
}

/// A network namespace with an address of its own on the bridge, and a default route over it. Dropping it removes the
/// namespace; end what runs inside before.
pub struct Pod {
    name: String,
    /// The end of its link that is on the bridge.
    device: String,
    address: Ipv4Addr,
    namespace: Namespace,
    network: Arc<Inner>,
}

struct Inner {
    bridge: String,
    prefix: [u8; 3],
    last_host: Mutex<u8>,
}

impl Network {
    /// A network of its own, with no pod yet.
    ///
    /// # Errors
    /// When this is not root, or a tool is missing; says what to do.
    pub fn new() -> Result<Self> {
        available()?;
        sweep();
        let (id, count) = (std::process::id(), next_count());
        let bridge = format!("m{id}b{count}");
        run(&format!("ip link add {bridge} type bridge"))?;
        let start = id.wrapping_mul(7).wrapping_add(count);
        let prefix = match choose(start) {
            Ok(prefix) => prefix,
            Err(error) => {
                remove_device(&bridge);
                return Err(error);
            }
        };
        let network = Self { inner: Arc::new(Inner { bridge, prefix, last_host: Mutex::new(BRIDGE) }) };
        let (bridge, address) = (&network.inner.bridge, network.address());
        run(&format!("ip address add {address}/24 dev {bridge}"))?;
        run(&format!("ip link set {bridge} up"))?;
        Ok(network)
    }

    /// This machine's own address on the network, which pods reach.
    pub fn address(&self) -> Ipv4Addr {
        self.inner.host(BRIDGE)
    }

    /// A new pod. `name` is for people; each pod has a namespace and an address of its own.
    ///
    /// # Errors
    /// When a command fails, or the network has no address left (253 pods).
    pub fn pod(&self, name: &str) -> Result<Pod> {
        let host = self.inner.next_host()?;
        let address = self.inner.host(host);
        let (id, count) = (std::process::id(), next_count());
        let full_name = format!("{PREFIX}{id}-{count}-{name}");
        run(&format!("ip netns add {full_name}"))?;
        let prepared = Namespace::open(&full_name).map(|namespace| Pod {
            name: full_name.clone(),
            device: format!("m{id}v{count}"),
            address,
            namespace,
            network: Arc::clone(&self.inner),
        });
        let pod = match prepared {
            Ok(pod) => pod,
            Err(error) => {
                remove_namespace(&full_name);
                return Err(error);
            }
        };
        // From here on the drop of `pod` cleans up.
        let (bridge, outside) = (&self.inner.bridge, &pod.device);
        run(&format!("ip link add {outside} type veth peer name eth0 netns {full_name}"))?;
        run(&format!("ip link set {outside} master {bridge} up"))?;
        run(&format!("ip -n {full_name} address add {address}/24 dev eth0"))?;
        run(&format!("ip -n {full_name} link set lo up"))?;
        run(&format!("ip -n {full_name} link set eth0 up"))?;
        // A service's address lies beyond every link; without a route its connections fail before they are redirected.
        run(&format!("ip -n {full_name} route add default via {}", self.address()))?;
        Ok(pod)
    }
}

impl Pod {
    /// Its address, which every other pod and this machine reach.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The name of its namespace, for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes sockets inside: a client, a load or an app of this process then talks as the pod does.
    pub fn connector(&self) -> Connect {
        Connect::inside(self.namespace.clone())
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A command that runs inside, and is killed when its child is dropped.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]).kill_on_drop(true);
        command
    }

    /// Leads its TCP traffic through a sidecar, as Istio's REDIRECT mode does: outbound to 15001, inbound to 15006.
    ///
    /// # Errors
    /// When iptables refuses the rules.
    pub fn redirect(&self) -> Result<()> {
        run_with(&format!("ip netns exec {} iptables-restore --noflush", self.name), &redirect::rules())
            .map(drop)
            .with_context(|| format!("setting the redirect rules of {}", self.name))
    }

    /// Words before a program that have it run inside.
    pub(crate) fn wrapper(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // The kernel keeps a namespace, and the link in it, as long as a closed connection waits for its last packets.
        remove_device(&self.device);
        remove_namespace(&self.name);
        let _still_used = &self.network;
    }
}

impl Inner {
    fn host(&self, host: u8) -> Ipv4Addr {
        let [one, two, three] = self.prefix;
        Ipv4Addr::new(one, two, three, host)
    }

    fn next_host(&self) -> Result<u8> {
        let mut last = self.last_host.lock().unwrap_or_else(PoisonError::into_inner);
        if *last >= 254 {
            bail!("a network has room for 253 pods");
        }
        *last += 1;
        Ok(*last)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        remove_device(&self.bridge);
    }
}

/// Part of the names of devices and namespaces. With the seven digits of a process ID and two letters it leaves room for
/// six digits in the 15 bytes that the kernel allows the name of a device.
fn next_count() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    COUNT.fetch_add(1, Ordering::Relaxed)
}

/// The first free network from the `start`th on.
fn choose(start: u32) -> Result<[u8; 3]> {
    let used = run("ip -o -4 address show")?;
    (0..NETWORKS)
        .map(|offset| start.wrapping_add(offset) % NETWORKS)
        .map(|index| [198, if index < 256 { 18 } else { 19 }, index.to_be_bytes()[3]])
        .find(|[one, two, three]| !used.contains(&format!(" {one}.{two}.{three}.")))
        .context("all networks of 198.18.0.0/15 are in use on this machine")
}

/// Removes what a process that is gone left behind: its namespaces and devices.
fn sweep() {
    let is_gone = |id: &str| id.parse::<u32>().is_ok() && !Path::new("/proc").join(id).exists();
    for line in run("ip netns list").unwrap_or_default().lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let id = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if id.is_some_and(is_gone) {
            remove_namespace(name);
        }
    }
    let devices =
        ["bridge", "veth"].map(|kind| run(&format!("ip -o link show type {kind}")).unwrap_or_default());
    for line in devices.iter().flat_map(|listing| listing.lines()) {
        let name = line.split(": ").nth(1).and_then(|name| name.split('@').next()).unwrap_or_default();
        let id = name.strip_prefix('m').and_then(|rest| rest.split(['b', 'v']).next());
        if id.is_some_and(is_gone) {
            remove_device(name);
        }
    }
}

/// Another process may have been quicker; then there is nothing to do.
fn remove_namespace(name: &str) {
    drop(run(&format!("ip netns del {name}")));
}

/// As [`remove_namespace`].
fn remove_device(name: &str) {
    drop(run(&format!("ip link del {name}")));
}
