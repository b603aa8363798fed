//! The endpoints of a cluster: where they are, how many requests each gets, and by what TLS.

use std::collections::BTreeMap;

use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier;
use meltemi_proto::envoy::config::cluster::v3::cluster::{LbPolicy, TransportSocketMatch};
use meltemi_proto::envoy::config::core::v3::{HealthStatus, Metadata};
use meltemi_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use meltemi_proto::envoy::config::endpoint::v3::{ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints};
use meltemi_proto::google::protobuf::{Struct, value};
use serde::Serialize;

use crate::configuration::Broken;
use crate::listener::{bracketed, socket};
use crate::load::{Load, Priority, loads};
use crate::share::Share;
use crate::socket::UpstreamSocket;

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointWay {
    /// `address:port`, or the path of a socket.
    pub address: String,
    /// What the control plane says of it.
    pub health: &'static str,
    /// 0 is the first.
    pub priority: u32,
    /// `region/zone/sub-zone`; none where nobody says.
    pub locality: Option<String>,
    /// Relative to those beside it.
    pub weight: u32,
    /// Of the cluster's requests, on average; none where they are shared by a hash.
    pub share: Option<Share>,
    /// How it is spoken to.
    pub socket: UpstreamSocket,
    /// The version of the PROXY protocol's header that comes first, `v1` or `v2`; none: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<&'static str>,
    /// Which of the cluster's transport socket matches decided that; none: the cluster's own socket.
    pub socket_match: Option<String>,
}

/// Under which key an endpoint says which socket it takes.
const SOCKET_MATCH: &str = "envoy.transport_socket_match";
/// Endpoints that are this healthy take requests.
const FACTOR: u32 = 140;
const PANIC_THRESHOLD: f64 = 50.0;

/// What takes requests, and how many; with whether so few are healthy that health is not looked at.
pub(crate) fn of(
    cluster: &Cluster,
    assignment: &ClusterLoadAssignment,
) -> Result<(Vec<EndpointWay>, bool), Broken> {
    let sockets = Sockets::of(cluster)?;
    let priorities = count(assignment);
    let factor = assignment.policy.as_ref().and_then(|policy| policy.overprovisioning_factor.as_ref());
    let factor = factor.map_or(FACTOR, |factor| factor.value);
    let common = cluster.common_lb_config.as_ref();
    let threshold = common
        .and_then(|common| common.healthy_panic_threshold.as_ref())
        .map_or(PANIC_THRESHOLD, |percent| percent.value);
    let by_locality = matches!(
        common.and_then(|common| common.locality_config_specifier.as_ref()),
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_))
    );
    let hashed = matches!(LbPolicy::try_from(cluster.lb_policy), Ok(LbPolicy::RingHash | LbPolicy::Maglev));
    let levels: Vec<u32> = priorities.keys().copied().collect();
    let counts: Vec<Priority> = priorities.values().copied().collect();
    let loads: BTreeMap<u32, Load> = levels.into_iter().zip(loads(&counts, factor, threshold)).collect();
    let panics = loads.values().any(|load| load.panic && load.healthy > 0.0);

    let mut found = Vec::new();
    for group in &assignment.endpoints {
        let load = loads.get(&group.priority).copied().unwrap_or_default();
        let beside = || assignment.endpoints.iter().filter(|other| other.priority == group.priority);
        for endpoint in &group.lb_endpoints {
            let health = health(endpoint);
            let taking = if load.panic { Taking::All } else { Taking::Only(health) };
            let percent = match (load.panic, health) {
                (true, _) | (false, Health::Healthy) => load.healthy,
                (false, Health::Degraded) => load.degraded,
                (false, Health::Unhealthy) => 0.0,
            };
            let share = if by_locality {
                let whole: f64 = beside().map(|other| effective(other, load.panic, factor)).sum();
                let of_group = if whole > 0.0 { effective(group, load.panic, factor) / whole } else { 0.0 };
                of_group * part(endpoint, group.lb_endpoints.iter(), taking)
            } else {
                part(endpoint, beside().flat_map(|other| &other.lb_endpoints), taking)
            };
            let Chosen { by: socket_match, socket, proxy_protocol } =
                sockets.choose(endpoint.metadata.as_ref(), group.metadata.as_ref());
            found.push(EndpointWay {
                address: address(endpoint),
                health: health_name(endpoint),
                priority: group.priority,
                locality: locality(group),
                weight: weight(endpoint),
                share: (!hashed).then_some(Share(percent * share)),
                socket,
                proxy_protocol,
                socket_match,
            });
        }
    }
    Ok((found, panics))
}

/// Whether any of them takes requests at all.
pub(crate) fn takes_requests(assignment: &ClusterLoadAssignment, threshold: Option<f64>) -> bool {
    let counts: Vec<Priority> = count(assignment).into_values().collect();
    loads(&counts, FACTOR, threshold.unwrap_or(PANIC_THRESHOLD))
        .iter()
        .zip(&counts)
        .any(|(load, of)| of.all > 0 && load.healthy + load.degraded > 0.0)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Healthy,
    Degraded,
    Unhealthy,
}

#[derive(Clone, Copy)]
enum Taking {
    All,
    Only(Health),
}

fn health(endpoint: &LbEndpoint) -> Health {
    match HealthStatus::try_from(endpoint.health_status) {
        Ok(HealthStatus::Unhealthy | HealthStatus::Draining | HealthStatus::Timeout) => Health::Unhealthy,
        Ok(HealthStatus::Degraded) => Health::Degraded,
        _ => Health::Healthy,
    }
}

fn health_name(endpoint: &LbEndpoint) -> &'static str {
    match HealthStatus::try_from(endpoint.health_status) {
        Ok(HealthStatus::Unhealthy) => "unhealthy",
        Ok(HealthStatus::Draining) => "draining",
        Ok(HealthStatus::Timeout) => "timeout",
        Ok(HealthStatus::Degraded) => "degraded",
        // Nobody said otherwise.
        _ => "healthy",
    }
}

fn count(assignment: &ClusterLoadAssignment) -> BTreeMap<u32, Priority> {
    let mut priorities: BTreeMap<u32, Priority> = BTreeMap::new();
    for group in &assignment.endpoints {
        let of = priorities.entry(group.priority).or_default();
        for endpoint in &group.lb_endpoints {
            of.all += 1;
            match health(endpoint) {
                Health::Healthy => of.healthy += 1,
                Health::Degraded => of.degraded += 1,
                Health::Unhealthy => {}
            }
        }
    }
    priorities
}

fn weight(endpoint: &LbEndpoint) -> u32 {
    endpoint.load_balancing_weight.as_ref().map_or(1, |weight| weight.value)
}

/// The endpoint's part of those that take requests as it does.
fn part<'a>(endpoint: &LbEndpoint, among: impl Iterator<Item = &'a LbEndpoint>, taking: Taking) -> f64 {
    let takes = |other: &LbEndpoint| match taking {
        Taking::All => true,
        Taking::Only(wanted) => health(other) == wanted,
    };
    let whole: f64 = among.filter(|other| takes(other)).map(|other| f64::from(weight(other))).sum();
    if takes(endpoint) && whole > 0.0 { f64::from(weight(endpoint)) / whole } else { 0.0 }
}

/// A locality's weight, less where too few of its endpoints are healthy.
fn effective(group: &LocalityLbEndpoints, panic: bool, factor: u32) -> f64 {
    let all = group.lb_endpoints.len();
    let healthy =
        group.lb_endpoints.iter().filter(|endpoint| panic || health(endpoint) == Health::Healthy).count();
    let weight = group.load_balancing_weight.as_ref().map_or(0, |weight| weight.value);
    #[allow(clippy::cast_precision_loss, reason = "nobody has 2^53 endpoints")]
    let available = if all == 0 { 0.0 } else { healthy as f64 / all as f64 * f64::from(factor) / 100.0 };
    f64::from(weight) * available.min(1.0)
}

fn address(endpoint: &LbEndpoint) -> String {
    use meltemi_proto::envoy::config::core::v3::address::Address;
    let Some(HostIdentifier::Endpoint(found)) = &endpoint.host_identifier else { return String::new() };
    let Some(address) = &found.address else { return String::new() };
    match (&address.address, socket(address)) {
        (_, Some((address, port))) => format!("{}:{port}", bracketed(&address)),
        (Some(Address::Pipe(pipe)), None) => pipe.path.clone(),
        _ => String::new(),
    }
}

fn locality(group: &LocalityLbEndpoints) -> Option<String> {
    let locality = group.locality.as_ref()?;
    let parts = [&locality.region, &locality.zone, &locality.sub_zone];
    let text = parts.map(String::as_str).join("/");
    let text = text.trim_end_matches('/');
    (!text.is_empty()).then(|| text.to_owned())
}

/// The transport sockets of a cluster.
pub(crate) struct Sockets<'a> {
    matches: Vec<(&'a TransportSocketMatch, Spoken)>,
    own: Spoken,
}

/// What is spoken, and the header before it.
type Spoken = (UpstreamSocket, Option<&'static str>);

/// The transport socket of one endpoint.
pub(crate) struct Chosen {
    /// The match that decided; none: the cluster's own socket.
    pub(crate) by: Option<String>,
    pub(crate) socket: UpstreamSocket,
    pub(crate) proxy_protocol: Option<&'static str>,
}

impl<'a> Sockets<'a> {
    pub(crate) fn of(cluster: &'a Cluster) -> Result<Self, Broken> {
        let what = format!("cluster {}", cluster.name);
        let matches: Result<Vec<_>, Broken> = cluster
            .transport_socket_matches
            .iter()
            .map(|found| Ok((found, UpstreamSocket::after_header(found.transport_socket.as_ref(), &what)?)))
            .collect();
        let own = UpstreamSocket::after_header(cluster.transport_socket.as_ref(), &what)?;
        Ok(Self { matches: matches?, own })
    }

    /// The first match whose labels the endpoint has; an endpoint that says nothing is as its locality says.
    pub(crate) fn choose(&self, endpoint: Option<&Metadata>, locality: Option<&Metadata>) -> Chosen {
        let of = |metadata: Option<&'_ Metadata>| {
            metadata.and_then(|metadata| metadata.filter_metadata.get(SOCKET_MATCH)).cloned()
        };
        let labels = of(endpoint).or_else(|| of(locality)).unwrap_or_default();
        let found = self
            .matches
            .iter()
            .find(|(found, _)| found.r#match.as_ref().is_none_or(|wanted| has(&labels, wanted)));
        let by = found.map(|(found, _)| found.name.clone());
        let (socket, proxy_protocol) = found.map_or(&self.own, |(_, spoken)| spoken).clone();
        Chosen { by, socket, proxy_protocol }
    }
}

fn has(labels: &Struct, wanted: &Struct) -> bool {
    wanted.fields.iter().all(|(key, wanted)| {
        labels.fields.get(key).is_some_and(|found| match &found.kind {
            // One of several will do.
            Some(value::Kind::ListValue(list)) => list.values.contains(wanted),
            _ => found == wanted,
        })
    })
}
