//! Which virtual host takes a request: by its host, the most specific domain first (Envoy: `VirtualHost.domains`).

use meltemi_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use serde::Serialize;

/// By what kind of domain a virtual host was found; in the order in which they are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DomainRule {
    /// The host as it is.
    Exact,
    /// `*.example.com`; the longest first.
    SuffixWildcard,
    /// `www.*`; the longest first.
    PrefixWildcard,
    /// `*`.
    Any,
}

/// The virtual host, the domain by which it is found, and of what kind that is.
pub(crate) fn find<'a>(
    route: &'a RouteConfiguration,
    authority: &str,
) -> Option<(&'a VirtualHost, &'a str, DomainRule)> {
    let host = authority.to_ascii_lowercase();
    let host = if route.ignore_port_in_host_matching { without_port(&host) } else { &host };
    let candidates = route.virtual_hosts.iter().flat_map(|virtual_host| {
        virtual_host.domains.iter().filter_map(move |domain| {
            let rule = rule(&domain.to_ascii_lowercase(), host)?;
            Some((virtual_host, domain.as_str(), rule))
        })
    });
    candidates.min_by_key(|(_, domain, rule)| (*rule, usize::MAX - domain.len()))
}

fn rule(domain: &str, host: &str) -> Option<DomainRule> {
    if domain == "*" {
        return Some(DomainRule::Any);
    }
    if let Some(suffix) = domain.strip_prefix('*') {
        // The star stands for one character at least.
        let found = host.len() > suffix.len() && host.ends_with(suffix);
        return found.then_some(DomainRule::SuffixWildcard);
    }
    if let Some(prefix) = domain.strip_suffix('*') {
        let found = host.len() > prefix.len() && host.starts_with(prefix);
        return found.then_some(DomainRule::PrefixWildcard);
    }
    (domain == host).then_some(DomainRule::Exact)
}

/// The host without its port, if it has one.
pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!host.contains(':') || host.ends_with(']')) =>
        {
            host
        }
        _ => authority,
    }
}
