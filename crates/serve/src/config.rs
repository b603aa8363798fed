//! What `meltemi serve` is told: one typed tree, no environment switches beside it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use meltemi_model::debounce::Patience;
use meltemi_names::{Namespace, ObjectName};
use meltemi_sources::kube::{Access, Secrets};

use crate::identity::Settings as IdentitySettings;
use crate::ports::Listener;

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folders of YAML; may be none if there is a cluster.
    pub folders: Vec<PathBuf>,
    /// The cluster whose objects are served; with folders, both.
    pub cluster: Option<Access>,
    /// Who this replica is among others.
    pub own: Own,
    /// Mesh settings beneath the ConfigMap `istio`.
    pub mesh_config: Option<PathBuf>,
    /// The namespace of a folder's objects that name none.
    pub namespace: String,
    /// Where proxies connect without TLS.
    pub xds: SocketAddr,
    /// Where proxies connect with TLS, if there is an authority ([`IdentitySettings`]).
    pub secure_xds: SocketAddr,
    /// What the authority is told.
    pub identity: IdentitySettings,
    /// Where readiness is asked.
    pub http: SocketAddr,
    /// Where metrics, version and debug pages are.
    pub monitoring: SocketAddr,
    /// Where the Secrets of a cluster are read, for the certificates of gateways; none are without an authority, since nobody could have them.
    pub gateway_secrets: Secrets,
    /// Write into the objects of a cluster what became of them.
    pub status: bool,
    /// Keep what works.
    pub holds: bool,
    /// Send routes as virtual hosts to proxies that take them.
    pub virtual_hosts: bool,
    /// How long a change waits for what it refers to.
    pub patience: Patience,
    /// After so long (less up to half of it, by chance) a proxy is asked to connect anew, so that a new replica gets its share; none: never.
    pub max_connection_age: Option<Duration>,
    /// The monitoring addresses of other replicas, as `HOST:PORT`, besides those that Kubernetes lists: they are asked, too, whether an
    /// object is in force.
    pub peers: Vec<String>,
    /// Findings go to standard error as lines `file:line:column: ...` (no terminal), or as a text with the source line (a terminal).
    pub terminal: bool,
}

/// Who this replica is in its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// The namespace that it runs in, where its Lease and the ConfigMap `istio` are.
    pub namespace: Namespace,
    /// Its pod's name: its identity when a leader is elected.
    pub pod: Option<ObjectName>,
    /// The Service whose EndpointSlices name the other replicas.
    pub service: ObjectName,
    /// Which revision's objects it reads, by label `istio.io/rev`; empty: all.
    pub revision: String,
}

impl Own {
    /// The name of the ConfigMap of mesh settings (Istio: pilot/pkg/bootstrap/mesh.go).
    pub fn settings(&self) -> String {
        match self.revision.as_str() {
            "" | "default" => "istio".to_owned(),
            revision => format!("istio-{revision}"),
        }
    }
}

impl Default for Own {
    fn default() -> Self {
        Self {
            namespace: "istio-system".into(),
            pod: None,
            service: "meltemi".into(),
            revision: String::new(),
        }
    }
}

impl Default for Config {
    /// Nothing to read, at the usual ports of loopback.
    fn default() -> Self {
        Self {
            folders: Vec::new(),
            cluster: None,
            own: Own::default(),
            mesh_config: None,
            namespace: "default".to_owned(),
            xds: Listener::Xds.default_address(false),
            secure_xds: Listener::SecureXds.default_address(false),
            identity: IdentitySettings::default(),
            http: Listener::Http.default_address(false),
            monitoring: Listener::Monitoring.default_address(false),
            gateway_secrets: Secrets::Everywhere,
            status: true,
            holds: true,
            virtual_hosts: true,
            patience: Patience::default(),
            max_connection_age: None,
            peers: Vec::new(),
            terminal: false,
        }
    }
}
