//! What `meltemi serve` is told: one typed tree, no environment switches beside it.

use std::net::SocketAddr;
use std::path::PathBuf;

use meltemi_model::debounce::Patience;

use crate::propagation::Own;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folders of YAML; at least one.
    pub folders: Vec<PathBuf>,
    /// Mesh settings beneath the ConfigMap `istio`.
    pub mesh_config: Option<PathBuf>,
    /// The namespace of objects that name none.
    pub namespace: String,
    /// Where proxies connect without TLS.
    pub xds: SocketAddr,
    /// Where readiness is asked.
    pub http: SocketAddr,
    /// Where metrics, version and debug pages are.
    pub monitoring: SocketAddr,
    /// Keep what works.
    pub holds: bool,
    /// Send routes as virtual hosts to proxies that take them.
    pub virtual_hosts: bool,
    /// How long a change waits for what it refers to.
    pub patience: Patience,
    /// The monitoring addresses of other replicas, as `HOST:PORT`, besides those that Kubernetes lists: they are asked, too, whether an
    /// object is in force.
    pub peers: Vec<String>,
    /// Who this replica is to Kubernetes, by which the others are found; none outside of a cluster.
    pub own: Option<Own>,
    /// Findings go to standard error as lines `file:line:column: ...` (no terminal), or as a text with the source line (a terminal).
    pub terminal: bool,
}
