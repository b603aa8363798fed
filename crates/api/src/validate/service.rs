//! Service: what the API server would refuse, and ports that are not named for their protocol (Istio: IST0118).

use meltemi_names::Protocol;

use super::{Report, annotations};
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::service::{ServicePort, ServiceType};
use crate::value::is_dns_label;
use crate::{Meta, Service};

pub(super) fn check(service: &Service, meta: &Meta, path: &FieldPath, report: &mut Report) {
    let name = meta.key.name.as_str();
    if name.contains('.') {
        report.error(
            &FieldPath::of(&["metadata", "name"]),
            "bad-name",
            format!("`{name}` is not the name of a service, which has no dots"),
        );
    }
    annotations::of_service(service, meta, path, report);
    let external = service.service_type == ServiceType::ExternalName;
    if external && service.external_name.is_none() {
        report.error(path, "no-external-name", "a Service of type ExternalName needs externalName");
    }
    if service.ports.is_empty() && !external && !service.headless {
        report.add(
            Finding::error("no-ports", "a Service needs ports")
                .at(path)
                .hint("add ports: [{name: http, port: 80}]"),
        );
    }
    let ports = path.key("ports");
    for (index, port) in service.ports.iter().enumerate() {
        let here = ports.index(index);
        let others = &service.ports[..index];
        match &port.name {
            None if service.ports.len() > 1 => {
                report.error(&here, "no-port-name", "several ports must have names");
            }
            Some(name) if !is_dns_label(name) => {
                report.error(&here.key("name"), "bad-name", format!("`{name}` is not the name of a port"));
            }
            Some(name) if others.iter().any(|other| other.name.as_ref() == Some(name)) => {
                report.error(
                    &here.key("name"),
                    "duplicate-port",
                    format!("`{name}` stands here a second time"),
                );
            }
            _ => {}
        }
        if others.iter().any(|other| other.port == port.port && other.transport == port.transport) {
            report.error(
                &here.key("port"),
                "duplicate-port",
                format!("{} stands here a second time", port.port),
            );
        }
        if !external {
            protocol(port, &here, report);
        }
    }
}

fn protocol(port: &ServicePort, path: &FieldPath, report: &mut Report) {
    if port.protocol() != Protocol::Auto {
        return;
    }
    let number = port.port;
    let (field, message) = match (&port.app_protocol, &port.name) {
        (Some(declared), _) => ("appProtocol", format!("the mesh does not know the protocol `{declared}`")),
        (None, Some(name)) => ("name", format!("the name `{name}` declares no protocol")),
        (None, None) => ("port", format!("port {number} declares no protocol")),
    };
    report.add(
        Finding::info("port-protocol", message)
            .at(&path.key(field))
            .in_force("each proxy finds out from the first bytes of a connection")
            .hint("name it http, http-..., grpc, tcp, ... or set appProtocol"),
    );
}
