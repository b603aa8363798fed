//! What listeners read of the mesh's settings and of Telemetries, by itself: other settings may change at no cost here.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_api::MeshConfig;
use meltemi_api::mesh_config::{Normalization, OutboundMode, ServiceRef};
use meltemi_api::virtual_service::Retries;
use meltemi_catalog::ResourceName;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::proxy::Listening;
use meltemi_model::read::Read;
use meltemi_model::service::AnySession;
use meltemi_model::settings::settings;
use meltemi_model::telemetry::{self, InForce, Metrics, Said};
use meltemi_names::{Namespace, ObjectKey, Port};
use meltemi_proto::envoy::config::accesslog::v3::AccessLog;
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;

use super::collector::{Collector, CollectorOf, CollectorsSeenBy};
use super::metrics::{Side, at_the_end};
use super::tracing::Naming;
use super::{access_log, tracing};
use crate::resource_names::{BLACK_HOLE, PASSTHROUGH};
use crate::wrap::duration;

/// What decides, beside the mesh's settings, what a proxy tells of its traffic, and how long it waits for some.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TelemetryKey {
    /// The Telemetries that are for it, the most general first.
    pub objects: Arc<[ObjectKey]>,
    /// What its service is called in spans.
    pub service: ServiceNames,
    /// Whose services may take what it tells; none: those that everyone sees.
    pub viewer: Option<Namespace>,
    /// The Sidecar that says which services the proxy calls; none where none does, or nothing is told to any service.
    pub scope: Option<ObjectKey>,
    /// What its node asks of its listeners, which goes the same way to each of them.
    pub listening: Listening,
}

/// What a proxy's service is called in spans; each is empty where no tracer is told it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceNames {
    /// By the node: `node.cluster`.
    pub canonical: Arc<str>,
    /// By OpenTelemetry's conventions for Kubernetes.
    pub conventional: Arc<str>,
}

impl TelemetryKey {
    /// The same for the proxies of a namespace.
    pub(crate) fn seen_by(&self, read: &Read<'_>, namespace: &Namespace) -> Self {
        let viewer = match &self.scope {
            Some(_) => Some(namespace.clone()),
            None => (*read.ask(CollectorsSeenBy(namespace.clone()))).clone(),
        };
        Self { viewer, ..self.clone() }
    }
}

/// Asks for the [`ListenerSettings`] in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SettingsOfListeners {
    /// Logs go to standard output where nothing asks for any.
    pub(crate) access_log: bool,
    /// The proxy has what counts traffic.
    pub(crate) metrics: bool,
    /// What else decides.
    pub(crate) telemetry: TelemetryKey,
}

impl SettingsOfListeners {
    /// As the mesh's settings are.
    pub(crate) fn of_mesh() -> Self {
        Self { access_log: false, metrics: false, telemetry: TelemetryKey::default() }
    }
}

/// The settings that listeners read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListenerSettings {
    /// Of every request and connection of the workload.
    pub(crate) outbound: Logs,
    /// Of every request and connection to the workload, without what counts them.
    server: Told,
    /// Of connections that a virtual listener has no chain for: those of the workload, and those to it.
    pub(crate) outbound_log: Vec<AccessLog>,
    /// As before.
    pub(crate) inbound_log: Vec<AccessLog>,
    /// Where connections to unknown destinations go.
    pub(crate) fallback: &'static str,
    /// How long listener filters wait for the first bytes; zero: for ever.
    pub(crate) detection_timeout: prost_types::Duration,
    /// What of a request's path is made regular.
    pub(crate) paths: Normalization,
    /// How inbound requests are tried again; none: the built-in way.
    pub(crate) inbound_retries: Option<Retries>,
    /// The clients of some service stay with their endpoint.
    pub(crate) sessions: bool,
    /// Where outbound connections are redirected to.
    pub(crate) outbound_port: Port,
    /// Where inbound connections are redirected to.
    pub(crate) inbound_port: Port,
}

impl ListenerSettings {
    /// Of every request and connection to the workload.
    pub(crate) fn inbound(&self, side: Side<'_>) -> Logs {
        Logs::new(&self.server, side)
    }

    /// The clusters that tell of what comes to the workload.
    pub(crate) fn inbound_needs(&self) -> &[ResourceName] {
        &self.server.needs
    }
}

/// What one side tells.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    /// Of requests; those of connections where that is another one.
    logs: Vec<(AccessLog, Option<AccessLog>)>,
    tracing: Option<Tracing>,
    by_request_id: bool,
    /// None: nothing is counted.
    metrics: Option<Metrics>,
    needs: Vec<ResourceName>,
    idle_timeout: Option<prost_types::Duration>,
}

/// Where requests and connections are written, traced and counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Logs {
    /// Of requests.
    pub(crate) http: Vec<AccessLog>,
    /// Of connections that are not taken apart.
    pub(crate) tcp: Vec<AccessLog>,
    /// Connections are counted, also at the moment when they have reached their endpoint.
    pub(crate) connected: bool,
    /// Which requests are traced.
    pub(crate) tracing: Option<Tracing>,
    /// A request's ID says whether it is traced.
    pub(crate) by_request_id: bool,
    /// The clusters that all this goes to.
    pub(crate) needs: Vec<ResourceName>,
    /// How long a connection may be silent where no rule says; none: Envoy's hour.
    pub(crate) idle_timeout: Option<prost_types::Duration>,
}

impl Logs {
    fn new(told: &Told, side: Side<'_>) -> Self {
        let counters = told.metrics.as_ref();
        let connections = counters.map(|metrics| side.connections(metrics)).unwrap_or_default();
        let requests = counters.and_then(|metrics| side.requests(metrics));
        // Only what counts asks for the moment at which a connection has reached someone.
        let connected = !connections.is_empty();
        let of_connections = |(http, tcp): &(AccessLog, Option<AccessLog>)| {
            let log = tcp.as_ref().unwrap_or(http).clone();
            if connected { at_the_end(log) } else { log }
        };
        Self {
            http: told.logs.iter().map(|(http, _)| http.clone()).chain(requests).collect(),
            tcp: told.logs.iter().map(of_connections).chain(connections).collect(),
            connected,
            tracing: told.tracing.clone(),
            by_request_id: told.by_request_id,
            needs: told.needs.clone(),
            idle_timeout: told.idle_timeout,
        }
    }
}

impl Question for SettingsOfListeners {
    type World = Mesh;
    type Answer = ListenerSettings;
    const NAME: &'static str = "settings of listeners";

    fn answer(&self, read: &Read<'_>) -> ListenerSettings {
        let mesh = settings(read);
        let (client, server) = (
            self.told(read, &mesh, telemetry::Side::Client),
            self.told(read, &mesh, telemetry::Side::Server),
        );
        let listener_log = |told: &Told| {
            let logs = told.logs.iter().filter(|_| !mesh.disable_envoy_listener_log);
            logs.map(|(http, tcp)| access_log::without_chain(tcp.as_ref().unwrap_or(http))).collect()
        };
        ListenerSettings {
            outbound_log: listener_log(&client),
            inbound_log: listener_log(&server),
            outbound: Logs::new(&client, Side::Source),
            server,
            fallback: match mesh.outbound_traffic_policy.mode {
                OutboundMode::AllowAny | OutboundMode::AllowAnyDynamicDns => PASSTHROUGH,
                OutboundMode::RegistryOnly => BLACK_HOLE,
            },
            detection_timeout: duration(mesh.protocol_detection_timeout),
            paths: mesh.path_normalization.normalization,
            inbound_retries: mesh.default_inbound_http_retry_policy.clone(),
            sessions: *read.ask(AnySession),
            outbound_port: mesh.proxy_listen_port,
            inbound_port: mesh.proxy_inbound_listen_port,
        }
    }
}

impl SettingsOfListeners {
    fn told(&self, read: &Read<'_>, mesh: &MeshConfig, side: telemetry::Side) -> Told {
        let said = read.ask(InForce { objects: Arc::clone(&self.telemetry.objects), side });
        let Said { logging, tracing, metrics } = &*said;
        let idle_timeout = self.telemetry.listening.idle_timeout.map(duration);
        let mut told = Told { by_request_id: true, idle_timeout, ..Told::default() };
        if self.metrics && !metrics.disabled {
            told.metrics = Some(metrics.clone());
        }
        let find = |service: ServiceRef<'_>| -> Option<Collector> {
            let ServiceRef { service, port } = service;
            let TelemetryKey { viewer, scope, .. } = self.telemetry.clone();
            (*read.ask(CollectorOf { service: service.to_owned(), port: port?, viewer, scope })).clone().ok()
        };
        let mut is_said = false;
        for (name, log) in logging.iter().flatten() {
            let Some(provider) = mesh.provider(name) else { continue };
            let Some((logger, need)) = access_log::of_provider(&provider, mesh, find) else { continue };
            is_said = true;
            // What is true of nothing that can be known is logged of nothing; a finding says so.
            if log.disabled || log.filter.as_ref().is_some_and(|filter| filter.fault().is_some()) {
                continue;
            }
            let logger = match &log.filter {
                Some(filter) => access_log::filtered(logger, filter),
                None => logger,
            };
            told.logs.push((logger, None));
            told.needs.extend(need);
        }
        // Where nothing is said to this side that can be done, the settings' own fields count (Istio: core/accesslog.go).
        if !is_said {
            told.logs.extend(access_log::of_mesh(mesh, self.access_log).map(|log| (log, None)));
            if mesh.enable_envoy_access_log_service {
                let [http, tcp] = access_log::of_service();
                told.logs.push((http, Some(tcp)));
            }
        }
        match tracing {
            Some(said) => {
                if let Some((manager, needs)) =
                    tracing::of_provider(said, mesh, &self.telemetry.service, find)
                {
                    told.tracing = Some(manager);
                    told.by_request_id = said.by_request_id;
                    told.needs.extend(needs);
                }
            }
            None => told.tracing = tracing::of_bootstrap(mesh),
        }
        told
    }
}

/// The port at which sidecars are HTTP proxies, if the mesh's settings have one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HttpProxyPort;

impl Question for HttpProxyPort {
    type World = Mesh;
    type Answer = Option<Port>;
    const NAME: &'static str = "port of HTTP proxies";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        settings(read).proxy_http_port
    }
}

/// How tracers of either side are told what the proxy's service is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NamesService(pub(crate) Arc<[ObjectKey]>);

impl Question for NamesService {
    type World = Mesh;
    type Answer = BTreeSet<Naming>;
    const NAME: &'static str = "tracers are told the service";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mesh = settings(read);
        let sides = [telemetry::Side::Client, telemetry::Side::Server].into_iter();
        let naming = sides.filter_map(|side| {
            let said = read.ask(InForce { objects: Arc::clone(&self.0), side });
            let said = said.tracing.as_ref().filter(|said| !said.disabled)?;
            tracing::naming(&mesh.provider(said.provider.as_deref()?)?)
        });
        naming.collect()
    }
}
