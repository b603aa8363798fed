//! A proxy as it introduces itself: the node of its first request, parsed once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use meltemi_api::mesh_config::GatewayTopology;
use meltemi_names::{Labels, Locality, Namespace, Port};
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::envoy::config::core::v3::node::UserAgentVersionType;
use meltemi_proto::google::protobuf::{Struct, value};

/// What the proxy is for (first part of the node id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyKind {
    /// Beside a workload.
    Sidecar,
    /// A gateway.
    Router,
}

/// How traffic reaches the proxy (metadata `INTERCEPTION_MODE`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Interception {
    /// iptables REDIRECT to the virtual listeners.
    #[default]
    Redirect,
    /// iptables TPROXY: as REDIRECT, and the source address is kept.
    Tproxy,
    /// Nothing is redirected: listeners bind to the services' ports on loopback.
    None,
}

/// Which addresses the proxy's workload has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum IpFamily {
    /// Only IPv4, also when no address is known.
    #[default]
    V4,
    /// Only IPv6.
    V6,
    /// Both.
    Dual,
}

impl IpFamily {
    /// Whether an address of this family is of use to the proxy.
    pub fn takes(self, address: IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
            Self::Dual => true,
        }
    }
}

/// What a gateway may have of the Secrets of its namespace (Istio: pilot/pkg/xds/sds.go, `filterAuthorizedResources`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretAccess {
    /// Nothing, now or ever: nobody knows who it is.
    #[default]
    None,
    /// What others are verified by, which is no secret. Certificates with their keys it may have once its account may list Secrets: it is told
    /// where it will find them, and keeps those that it has.
    Roots,
    /// All that its Gateways name.
    All,
}

/// A proxy as it introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// `pod.namespace`, the third part of the node id; what people call the proxy.
    pub id: Arc<str>,
    /// Sidecar or gateway.
    pub kind: ProxyKind,
    /// Metadata `NAMESPACE`, else the first label of the DNS domain.
    pub namespace: Namespace,
    /// The pod's name: the id without its namespace.
    pub name: Arc<str>,
    /// Of which Deployment it is, by metadata (`WORKLOAD_NAME`); empty if it does not say. A known pod's wins.
    pub workload: Arc<str>,
    /// Labels by metadata; a known pod's labels win.
    pub labels: Labels,
    /// `INSTANCE_IPS`, else the second part of the node id.
    pub addresses: Vec<IpAddr>,
    /// The named ports of its pod by metadata (`POD_PORTS`); a known pod's win.
    pub named_ports: BTreeMap<String, Port>,
    /// How traffic reaches it.
    pub interception: Interception,
    /// The suffix in which short service names are resolved, `<namespace>.svc.<domain>`.
    pub dns_domain: Arc<str>,
    /// The Kubernetes node that it runs on.
    pub node_name: Option<Arc<str>>,
    /// Where it runs, by its own account.
    pub locality: Locality,
    /// Accepts HTTP/1.0 (metadata `HTTP10` = "1").
    pub http10: bool,
    /// Its agent answers its workload's DNS, from a table that it asks for (metadata `DNS_CAPTURE`): so it can be called by addresses that
    /// nobody else knows.
    pub dns_capture: bool,
    /// Logs every request on standard output where the mesh's settings ask for no log (metadata `MELTEMI_ACCESS_LOG` = "true", which
    /// `meltemi bootstrap` writes, so that a person who tries a proxy sees what it does).
    pub access_log: bool,
    /// Counts requests and connections: an Envoy with its stats access logger, by its own list of extensions.
    pub metrics: bool,
    /// It has the mesh's certificates: something beside it serves them to it (SDS). Metadata `MELTEMI_CERTIFICATES` says so, `true` or
    /// `false`; without it all that Istio's agents start do, and they alone write `ISTIO_VERSION`.
    pub has_certificates: bool,
    /// What it calls the service that it is beside (`node.cluster`): so spans call it.
    pub cluster: Arc<str>,
    /// It may not listen on ports below 1024 (metadata `UNPRIVILEGED_POD` = "true").
    pub unprivileged: bool,
    /// What it may have of the Secrets of its namespace. Never by its own word: who authenticated its stream says so.
    pub secrets: SecretAccess,
    /// What stands before it, by its agent's word (metadata `PROXY_CONFIG`); none: it says nothing of it.
    pub topology: Option<GatewayTopology>,
    /// Which build of which client it is, as `envoy/1.40.0`; the name alone where it does not say.
    pub build: Arc<str>,
    /// The texts of its metadata, for those who patch what proxies of some kind are served; long ones are left out.
    pub texts: BTreeMap<String, String>,
    /// Takes virtual hosts as resources of their own: an Envoy on a delta stream.
    pub takes_virtual_hosts: bool,
}

/// How long a text of the metadata may be that is kept, in bytes.
const TEXT: usize = 128;

/// How many of them are kept.
const TEXTS: usize = 64;

/// The extension by which an Envoy counts traffic; older ones lack it.
pub const STATS_LOGGER: &str = "envoy.access_loggers.stats";

/// Why a node cannot be served. The text goes to the proxy and to the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The id has another shape.
    #[error(
        "node id `{0}` is not of the form type~ip~pod.namespace~dnsDomain; set it so in the bootstrap's node.id"
    )]
    Id(String),
    /// The first part is nothing that is served.
    #[error("node type `{0}` is not served; `sidecar` and `router` are")]
    Kind(String),
    /// Neither metadata nor id hold an address.
    #[error("node `{0}` has no usable address: set metadata INSTANCE_IPS or the second part of node.id")]
    Address(String),
}

impl Proxy {
    /// Reads a node as Istio's agents and Meltemi's own bootstrap write it (Istio: pilot/pkg/model/context.go). `delta` says which
    /// spelling of the protocol its stream uses.
    ///
    /// # Errors
    /// When the id is not of four parts, or names a type that is not served, or no address can be found.
    pub fn parse(node: &Node, delta: bool) -> Result<Self, ProxyError> {
        let parts: Vec<&str> = node.id.split('~').collect();
        let &[kind, ip, id, dns_domain] = parts.as_slice() else {
            return Err(ProxyError::Id(node.id.clone()));
        };
        let kind = match kind {
            "sidecar" => ProxyKind::Sidecar,
            "router" => ProxyKind::Router,
            other => return Err(ProxyError::Kind(other.to_owned())),
        };
        let metadata = Metadata(node.metadata.as_ref());
        let instance_ips: Option<Vec<IpAddr>> = metadata
            .text("INSTANCE_IPS")
            .map(|ips| ips.split(',').map_while(|ip| ip.trim().parse().ok()).collect());
        let addresses = match instance_ips.filter(|ips| !ips.is_empty()) {
            Some(ips) => ips,
            None => vec![ip.parse().map_err(|_| ProxyError::Address(node.id.clone()))?],
        };
        let namespace = metadata
            .text("NAMESPACE")
            .filter(|namespace| !namespace.is_empty())
            .or_else(|| dns_domain.split('.').next())
            .unwrap_or_default();
        let name = id.strip_suffix(&format!(".{namespace}")).unwrap_or(id);
        let labels = metadata.texts("LABELS");
        let locality = Locality::of_labels(&labels).unwrap_or_else(|| {
            node.locality.as_ref().map_or_else(Locality::default, |locality| Locality {
                region: locality.region.as_str().into(),
                zone: locality.zone.as_str().into(),
                sub_zone: locality.sub_zone.as_str().into(),
            })
        });
        Ok(Self {
            id: id.into(),
            kind,
            namespace: namespace.into(),
            name: name.into(),
            workload: metadata.text("WORKLOAD_NAME").unwrap_or_default().into(),
            labels,
            addresses,
            named_ports: metadata.text("POD_PORTS").map(named_ports).unwrap_or_default(),
            interception: match metadata.text("INTERCEPTION_MODE") {
                Some("NONE") => Interception::None,
                Some("TPROXY") => Interception::Tproxy,
                _ => Interception::Redirect,
            },
            dns_domain: dns_domain.into(),
            node_name: metadata.text("NODE_NAME").filter(|name| !name.is_empty()).map(Arc::from),
            locality,
            http10: metadata.text("HTTP10") == Some("1"),
            dns_capture: metadata.says("DNS_CAPTURE"),
            access_log: metadata.text("MELTEMI_ACCESS_LOG") == Some("true"),
            metrics: node.extensions.iter().any(|extension| extension.name == STATS_LOGGER),
            has_certificates: match metadata.text("MELTEMI_CERTIFICATES") {
                Some(said) => said == "true",
                None => metadata.text("ISTIO_VERSION").is_some_and(|version| !version.is_empty()),
            },
            cluster: node.cluster.as_str().into(),
            unprivileged: metadata.text("UNPRIVILEGED_POD") == Some("true"),
            secrets: SecretAccess::None,
            texts: metadata.short_texts(),
            topology: metadata.topology(),
            build: build(node).into(),
            takes_virtual_hosts: delta && node.user_agent_name == "envoy",
        })
    }

    /// Which addresses its workload has.
    pub fn family(&self) -> IpFamily {
        match (self.addresses.iter().any(IpAddr::is_ipv4), self.addresses.iter().any(IpAddr::is_ipv6)) {
            (true, true) => IpFamily::Dual,
            (false, true) => IpFamily::V6,
            _ => IpFamily::V4,
        }
    }

    /// The cluster's DNS suffix, if the proxy resolves Kubernetes names: `cluster.local` of `shop.svc.cluster.local`.
    pub fn cluster_domain(&self) -> Option<&str> {
        self.dns_domain.split_once(".svc.").map(|(_, domain)| domain)
    }
}

/// The ports that have a name, of a list as agents write it: JSON in a text. What is not such a list names none.
fn named_ports(text: &str) -> BTreeMap<String, Port> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Written {
        #[serde(default)]
        name: String,
        container_port: u32,
    }
    let written: Vec<Written> = serde_json::from_str(text).unwrap_or_default();
    let named = written.into_iter().filter(|port| !port.name.is_empty());
    named.filter_map(|port| Some((port.name, Port::new(port.container_port)?))).collect()
}

fn build(node: &Node) -> String {
    let version = match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(text)) => text.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => build
            .version
            .as_ref()
            .map(|version| format!("{}.{}.{}", version.major_number, version.minor_number, version.patch))
            .unwrap_or_default(),
        None => String::new(),
    };
    format!("{}/{version}", node.user_agent_name)
}

/// Node metadata: a Struct in which unknown keys are tolerated.
struct Metadata<'a>(Option<&'a Struct>);

impl<'a> Metadata<'a> {
    fn value(&self, key: &str) -> Option<&'a value::Kind> {
        self.0?.fields.get(key)?.kind.as_ref()
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        match self.value(key)? {
            value::Kind::StringValue(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is true, as a text that Go reads so or as itself (Istio: `StringBool`).
    fn says(&self, key: &str) -> bool {
        match self.value(key) {
            Some(value::Kind::BoolValue(said)) => *said,
            Some(value::Kind::StringValue(text)) => {
                matches!(text.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True")
            }
            _ => false,
        }
    }

    /// `gatewayTopology` of its ProxyConfig; a value of another form says nothing.
    fn topology(&self) -> Option<GatewayTopology> {
        let nested = |fields: &'a Struct, key: &str| match fields.fields.get(key)?.kind.as_ref()? {
            value::Kind::StructValue(nested) => Some(nested),
            _ => None,
        };
        let mut topology = serde_json::Map::new();
        for (key, value) in &nested(nested(self.0?, "PROXY_CONFIG")?, "gatewayTopology")?.fields {
            let value = match value.kind.as_ref() {
                Some(value::Kind::NumberValue(number)) => serde_json::json!(*number as u32),
                Some(value::Kind::StringValue(text)) => serde_json::json!(text),
                Some(value::Kind::StructValue(_)) => serde_json::json!({}),
                _ => continue,
            };
            topology.insert(key.clone(), value);
        }
        GatewayTopology::within(&serde_json::json!({"gatewayTopology": topology}))
    }

    /// Its own texts.
    fn short_texts(&self) -> BTreeMap<String, String> {
        let fields = self.0.into_iter().flat_map(|fields| &fields.fields);
        let texts = fields.filter_map(|(key, value)| match value.kind.as_ref()? {
            value::Kind::StringValue(text) if text.len() <= TEXT => Some((key.clone(), text.clone())),
            _ => None,
        });
        texts.take(TEXTS).collect()
    }

    /// A nested struct of texts; other values in it are passed over.
    fn texts(&self, key: &str) -> Labels {
        let Some(value::Kind::StructValue(nested)) = self.value(key) else { return Labels::default() };
        nested
            .fields
            .iter()
            .filter_map(|(key, value)| match value.kind.as_ref()? {
                value::Kind::StringValue(text) => Some((key.clone(), text.clone())),
                _ => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
