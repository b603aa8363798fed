//! How statistics call a cluster, where the mesh's settings say (`inboundClusterStatName`, `outboundClusterStatName`; Istio:
//! pilot/pkg/networking/telemetry).

use meltemi_model::service::ServiceShape;
use meltemi_names::{Kind, Port};

use super::fixed;

/// What a name is put together from.
pub(super) struct Parts<'a> {
    pub(super) shape: &'a ServiceShape,
    pub(super) port: Port,
    /// The subset; inbound none.
    pub(super) subset: Option<&'a str>,
    /// The port that the application listens on; outbound 0.
    pub(super) target: u16,
}

/// The name by that pattern; an empty one is the cluster's own name.
pub(super) fn of(pattern: &str, own: &str, parts: &Parts<'_>) -> String {
    if pattern.is_empty() {
        return fixed::stat_name(own);
    }
    let id = &parts.shape.id;
    let host = id.host.as_str();
    // What Kubernetes does not know goes by its host.
    let (short, name) = if id.object.kind == Kind::Service {
        (format!("{}.{}", id.object.name, id.object.namespace), id.object.name.as_str())
    } else {
        (host.to_owned(), host)
    };
    let port_name = parts.shape.port(parts.port).map(|port| &*port.name).unwrap_or_default();
    let text = pattern
        .replace("%SERVICE%", &short)
        .replace("%SERVICE_NAME%", name)
        .replace("%SERVICE_FQDN%", host)
        .replace("%SUBSET_NAME%", parts.subset.unwrap_or_default())
        .replace("%TARGET_PORT%", &parts.target.to_string())
        .replace("%SERVICE_PORT%", &parts.port.to_string())
        .replace("%SERVICE_PORT_NAME%", port_name);
    fixed::stat_name(&text)
}
