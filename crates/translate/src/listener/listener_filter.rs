//! Filters that look at a connection before its chain is chosen. Knows Envoy's names of them; must not know why one is asked for.

use meltemi_names::Port;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::listener::v3::{
    ListenerFilter, ListenerFilterChainMatchPredicate,
    listener_filter::ConfigType,
    listener_filter_chain_match_predicate::{MatchSet, Rule},
};
use meltemi_proto::envoy::extensions::filters::listener::{
    http_inspector::v3::HttpInspector, original_dst::v3::OriginalDst, proxy_protocol::v3::ProxyProtocol,
    tls_inspector::v3::TlsInspector,
};
use meltemi_proto::envoy::r#type::v3::Int32Range;
use meltemi_proto::google::protobuf::Any;

use crate::wrap::u32_value;

/// Restores the destination that the client asked for before it was redirected.
pub(crate) fn original_dst() -> ListenerFilter {
    filter("envoy.filters.listener.original_dst", pack(&OriginalDst::default()))
}

/// Takes the header by which a proxy before this one says who calls; a connection without it is closed.
pub(crate) fn proxy_protocol() -> ListenerFilter {
    filter("envoy.filters.listener.proxy_protocol", pack(&ProxyProtocol::default()))
}

/// Tells TLS from other bytes, and the server's name in it.
pub(crate) fn tls_inspector() -> ListenerFilter {
    // Most client hellos fit 512 bytes; Envoy would begin with 16 kB per connection (Istio sets the same).
    let config = TlsInspector { initial_read_buffer_size: u32_value(512), ..TlsInspector::default() };
    filter("envoy.filters.listener.tls_inspector", pack(&config))
}

/// Tells HTTP from other bytes, and its version.
pub(crate) fn http_inspector() -> ListenerFilter {
    filter("envoy.filters.listener.http_inspector", pack(&HttpInspector::default()))
}

/// The same filter, off for connections to these ports: there it would only wait for bytes that a server may send first.
pub(crate) fn except(ports: impl IntoIterator<Item = Port>, mut filter: ListenerFilter) -> ListenerFilter {
    let mut rules: Vec<ListenerFilterChainMatchPredicate> = ports
        .into_iter()
        .map(|port| {
            let start = i32::from(port.number());
            // The end is exclusive.
            predicate(Rule::DestinationPortRange(Int32Range { start, end: start + 1 }))
        })
        .collect();
    // Envoy wants at least two rules in a set.
    filter.filter_disabled = match rules.len() {
        0 | 1 => rules.pop(),
        _ => Some(predicate(Rule::OrMatch(MatchSet { rules }))),
    };
    filter
}

fn predicate(rule: Rule) -> ListenerFilterChainMatchPredicate {
    ListenerFilterChainMatchPredicate { rule: Some(rule) }
}

fn filter(name: &str, config: Any) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(ConfigType::TypedConfig(config)),
        ..ListenerFilter::default()
    }
}
