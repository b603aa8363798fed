//! Service: a name, its addresses and ports (Kubernetes core/v1).

mod traffic_distribution;

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_names::{Host, Port, Protocol, Selector};
use serde::de::{Deserialize, Deserializer, Error};

use crate::Meta;
use crate::markers::Unread;
use crate::value::non_empty;
pub use traffic_distribution::{TRAFFIC_DISTRIBUTION, TrafficDistribution};

/// What the mesh reads of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// How it is reached.
    pub service_type: ServiceType,
    /// Its virtual addresses; empty for headless and external ones, and for those that no API server has seen.
    pub cluster_ips: Vec<IpAddr>,
    /// `clusterIP: None`: clients call the endpoints themselves.
    pub headless: bool,
    /// What it is another name for, when its type says so.
    pub external_name: Option<Host>,
    /// Which pods and workload entries serve it; empty: none, its slices are written by others.
    pub selector: Selector,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Endpoints count before they are ready.
    pub publish_not_ready_addresses: bool,
    /// `internalTrafficPolicy: Local`: only endpoints of the client's node.
    pub internal_traffic_local: bool,
    /// `trafficDistribution` as written; read [`Service::traffic_distribution`].
    pub written_distribution: Option<Arc<str>>,
}

impl Service {
    /// Which endpoints its traffic goes to first, by its own word: the field before the annotation. None: its namespace decides.
    pub fn traffic_distribution(&self, meta: &Meta) -> Option<TrafficDistribution> {
        match &self.written_distribution {
            Some(text) => Some(TrafficDistribution::parse(text).unwrap_or_default()),
            None => TrafficDistribution::annotated(meta),
        }
    }
}

/// How a service is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[allow(missing_docs, reason = "each is the type of that name")]
pub enum ServiceType {
    #[default]
    ClusterIP,
    NodePort,
    LoadBalancer,
    ExternalName,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// None only if it is the only one.
    pub name: Option<String>,
    /// What clients call.
    pub port: Port,
    /// What the pods listen on.
    pub target_port: TargetPort,
    /// TCP, UDP or SCTP.
    pub transport: Transport,
    /// What it speaks, as declared.
    pub app_protocol: Option<String>,
}

impl ServicePort {
    /// What it speaks: by transport, `appProtocol`, name, number ([`Protocol::of_port`]).
    pub fn protocol(&self) -> Protocol {
        let transport = (self.transport == Transport::Udp).then_some("UDP");
        Protocol::of_port(transport, self.app_protocol.as_deref(), self.name.as_deref(), self.port)
    }
}

/// A port of the pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetPort {
    /// By number.
    Number(Port),
    /// By the name of a container's port.
    Name(String),
}

/// A port's transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "each is the transport of that name")]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// `spec` as written.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(dead_code, reason = "fields that are known and not read")]
struct Written {
    #[serde(rename = "type")]
    service_type: ServiceType,
    #[serde(rename = "clusterIP", deserialize_with = "non_empty")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(deserialize_with = "non_empty")]
    external_name: Option<String>,
    selector: Selector,
    ports: Vec<WrittenPort>,
    publish_not_ready_addresses: bool,
    #[serde(deserialize_with = "non_empty")]
    internal_traffic_policy: Option<String>,
    #[serde(deserialize_with = "non_empty")]
    traffic_distribution: Option<String>,
    allocate_load_balancer_node_ports: Unread,
    #[serde(rename = "externalIPs")]
    external_ips: Unread,
    external_traffic_policy: Unread,
    health_check_node_port: Unread,
    ip_families: Unread,
    ip_family_policy: Unread,
    load_balancer_class: Unread,
    #[serde(rename = "loadBalancerIP")]
    load_balancer_ip: Unread,
    load_balancer_source_ranges: Unread,
    session_affinity: Unread,
    session_affinity_config: Unread,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "fields that are known and not read")]
struct WrittenPort {
    #[serde(default, deserialize_with = "non_empty")]
    name: Option<String>,
    port: Port,
    #[serde(default)]
    target_port: Option<WrittenTarget>,
    #[serde(default)]
    protocol: Option<Transport>,
    #[serde(default, deserialize_with = "non_empty")]
    app_protocol: Option<String>,
    #[serde(default)]
    node_port: Unread,
}

/// A number or a name; 0 and empty are "not set".
struct WrittenTarget(Option<TargetPort>);

impl<'de> Deserialize<'de> for WrittenTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl serde::de::Visitor<'_> for Either {
            type Value = WrittenTarget;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the number or the name of a port")
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<WrittenTarget, E> {
                u64::try_from(number)
                    .map_err(|_| E::custom(format!("a port is 1 to 65535, found {number}")))
                    .and_then(|number| self.visit_u64(number))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<WrittenTarget, E> {
                if number == 0 {
                    return Ok(WrittenTarget(None));
                }
                u32::try_from(number)
                    .ok()
                    .and_then(Port::new)
                    .map(|port| WrittenTarget(Some(TargetPort::Number(port))))
                    .ok_or_else(|| E::custom(format!("a port is 1 to 65535, found {number}")))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<WrittenTarget, E> {
                Ok(WrittenTarget(match text {
                    "" => None,
                    _ => Some(
                        text.parse()
                            .ok()
                            .and_then(Port::new)
                            .map_or_else(|| TargetPort::Name(text.to_owned()), TargetPort::Number),
                    ),
                }))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let first = written.cluster_ip.into_iter().collect();
        let all = if written.cluster_ips.is_empty() { first } else { written.cluster_ips };
        let headless = all.iter().any(|ip| ip == "None");
        let cluster_ips = all
            .iter()
            .filter(|ip| *ip != "None")
            .map(|ip| ip.parse().map_err(|_| D::Error::custom(format!("`{ip}` is not an IP address"))))
            .collect::<Result<_, _>>()?;
        let external_name = match written.service_type {
            ServiceType::ExternalName => written.external_name,
            _ => None,
        };
        Ok(Self {
            service_type: written.service_type,
            cluster_ips,
            headless,
            external_name: external_name
                .map(|name| Host::parse(&name).map_err(D::Error::custom))
                .transpose()?,
            selector: written.selector,
            ports: written.ports.into_iter().map(ServicePort::from).collect(),
            publish_not_ready_addresses: written.publish_not_ready_addresses,
            internal_traffic_local: written.internal_traffic_policy.as_deref() == Some("Local"),
            written_distribution: written.traffic_distribution.map(Arc::from),
        })
    }
}

impl From<WrittenPort> for ServicePort {
    fn from(written: WrittenPort) -> Self {
        Self {
            name: written.name,
            port: written.port,
            target_port: written
                .target_port
                .and_then(|target| target.0)
                .unwrap_or(TargetPort::Number(written.port)),
            transport: written.protocol.unwrap_or_default(),
            app_protocol: written.app_protocol,
        }
    }
}
