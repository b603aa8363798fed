//! Patches of route configurations, virtual hosts and routes (Istio: core/envoyfilter/rc_patch.go).

use std::sync::Arc;

use meltemi_api::envoy_filter::{ApplyTo, Context, Operation, RouteAction, RouteConfigurationMatch};
use meltemi_catalog::Need;
use meltemi_names::{Port, TypeUrl};
use meltemi_proto::envoy::config::route::v3::route::Action;
use meltemi_proto::envoy::config::route::v3::route_action::ClusterSpecifier;
use meltemi_proto::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost};

use super::written::Written;
use super::{Applied, edit};
use crate::route::VirtualHostKey;

/// A route configuration as patches match it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConfigName<'a> {
    pub(super) name: &'a str,
    pub(super) traffic: Context,
    /// Of a gateway: the port that clients know, where it is known; else the one in the name.
    pub(super) port: Option<Port>,
}

impl ConfigName<'_> {
    /// Whether the patch is for that route configuration, or for something in it.
    pub(super) fn is_meant(self, patch: &Written) -> bool {
        let Some(wanted) = &patch.matching.route_configuration else { return true };
        let RouteConfigurationMatch { port_number, port_name, gateway, vhost: _, name } = wanted;
        if !name.is_empty() && name != self.name {
            return false;
        }
        if self.traffic != Context::Gateway {
            return *port_number == 0 || self.port() == Some(*port_number);
        }
        let (port, its_name, its_gateway) = self.of_gateway();
        // Clients call the port of the gateway's Service; what the name has is the port that is listened on.
        let port = self.port.map(|port| port.number().into()).or(port);
        (*port_number == 0 || port == Some(*port_number))
            && (port_name.is_empty() || *port_name == its_name)
            && (gateway.is_empty() || *gateway == its_gateway)
    }

    /// `80`, or of what comes in `inbound|8080||`.
    fn port(self) -> Option<u32> {
        let inbound = self.name.strip_prefix("inbound|").and_then(|rest| rest.split('|').next());
        inbound.unwrap_or(self.name).parse().ok()
    }

    /// `http.80`, or `https.443.<port name>.<gateway>.<namespace>` (Istio: pilot/pkg/model/gateway.go).
    fn of_gateway(self) -> (Option<u32>, String, String) {
        let parts: Vec<&str> = self.name.splitn(5, '.').collect();
        match parts.as_slice() {
            ["http", port] => (port.parse().ok(), String::new(), String::new()),
            ["https", port, name, gateway, namespace] => {
                (port.parse().ok(), (*name).to_owned(), format!("{namespace}/{gateway}"))
            }
            _ => (None, String::new(), String::new()),
        }
    }
}

/// A whole route configuration, as it stands in a listener.
pub(super) fn configuration(
    patches: &[Arc<Written>],
    traffic: Context,
    config: &mut RouteConfiguration,
    applied: &mut Applied,
) {
    *config = head(patches, (traffic, None), std::mem::take(config), applied);
    let name = config.name.clone();
    let called = ConfigName { name: &name, traffic, port: None };
    config.virtual_hosts.retain_mut(|host| hosts_of(patches, called, host, applied));
    for patch in patches {
        if patch.apply_to == ApplyTo::VirtualHost
            && patch.operation == Operation::Add
            && called.is_meant(patch)
        {
            applied.note(patch, edit::list(&mut config.virtual_hosts, patch, false, |_| false));
        }
    }
}

/// All of a route configuration but its virtual hosts.
pub(super) fn head(
    patches: &[Arc<Written>],
    (traffic, port): (Context, Option<Port>),
    mut config: RouteConfiguration,
    applied: &mut Applied,
) -> RouteConfiguration {
    let name = config.name.clone();
    let called = ConfigName { name: &name, traffic, port };
    let discovery = config.vhds.clone();
    for patch in patches {
        if patch.apply_to == ApplyTo::RouteConfiguration && patch.merges() && called.is_meant(patch) {
            applied.note(patch, edit::merge(&mut config, patch));
        }
    }
    // Listeners know it by its name; how its virtual hosts come is no user's matter.
    config.vhds = discovery;
    config.name.clone_from(&name);
    config
}

/// One virtual host that is a resource; none if a patch removes it. Patches know it by Istio's name.
pub(super) fn virtual_host(
    patches: &[Arc<Written>],
    config: ConfigName<'_>,
    key: &VirtualHostKey,
    mut host: VirtualHost,
    applied: &mut Applied,
) -> Option<VirtualHost> {
    host.name = key.istio_name();
    let stays = hosts_of(patches, config, &mut host, applied);
    if key.virtual_hosts {
        host.name = key.resource_name().to_string();
    }
    stays.then_some(host)
}

/// Patches one virtual host; false if it is removed.
fn hosts_of(
    patches: &[Arc<Written>],
    config: ConfigName<'_>,
    host: &mut VirtualHost,
    applied: &mut Applied,
) -> bool {
    let mine: Vec<&Written> =
        patches.iter().map(|patch| &**patch).filter(|patch| config.is_meant(patch)).collect();
    for patch in mine.iter().filter(|patch| patch.apply_to == ApplyTo::VirtualHost) {
        if !is_host_meant(host, patch) {
            continue;
        }
        match patch.operation {
            Operation::Remove => {
                applied.note(patch, true);
                return false;
            }
            Operation::Replace => {
                let value = patch.message();
                applied.note(patch, value.is_some());
                *host = value.unwrap_or_else(|| std::mem::take(host));
            }
            _ if patch.merges() => applied.note(patch, edit::merge(host, patch)),
            _ => {}
        }
    }
    let mine = mine.into_iter().filter(|patch| patch.apply_to == ApplyTo::HttpRoute);
    let mine: Vec<&Written> = mine.filter(|patch| is_host_meant(host, patch)).collect();
    host.routes.retain_mut(|route| route_of(&mine, route, applied));
    for patch in mine {
        let named = is_route_named(patch);
        // Put first it is if the route that is named is there.
        let absent = patch.operation == Operation::InsertFirst
            && named
            && !host.routes.iter().any(|route| is_route_meant(route, patch));
        let inserts = !matches!(patch.operation, Operation::Remove | Operation::Replace);
        if inserts && !absent {
            let is_meant = |route: &Route| is_route_meant(route, patch);
            applied.note(patch, edit::list(&mut host.routes, patch, named, is_meant));
        }
    }
    true
}

fn is_host_meant(host: &VirtualHost, patch: &Written) -> bool {
    let wanted = patch.matching.route_configuration.as_ref().and_then(|wanted| wanted.vhost.as_ref());
    wanted.is_none_or(|wanted| {
        (wanted.name.is_empty() || wanted.name == host.name)
            && (wanted.domain_name.is_empty() || host.domains.contains(&wanted.domain_name))
    })
}

/// Patches one route; false if it is removed.
fn route_of(patches: &[&Written], route: &mut Route, applied: &mut Applied) -> bool {
    for patch in patches {
        if !is_route_meant(route, patch) {
            continue;
        }
        if patch.operation == Operation::Remove {
            applied.note(patch, true);
            return false;
        }
        if patch.merges() {
            applied.note(patch, edit::merge(route, patch));
        }
    }
    true
}

fn is_route_named(patch: &Written) -> bool {
    let host = patch.matching.route_configuration.as_ref().and_then(|wanted| wanted.vhost.as_ref());
    host.is_some_and(|host| host.route.is_some())
}

fn is_route_meant(route: &Route, patch: &Written) -> bool {
    let host = patch.matching.route_configuration.as_ref().and_then(|wanted| wanted.vhost.as_ref());
    let Some(wanted) = host.and_then(|host| host.route.as_ref()) else { return true };
    if !wanted.name.is_empty() && wanted.name != route.name {
        return false;
    }
    match &route.action {
        Some(Action::Route(_)) => matches!(wanted.action, RouteAction::Any | RouteAction::Route),
        Some(Action::Redirect(_)) => matches!(wanted.action, RouteAction::Any | RouteAction::Redirect),
        Some(Action::DirectResponse(_)) => {
            matches!(wanted.action, RouteAction::Any | RouteAction::DirectResponse)
        }
        _ => true,
    }
}

/// The clusters that a virtual host sends to.
pub(super) fn clusters(host: &VirtualHost) -> impl Iterator<Item = Need> {
    let mirrors =
        |policies: &[meltemi_proto::envoy::config::route::v3::route_action::RequestMirrorPolicy]| {
            policies.iter().map(|policy| policy.cluster.clone()).collect::<Vec<_>>()
        };
    let mut names = mirrors(&host.request_mirror_policies);
    for route in &host.routes {
        let Some(Action::Route(action)) = &route.action else { continue };
        names.extend(mirrors(&action.request_mirror_policies));
        match &action.cluster_specifier {
            Some(ClusterSpecifier::Cluster(cluster)) => names.push(cluster.clone()),
            Some(ClusterSpecifier::WeightedClusters(weighted)) => {
                names.extend(weighted.clusters.iter().map(|weight| weight.name.clone()));
            }
            _ => {}
        }
    }
    let names = names.into_iter().filter(|name| !name.is_empty());
    names.map(|name| Need { type_url: TypeUrl::Cluster, name: name.into() })
}
