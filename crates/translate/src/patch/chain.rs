//! Patches of filter chains, their filters, and the filters of HTTP connection managers (Istio: core/envoyfilter/listener_patch.go).

use std::sync::Arc;

use meltemi_api::envoy_filter::{ApplyTo, ChainFilter, Context, FilterChainMatch, Operation};
use meltemi_proto::any;
use meltemi_proto::envoy::config::core::v3::transport_socket;
use meltemi_proto::envoy::config::listener::v3::filter::ConfigType;
use meltemi_proto::envoy::config::listener::v3::{Filter, FilterChain, Listener};
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use meltemi_proto::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};

use super::listener::{is_meant, is_virtual};
use super::written::Written;
use super::{Applied, edit, routes};

/// The filter that has filters of its own.
const CONNECTION_MANAGER: &str = "envoy.filters.network.http_connection_manager";

/// Patches the routes that stand in the listener itself.
pub(super) fn inline_routes(
    patches: &[Arc<Written>],
    traffic: Context,
    listener: &mut Listener,
    applied: &mut Applied,
) {
    if !patches.iter().any(|patch| patch.apply_to.is_of_routes()) {
        return;
    }
    let chains = listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain);
    for filter in chains.flat_map(|chain| &mut chain.filters) {
        manager(filter, |manager| {
            if let Some(RouteSpecifier::RouteConfig(config)) = &mut manager.route_specifier {
                routes::configuration(patches, traffic, config, applied);
            }
        });
    }
}

/// Patches the chains of a listener, and what is in them.
pub(super) fn patch(patches: &[Arc<Written>], listener: &mut Listener, applied: &mut Applied) {
    let patches: Vec<&Written> =
        patches.iter().map(|patch| &**patch).filter(|patch| is_meant(listener, patch)).collect();
    let is_virtual = is_virtual(listener);
    let mut one = |chain: &mut FilterChain| {
        let mine = patches.iter().copied().filter(|patch| is_for_chain(chain, is_virtual, patch));
        let mine: Vec<&Written> = mine.collect();
        chain_of(&mine, chain, applied)
    };
    listener.filter_chains.retain_mut(&mut one);
    if listener.default_filter_chain.as_mut().is_some_and(|chain| !one(chain)) {
        listener.default_filter_chain = None;
    }
    for patch in patches {
        if patch.apply_to == ApplyTo::FilterChain && patch.operation == Operation::Add {
            applied.note(patch, edit::list(&mut listener.filter_chains, patch, false, |_| false));
        }
    }
}

fn is_for_chain(chain: &FilterChain, is_virtual: bool, patch: &Written) -> bool {
    let Some(listener) = patch.listener() else { return true };
    let matching = chain.filter_chain_match.as_ref();
    let port = matching.and_then(|matching| matching.destination_port).map(|port| port.value);
    if is_virtual && listener.port_number > 0 && port.unwrap_or_default() != listener.port_number {
        return false;
    }
    let Some(wanted) = &listener.filter_chain else { return true };
    let FilterChainMatch {
        name,
        sni,
        transport_protocol,
        transport_socket: _,
        application_protocols,
        filter: _,
        destination_port,
    } = wanted;
    let has = |list: Option<&Vec<String>>, wanted: &str| {
        list.is_some_and(|list| list.iter().any(|found| found == wanted))
    };
    (name.is_empty() || *name == chain.name)
        && (sni.is_empty() || has(matching.map(|matching| &matching.server_names), sni))
        && (transport_protocol.is_empty()
            || matching.is_some_and(|matching| matching.transport_protocol == *transport_protocol))
        && (application_protocols.is_empty()
            || application_protocols
                .split(',')
                .all(|wanted| has(matching.map(|matching| &matching.application_protocols), wanted)))
        && (*destination_port == 0 || port == Some(*destination_port))
}

/// Patches one chain; false if it is removed.
fn chain_of(patches: &[&Written], chain: &mut FilterChain, applied: &mut Applied) -> bool {
    for patch in patches.iter().filter(|patch| patch.apply_to == ApplyTo::FilterChain) {
        if patch.operation == Operation::Remove {
            applied.note(patch, true);
            return false;
        }
        if patch.merges() {
            let done = transport_socket(chain, patch);
            applied.note(patch, done.unwrap_or_else(|| edit::merge(chain, patch)));
        }
    }
    for patch in patches.iter().filter(|patch| patch.apply_to == ApplyTo::NetworkFilter) {
        let wanted = filter_of(patch).map(|filter| filter.name.as_str());
        let done = edit::list(&mut chain.filters, patch, wanted.is_some(), |filter| {
            wanted.is_none_or(|wanted| wanted == filter.name)
        });
        applied.note(patch, done);
    }
    for filter in &mut chain.filters {
        network_filter(patches, filter, applied);
    }
    true
}

/// A patch with a transport socket of the chain's name is merged into that one, and nothing else is; which is what was done. None: the
/// chain as a whole is merged.
fn transport_socket(chain: &mut FilterChain, patch: &Written) -> Option<bool> {
    let theirs = patch.message::<FilterChain>()?.transport_socket?;
    let own = chain.transport_socket.as_mut().filter(|own| own.name == theirs.name)?;
    match (&mut own.config_type, &theirs.config_type) {
        (
            Some(transport_socket::ConfigType::TypedConfig(own)),
            Some(transport_socket::ConfigType::TypedConfig(theirs)),
        ) => Some(edit::merge_any(own, theirs)),
        _ => Some(false),
    }
}

fn filter_of(patch: &Written) -> Option<&ChainFilter> {
    patch.listener()?.filter_chain.as_ref()?.filter.as_ref()
}

fn network_filter(patches: &[&Written], filter: &mut Filter, applied: &mut Applied) {
    let is_for =
        |filter: &Filter, patch: &Written| filter_of(patch).is_none_or(|wanted| wanted.name == filter.name);
    for patch in patches {
        if patch.apply_to != ApplyTo::NetworkFilter
            || patch.operation != Operation::Merge
            || !is_for(filter, patch)
        {
            continue;
        }
        let (Some(value), Some(ConfigType::TypedConfig(own))) =
            (patch.message::<Filter>(), &mut filter.config_type)
        else {
            continue;
        };
        let done = match &value.config_type {
            Some(ConfigType::TypedConfig(theirs)) => edit::merge_any(own, theirs),
            _ => !value.name.is_empty(),
        };
        if done && !value.name.is_empty() {
            filter.name = value.name;
        }
        applied.note(patch, done);
    }
    if filter.name != CONNECTION_MANAGER {
        return;
    }
    let mine: Vec<&&Written> = patches
        .iter()
        .filter(|patch| patch.apply_to == ApplyTo::HttpFilter && is_for(filter, patch))
        .collect();
    if !mine.is_empty() {
        manager(filter, |manager| http_filters(&mine, &mut manager.http_filters, applied));
    }
}

fn http_filters(patches: &[&&Written], filters: &mut Vec<HttpFilter>, applied: &mut Applied) {
    let wanted = |patch: &Written| -> Option<String> {
        filter_of(patch)?.sub_filter.as_ref().map(|sub| sub.name.clone())
    };
    for patch in patches {
        let wanted = wanted(patch);
        let done = edit::list(filters, patch, wanted.is_some(), |filter| {
            wanted.as_ref().is_none_or(|wanted| *wanted == filter.name)
        });
        applied.note(patch, done);
    }
    for filter in filters {
        for patch in patches.iter().filter(|patch| patch.operation == Operation::Merge) {
            if wanted(patch).is_some_and(|wanted| wanted != filter.name) {
                continue;
            }
            let (Some(value), Some(http_filter::ConfigType::TypedConfig(own))) =
                (patch.message::<HttpFilter>(), &mut filter.config_type)
            else {
                continue;
            };
            let done = match &value.config_type {
                Some(http_filter::ConfigType::TypedConfig(theirs)) => edit::merge_any(own, theirs),
                _ => !value.name.is_empty(),
            };
            if done && !value.name.is_empty() {
                filter.name = value.name;
            }
            applied.note(patch, done);
        }
    }
}

/// Changes the HTTP connection manager that a filter is; nothing for other filters.
fn manager(filter: &mut Filter, change: impl FnOnce(&mut HttpConnectionManager)) {
    let Some(ConfigType::TypedConfig(config)) = &mut filter.config_type else { return };
    let Ok(mut manager) = any::unpack::<HttpConnectionManager>(config) else { return };
    change(&mut manager);
    *config = any::pack(&manager);
}
