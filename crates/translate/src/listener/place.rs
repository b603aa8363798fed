//! Where a Sidecar says that services are listened for. Knows egress listeners; must not know services' own addresses.

use std::borrow::Cow;

use meltemi_api::sidecar::{CaptureMode, Egress, EgressBind, ListenPort};
use meltemi_model::service::{ServicePort, ServiceShape};

/// Where services are listened for.
pub(super) struct Place {
    /// Listeners are sockets.
    pub(super) bound: bool,
    /// At that address or socket; none: at the services' own addresses, or on the loopback address.
    pub(super) bind: Option<EgressBind>,
    /// On that port alone; none: on those of the services.
    pub(super) port: Option<ListenPort>,
}

impl Place {
    /// Without a Sidecar; `bound`: nothing is redirected.
    pub(super) fn of_mesh(bound: bool) -> Self {
        Self { bound, bind: None, port: None }
    }

    /// Of an egress listener (Istio: core/listener.go, `buildSidecarOutboundListeners`).
    pub(super) fn of(egress: &Egress, bound: bool) -> Self {
        let unix = matches!(egress.bind, Some(EgressBind::Unix(_)));
        Self {
            bound: bound || unix || egress.capture_mode == CaptureMode::None,
            bind: egress.bind.clone(),
            port: egress.port.clone(),
        }
    }

    /// The ports that a service is listened for on. A listener's own port speaks what the Sidecar says. One without a number leads to
    /// the service's first port, unless requests say by their host which they are for.
    pub(super) fn ports<'a>(&self, service: &'a ServiceShape) -> Cow<'a, [ServicePort]> {
        let Some(port) = &self.port else { return Cow::Borrowed(&service.ports) };
        let number = port.number.or_else(|| service.ports.first().map(|first| first.port));
        let only = number.map(|number| ServicePort { port: number, name: "".into(), protocol: port.protocol() });
        Cow::Owned(only.into_iter().collect())
    }
}
