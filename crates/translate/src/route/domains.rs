//! The domains by which a service is called.

use std::net::IpAddr;
use std::sync::Arc;

use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::proxy::IpFamily;
use meltemi_model::read::Read;
use meltemi_model::service::{ServiceId, ServiceOf};
use meltemi_names::{Host, Namespace};

use super::virtual_host::literal_domain;

/// The domains of a service for one class of callers: those of its own namespace, or all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceDomains {
    /// The service.
    pub service: ServiceId,
    /// The caller's namespace, if the service or an alias of it is at home there: there the first label alone will do.
    pub near: Option<Namespace>,
    /// The domain in which short names resolve; none if they do not.
    pub domain: Option<Arc<str>>,
    /// Which addresses are of use.
    pub family: IpFamily,
    /// Those that the service was given are, too.
    pub allocated: bool,
}

/// One domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// As in `VirtualHost.domains`.
    pub text: Arc<str>,
    /// A short form, which gives way to another service's full name.
    pub is_short: bool,
}

impl Question for ServiceDomains {
    type World = Mesh;
    type Answer = Arc<[Domain]>;
    const NAME: &'static str = "service domains";

    /// In Istio's order (networking/core, `generateVirtualHostDomains`).
    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let shape = read.ask(ServiceOf(self.service.clone()));
        let Some(shape) = shape.as_ref() else { return Arc::default() };
        let mut domains = Vec::new();
        for host in std::iter::once(&shape.id.host).chain(&shape.aliases) {
            self.names(host, &mut domains);
        }
        if shape.is_headless() {
            // A headless service's pods have names below its own.
            let below = domains.iter().map(|Domain { text, is_short }| Domain {
                text: format!("*.{text}").into(),
                is_short: *is_short,
            });
            let below: Vec<Domain> = below.collect();
            domains.extend(below);
        }
        let addresses = shape.addresses(self.allocated).iter();
        let usable = addresses.filter(|address| self.family.takes(**address) && !address.is_unspecified());
        domains.extend(usable.map(|address| {
            let text = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
            Domain { text: text.into(), is_short: false }
        }));
        domains.into()
    }
}

impl ServiceDomains {
    fn names(&self, host: &Host, domains: &mut Vec<Domain>) {
        let mut add = |text: String, is_short| domains.push(Domain { text: text.into(), is_short });
        if host.as_str().parse::<IpAddr>().is_ok() {
            // An address has no other forms.
            add(literal_domain(host), false);
            return;
        }
        add(host.to_string(), false);
        // The absolute name, with its last dot.
        add(format!("{host}."), false);
        let resolves = self
            .domain
            .as_deref()
            .and_then(|domain| host.as_str().strip_suffix(domain)?.strip_suffix(".svc."));
        let Some((name, namespace)) = resolves.and_then(|short| short.split_once('.')) else { return };
        if self.near.as_ref().is_some_and(|near| near.as_str() == namespace) {
            add(name.to_owned(), true);
            add(format!("{name}.{namespace}.svc"), true);
            add(format!("{name}.{namespace}"), true);
        } else {
            add(format!("{name}.{namespace}"), true);
            add(format!("{name}.{namespace}.svc"), true);
        }
    }
}
