//! What listeners read of the mesh's settings, by itself: other settings may change at no cost here.

use meltemi_api::mesh_config::{Normalization, OutboundMode};
use meltemi_api::virtual_service::Retries;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::read::Read;
use meltemi_model::settings::settings;
use meltemi_names::Port;
use meltemi_proto::envoy::config::accesslog::v3::AccessLog;

use super::access_log;
use super::metrics::{Side, at_the_end};
use crate::resource_names::{BLACK_HOLE, PASSTHROUGH};
use crate::wrap::duration;

/// Asks for the [`ListenerSettings`] in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SettingsOfListeners {
    /// Logs go to standard output where the mesh's settings ask for none.
    pub(crate) access_log: bool,
    /// The proxy has what counts traffic.
    pub(crate) metrics: bool,
}

impl SettingsOfListeners {
    /// As the mesh's settings are.
    pub(crate) fn of_mesh() -> Self {
        Self { access_log: false, metrics: false }
    }
}

/// The settings that listeners read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListenerSettings {
    /// Traffic is counted.
    metrics: bool,
    /// Of every request and connection of the workload.
    pub(crate) outbound: Logs,
    /// The file that the mesh's settings, or the proxy, ask for.
    access_log: Option<AccessLog>,
    /// Of connections that a virtual listener has no chain for.
    pub(crate) listener_log: Vec<AccessLog>,
    /// Where connections to unknown destinations go.
    pub(crate) fallback: &'static str,
    /// How long listener filters wait for the first bytes; zero: for ever.
    pub(crate) detection_timeout: prost_types::Duration,
    /// What of a request's path is made regular.
    pub(crate) paths: Normalization,
    /// How inbound requests are tried again; none: the built-in way.
    pub(crate) inbound_retries: Option<Retries>,
    /// Where outbound connections are redirected to.
    pub(crate) outbound_port: Port,
    /// Where inbound connections are redirected to.
    pub(crate) inbound_port: Port,
}

impl ListenerSettings {
    /// Of every request and connection to the workload.
    pub(crate) fn inbound(&self, side: Side<'_>) -> Logs {
        Logs::new(self.access_log.as_ref(), self.metrics.then_some(side))
    }
}

/// Where requests and connections are written and counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Logs {
    /// Of requests.
    pub(crate) http: Vec<AccessLog>,
    /// Of connections that are not taken apart.
    pub(crate) tcp: Vec<AccessLog>,
    /// Connections are counted, also at the moment when they have reached their endpoint.
    pub(crate) connected: bool,
}

impl Logs {
    fn new(file: Option<&AccessLog>, counted: Option<Side<'_>>) -> Self {
        let Some(side) = counted else {
            let file: Vec<AccessLog> = file.cloned().into_iter().collect();
            return Self { http: file.clone(), tcp: file, connected: false };
        };
        let file = || file.cloned().into_iter();
        Self {
            http: file().chain([side.requests()]).collect(),
            tcp: file().map(at_the_end).chain(side.connections()).collect(),
            connected: true,
        }
    }
}

impl Question for SettingsOfListeners {
    type World = Mesh;
    type Answer = ListenerSettings;
    const NAME: &'static str = "settings of listeners";

    fn answer(&self, read: &Read<'_>) -> ListenerSettings {
        let mesh = settings(read);
        let metrics = self.metrics && mesh.counts_traffic();
        let access_log = access_log::of(&mesh, self.access_log);
        let listener_log = access_log.as_ref().filter(|_| !mesh.disable_envoy_listener_log);
        ListenerSettings {
            listener_log: listener_log.map(access_log::without_chain).into_iter().collect(),
            outbound: Logs::new(access_log.as_ref(), metrics.then_some(Side::Source)),
            access_log,
            metrics,
            fallback: match mesh.outbound_traffic_policy.mode {
                OutboundMode::AllowAny => PASSTHROUGH,
                OutboundMode::RegistryOnly => BLACK_HOLE,
            },
            detection_timeout: duration(mesh.protocol_detection_timeout),
            paths: mesh.path_normalization.normalization,
            inbound_retries: mesh.default_inbound_http_retry_policy.clone(),
            outbound_port: mesh.proxy_listen_port,
            inbound_port: mesh.proxy_inbound_listen_port,
        }
    }
}
