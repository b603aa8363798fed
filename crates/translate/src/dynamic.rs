//! Names that a proxy resolves when they are called: Envoy's dynamic forward proxy (Istio: core/cluster_builder.go, networkfilter.go).
//!
//! Knows Envoy's messages for it. Must not know services, listeners, routes.
//! Invariant: a proxy has one cache of names, for all that it calls so. Envoy refuses two uses of a cache that differ in anything, and a
//! request passes each of a listener's filters, whichever cluster it is for.

use meltemi_model::proxy::IpFamily;
use meltemi_names::Port;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, CustomClusterType, DnsLookupFamily,
};
use meltemi_proto::envoy::config::listener::v3::{Filter, filter};
use meltemi_proto::envoy::extensions::clusters::dynamic_forward_proxy::v3::{
    ClusterConfig, cluster_config::ClusterImplementationSpecifier,
};
use meltemi_proto::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use meltemi_proto::envoy::extensions::filters::http::dynamic_forward_proxy::v3::{
    FilterConfig, filter_config::ImplementationSpecifier,
};
use meltemi_proto::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3::{
    FilterConfig as SniConfig, filter_config::PortSpecifier,
};
use meltemi_proto::google::protobuf::Any;

/// The HTTP filter's name.
pub(crate) const HTTP_FILTER: &str = "envoy.filters.http.dynamic_forward_proxy";

/// How the cache is called; its statistics are `dns_cache.dynamic_dns.*`.
const CACHE: &str = "dynamic_dns";

/// To which addresses names are resolved for a caller of that family.
pub(crate) fn lookup(family: IpFamily) -> DnsLookupFamily {
    match family {
        IpFamily::V4 => DnsLookupFamily::V4Only,
        IpFamily::V6 => DnsLookupFamily::V6Only,
        IpFamily::Dual => DnsLookupFamily::All,
    }
}

fn cache(family: IpFamily) -> DnsCacheConfig {
    DnsCacheConfig {
        name: CACHE.to_owned(),
        dns_lookup_family: lookup(family).into(),
        ..DnsCacheConfig::default()
    }
}

/// How such a cluster finds its endpoints. `checked`: its connections verify that the server has the name that was called; Envoy wants
/// to be told where they do not.
pub(crate) fn discovery(family: IpFamily, checked: bool) -> ClusterDiscoveryType {
    let config = ClusterConfig {
        cluster_implementation_specifier: Some(ClusterImplementationSpecifier::DnsCacheConfig(cache(family))),
        allow_insecure_cluster_options: !checked,
        ..ClusterConfig::default()
    };
    ClusterDiscoveryType::ClusterType(CustomClusterType {
        name: "envoy.clusters.dynamic_forward_proxy".to_owned(),
        typed_config: Some(pack(&config)),
    })
}

/// Resolves the host of each request that goes to such a cluster; others pass.
pub(crate) fn http_filter(family: IpFamily) -> Any {
    pack(&FilterConfig {
        implementation_specifier: Some(ImplementationSpecifier::DnsCacheConfig(cache(family))),
        ..FilterConfig::default()
    })
}

/// Resolves the name that a connection's TLS asks for; `port` is called there.
pub(crate) fn network_filter(family: IpFamily, port: Port) -> Filter {
    let config = SniConfig {
        dns_cache_config: Some(cache(family)),
        port_specifier: Some(PortSpecifier::PortValue(port.number().into())),
        ..SniConfig::default()
    };
    Filter {
        name: "envoy.filters.network.sni_dynamic_forward_proxy".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(pack(&config))),
    }
}
