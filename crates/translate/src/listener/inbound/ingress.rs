//! On which ports a workload is reached, and where its application listens: by services, or by a Sidecar's ingress listeners in their
//! place (Istio: core/listener_inbound.go, core/cluster.go). Must not know chains.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use meltemi_api::sidecar::{CaptureMode, DefaultEndpoint, EndpointHost, Ingress};
use meltemi_model::proxy::{Interception, IpFamily};
use meltemi_model::read::Read;
use meltemi_model::scope::IngressOf;
use meltemi_model::service::ServiceId;
use meltemi_model::workload::InboundPort;
use meltemi_names::{Host, ObjectKey};

use super::super::InboundKey;
use super::super::bind::Bind;
use crate::cluster::ApplicationEndpoint;

/// A port that a workload is reached at.
pub(super) struct Led {
    pub(super) port: InboundPort,
    /// Where the application listens, if a Sidecar says so.
    pub(super) endpoint: Option<ApplicationEndpoint>,
    /// Where the socket is; none: connections are redirected.
    pub(super) bind: Option<Bind>,
}

/// The ports that a workload is reached at.
pub(super) struct LedPorts {
    pub(super) ports: Vec<Led>,
    /// A Sidecar names them.
    pub(super) ingress: bool,
}

pub(super) fn led(read: &Read<'_>, key: &InboundKey) -> LedPorts {
    let written = key.scope.as_ref().map(|sidecar| (sidecar, read.ask(IngressOf(sidecar.clone()))));
    match written {
        Some((sidecar, ingress)) if !ingress.is_empty() => {
            let ports = ingress.iter().filter_map(|ingress| of_ingress(key, sidecar, ingress));
            LedPorts { ports: ports.collect(), ingress: true }
        }
        _ => {
            let redirected = key.ports.iter().filter(|_| key.interception != Interception::None);
            let ports =
                redirected.map(|port| Led { port: port.clone(), endpoint: None, bind: None }).collect();
            LedPorts { ports, ingress: false }
        }
    }
}

/// None where nothing reaches it: what is not redirected comes only to sockets.
fn of_ingress(key: &InboundKey, sidecar: &ObjectKey, ingress: &Ingress) -> Option<Led> {
    let listen = ingress.port.as_ref()?;
    let number = listen.number?;
    let none = key.interception == Interception::None;
    let bind = match ingress.capture_mode {
        CaptureMode::Iptables if none => return None,
        CaptureMode::Default if !none => None,
        CaptureMode::Iptables => None,
        CaptureMode::Default | CaptureMode::None => Some(match ingress.bind {
            Some(address) => Bind::Given { address, bound: true },
            None => Bind::Any(key.family),
        }),
    };
    // The service that leads to the port, if one does: its rule and its name count.
    let service = key.ports.iter().find(|led| led.target == number).map(|led| led.service.clone());
    let service = match service {
        Some(service) => service,
        None => ServiceId {
            host: Host::parse(&format!("{}.{}", sidecar.name, sidecar.namespace)).ok()?,
            object: sidecar.clone(),
        },
    };
    Some(Led {
        port: InboundPort { target: number, service, port: number, protocol: listen.protocol() },
        endpoint: Some(endpoint(key, ingress.default_endpoint.as_ref())),
        bind,
    })
}

/// Where the application listens, of the addresses that the workload has (Istio: core/cluster.go, `buildInboundClustersFromSidecar`).
fn endpoint(key: &InboundKey, written: Option<&DefaultEndpoint>) -> ApplicationEndpoint {
    let (v4, v6): (IpAddr, IpAddr) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
    let (at, port) = match written {
        None | Some(DefaultEndpoint::Port { at: EndpointHost::Unsaid, .. }) => {
            return ApplicationEndpoint::Called;
        }
        Some(DefaultEndpoint::Unix(path)) => return ApplicationEndpoint::Unix(path.clone()),
        Some(DefaultEndpoint::Port { at, port }) => (at, *port),
    };
    let own = |is: fn(&IpAddr) -> bool| key.addresses.iter().copied().find(is);
    let ip = match at {
        EndpointHost::Loopback if key.family == IpFamily::V6 => v6,
        EndpointHost::LoopbackV6 if key.family != IpFamily::V4 => v6,
        EndpointHost::Loopback | EndpointHost::LoopbackV6 | EndpointHost::Unsaid => v4,
        EndpointHost::Pod => own(IpAddr::is_ipv4).unwrap_or(v4),
        EndpointHost::PodV6 => own(IpAddr::is_ipv6).unwrap_or(v6),
    };
    ApplicationEndpoint::Ip(ip, port)
}
