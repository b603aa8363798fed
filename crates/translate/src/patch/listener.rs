//! Patches of listeners and their listener filters (Istio: core/envoyfilter/listener_patch.go).

use std::sync::Arc;

use meltemi_api::envoy_filter::{ApplyTo, Context, Operation};
use meltemi_proto::envoy::config::core::v3::address::Address;
use meltemi_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use meltemi_proto::envoy::config::listener::v3::listener_filter::ConfigType;
use meltemi_proto::envoy::config::listener::v3::{Listener, ListenerFilter};

use super::written::Written;
use super::{Applied, chain, edit};

/// The listener after the patches; none if one removes it.
pub(super) fn patch(
    patches: &[Arc<Written>],
    traffic: Context,
    mut listener: Listener,
    applied: &mut Applied,
) -> Option<Listener> {
    let name = listener.name.clone();
    // Routes that stand in a listener are patched as they are made, before it.
    chain::inline_routes(patches, traffic, &mut listener, applied);
    for patch in patches.iter().filter(|patch| patch.apply_to == ApplyTo::Listener) {
        if !is_meant(&listener, patch) {
            continue;
        }
        if patch.operation == Operation::Remove {
            applied.note(patch, true);
            return None;
        }
        if patch.merges() {
            applied.note(patch, edit::merge(&mut listener, patch));
            // Proxies know it by its name.
            listener.name.clone_from(&name);
        }
    }
    for patch in patches.iter().filter(|patch| patch.apply_to == ApplyTo::ListenerFilter) {
        if is_meant(&listener, patch) {
            let done = filter(&mut listener.listener_filters, patch);
            applied.note(patch, done);
        }
    }
    chain::patch(patches, &mut listener, applied);
    Some(listener)
}

/// Whether the patch is for that listener, or for something in it.
pub(super) fn is_meant(listener: &Listener, patch: &Written) -> bool {
    let Some(wanted) = patch.listener() else { return true };
    if !wanted.name.is_empty() && wanted.name != listener.name {
        return false;
    }
    // Of those that take what is redirected, the port tells a chain.
    wanted.port_number == 0
        || (is_virtual(listener) && patch.apply_to != ApplyTo::Listener)
        || port_of(listener) == Some(wanted.port_number)
}

/// One of those that take what is redirected.
pub(super) fn is_virtual(listener: &Listener) -> bool {
    matches!(listener.name.as_str(), "virtualInbound" | "virtualOutbound")
}

fn port_of(listener: &Listener) -> Option<u32> {
    match listener.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(address) => match address.port_specifier.as_ref()? {
            PortSpecifier::PortValue(port) => Some(*port),
            PortSpecifier::NamedPort(_) => None,
        },
        _ => None,
    }
}

fn filter(filters: &mut Vec<ListenerFilter>, patch: &Written) -> bool {
    let wanted = patch.listener().map(|wanted| wanted.listener_filter.as_str()).unwrap_or_default();
    let is_meant = |filter: &ListenerFilter| filter.name == wanted;
    if patch.operation != Operation::Merge {
        return edit::list(filters, patch, !wanted.is_empty(), is_meant);
    }
    let Some(value) = patch.message::<ListenerFilter>() else { return false };
    let mut done = false;
    // Istio merges into every filter whose type is the same, once one is named: here into the one that is named.
    for filter in filters.iter_mut().filter(|filter| is_meant(filter)) {
        if let (Some(ConfigType::TypedConfig(own)), Some(ConfigType::TypedConfig(theirs))) =
            (&mut filter.config_type, &value.config_type)
        {
            done |= edit::merge_any(own, theirs);
        }
    }
    done
}
