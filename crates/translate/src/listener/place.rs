//! Where a Sidecar says that services are listened for. Knows egress listeners; must not know services' own addresses.

use std::borrow::Cow;
use std::collections::BTreeSet;

use meltemi_api::sidecar::{CaptureMode, Egress, EgressBind, ListenPort};
use meltemi_model::service::{ServicePort, ServiceShape};
use meltemi_names::Port;

/// Where services are listened for.
pub(super) struct Place {
    /// Listeners are sockets.
    pub(super) bound: bool,
    /// At that address or socket; none: at the services' own addresses, or on the loopback address.
    pub(super) bind: Option<EgressBind>,
    /// On that port alone; none: on those of the services.
    pub(super) port: Option<ListenPort>,
    /// Ports that other listeners have, but at addresses that are one service's own.
    pub(super) taken: BTreeSet<Port>,
}

impl Place {
    /// Without a Sidecar; `bound`: nothing is redirected.
    pub(super) fn of_mesh(bound: bool) -> Self {
        Self { bound, bind: None, port: None, taken: BTreeSet::new() }
    }

    /// Of an egress listener (Istio: core/listener.go, `buildSidecarOutboundListeners`); `named`: the ports that some listener names.
    pub(super) fn of(egress: &Egress, named: impl Iterator<Item = Port>, bound: bool) -> Self {
        let unix = matches!(egress.bind, Some(EgressBind::Unix(_)));
        Self {
            bound: bound || unix || egress.capture_mode == CaptureMode::None,
            bind: egress.bind.clone(),
            port: egress.port.clone(),
            taken: named.filter(|_| egress.port.is_none()).collect(),
        }
    }

    /// The ports that a service is listened for on. A listener's own port speaks what the Sidecar says. One without a number leads to
    /// the service's first port, unless requests say by their host which they are for.
    pub(super) fn ports<'a>(&self, service: &'a ServiceShape) -> Cow<'a, [ServicePort]> {
        let Some(port) = &self.port else { return Cow::Borrowed(&service.ports) };
        let number = port.number.or_else(|| service.ports.first().map(|first| first.port));
        let only =
            number.map(|number| ServicePort { port: number, name: "".into(), protocol: port.protocol() });
        Cow::Owned(only.into_iter().collect())
    }
}
