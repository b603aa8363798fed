//! One virtual host: its name and domains, and by pointer its routes.

use std::sync::Arc;

use meltemi_catalog::{Resource, ResourceName};
use meltemi_memo::{Memo, Question};
use meltemi_model::Mesh;
use meltemi_model::read::Read;
use meltemi_names::{Host, TypeUrl};
use meltemi_proto::envoy::config::route::v3::VirtualHost;

use super::ConfigName;
use super::body::BodyKey;
use super::domains::ServiceDomains;
use crate::encode::{Piece, assembled};
use crate::key::Made;

/// Which requests a virtual host is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Those to a service, by any of its names.
    Service(ServiceDomains),
    /// Those to a host that only a VirtualService knows.
    Host(Host),
    /// All that reach a listener which is one service's alone.
    Listener(Host),
    /// All that no other takes, called so.
    Rest(&'static str),
}

/// One virtual host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualHostKey {
    /// The route configuration that it is in.
    pub config: ConfigName,
    /// Which requests it is for.
    pub subject: Subject,
    /// Domains of the subject that another virtual host of the configuration has; sorted.
    pub dropped: Arc<[Arc<str>]>,
    /// What it does with them.
    pub body: BodyKey,
    /// It is a resource by itself for the client, and so must carry the resource's name.
    pub virtual_hosts: bool,
}

impl VirtualHostKey {
    /// `<route configuration>/<host>`, which is what Envoy's virtual host discovery asks for.
    pub fn resource_name(&self) -> ResourceName {
        format!("{}/{}", self.config.resource_name(), self.label()).into()
    }

    /// Istio's name of it, `<host>:<port>`.
    pub(crate) fn istio_name(&self) -> String {
        match &self.subject {
            Subject::Rest(name) => (*name).to_owned(),
            _ => match self.config.port() {
                Some(port) => format!("{}:{port}", self.label()),
                None => self.label(),
            },
        }
    }

    /// Whether it may be the one for requests with that authority (`cart:80`), by its domains. True, too, where that is not known without
    /// making it.
    pub fn may_take(&self, authority: &str, memo: &Memo<Mesh>, mesh: &Mesh) -> bool {
        let Subject::Service(domains) = &self.subject else { return true };
        let (node, all) = memo.observe(domains.clone(), mesh);
        memo.release(node);
        let takes = |domain: &str| {
            let rest = authority.get(domain.len()..);
            let begins = authority.get(..domain.len()).is_some_and(|head| head.eq_ignore_ascii_case(domain));
            domain.contains('*')
                || (begins && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':')))
        };
        all.iter().any(|domain| takes(&domain.text))
    }

    fn label(&self) -> String {
        match &self.subject {
            Subject::Service(domains) => match domains.suffix.port() {
                Some(port) => format!("{}:{port}", domains.service.host),
                None => domains.service.host.to_string(),
            },
            Subject::Host(host) | Subject::Listener(host) => host.to_string(),
            Subject::Rest(name) => (*name).to_owned(),
        }
    }

    fn domains(&self, read: &Read<'_>) -> Vec<String> {
        let all = match &self.subject {
            Subject::Service(domains) => {
                read.ask(domains.clone()).iter().map(|domain| domain.text.to_string()).collect()
            }
            Subject::Host(host) => vec![literal_domain(host)],
            Subject::Listener(_) | Subject::Rest(_) => vec!["*".to_owned()],
        };
        let mut kept: Vec<String> = Vec::with_capacity(all.len());
        for domain in all {
            let is_dropped = self.dropped.binary_search_by(|dropped| (**dropped).cmp(&domain)).is_ok();
            if !is_dropped && !kept.contains(&domain) {
                kept.push(domain);
            }
        }
        kept
    }
}

/// A host as a domain: IPv6 addresses in brackets.
pub(super) fn literal_domain(host: &Host) -> String {
    if host.as_str().contains(':') { format!("[{host}]") } else { host.to_string() }
}

impl Question for VirtualHostKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "virtual host";

    fn answer(&self, read: &Read<'_>) -> Made {
        let domains = self.domains(read);
        if domains.is_empty() {
            return None;
        }
        let name = self.resource_name();
        let body = read.ask(self.body.clone());
        let head = Piece::of(&VirtualHost {
            // Envoy acknowledges and ignores the removal of a virtual host whose name is not the resource's.
            name: if self.virtual_hosts { name.to_string() } else { self.istio_name() },
            domains,
            ..VirtualHost::default()
        });
        let (bytes, version) = assembled([&head, &body.routes]);
        let mut origin = body.origin.clone();
        if let Subject::Service(domains) = &self.subject {
            origin.push(domains.service.object.clone());
        }
        let resource = Resource::new(TypeUrl::VirtualHost, name, version, bytes)
            .needing(body.needs.clone())
            .made_from(origin)
            .belonging_to(self.config.resource_name());
        Some(Arc::new(resource))
    }
}
