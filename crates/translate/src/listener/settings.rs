//! What listeners read of the mesh's settings, by itself: other settings may change at no cost here.

use meltemi_api::mesh_config::OutboundMode;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::read::Read;
use meltemi_model::settings::settings;
use meltemi_names::Port;
use meltemi_proto::envoy::config::accesslog::v3::AccessLog;

use super::access_log;
use crate::resource_names::{BLACK_HOLE, PASSTHROUGH};
use crate::wrap::duration;

/// Asks for the [`ListenerSettings`] in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SettingsOfListeners {
    /// Logs go to standard output where the mesh's settings ask for none.
    pub(crate) access_log: bool,
}

impl SettingsOfListeners {
    /// As the mesh's settings are.
    pub(crate) fn of_mesh() -> Self {
        Self { access_log: false }
    }
}

/// The settings that listeners read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListenerSettings {
    /// Of every request and connection.
    pub(crate) access_log: Vec<AccessLog>,
    /// Of connections that a virtual listener has no chain for.
    pub(crate) listener_log: Vec<AccessLog>,
    /// Where connections to unknown destinations go.
    pub(crate) fallback: &'static str,
    /// How long listener filters wait for the first bytes; zero: for ever.
    pub(crate) detection_timeout: prost_types::Duration,
    /// Where outbound connections are redirected to.
    pub(crate) outbound_port: Port,
    /// Where inbound connections are redirected to.
    pub(crate) inbound_port: Port,
}

impl Question for SettingsOfListeners {
    type World = Mesh;
    type Answer = ListenerSettings;
    const NAME: &'static str = "settings of listeners";

    fn answer(&self, read: &Read<'_>) -> ListenerSettings {
        let mesh = settings(read);
        let access_log: Vec<AccessLog> = access_log::of(&mesh, self.access_log).into_iter().collect();
        let listener_log = if mesh.disable_envoy_listener_log { &[][..] } else { &access_log[..] };
        ListenerSettings {
            listener_log: listener_log.iter().map(access_log::without_chain).collect(),
            access_log,
            fallback: match mesh.outbound_traffic_policy.mode {
                OutboundMode::AllowAny => PASSTHROUGH,
                OutboundMode::RegistryOnly => BLACK_HOLE,
            },
            detection_timeout: duration(mesh.protocol_detection_timeout),
            outbound_port: mesh.proxy_listen_port,
            inbound_port: mesh.proxy_inbound_listen_port,
        }
    }
}
