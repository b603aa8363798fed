//! One thing that changes for some proxies, in words and as data.

use meltemi_catalog::Resource;
use meltemi_names::TypeUrl;
use serde::Serialize;

use super::fields::Field;
use super::step::Step;

/// What changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// Which names lead to a host.
    Host,
    /// What becomes of requests to a host.
    Route,
    /// How connections to a host, or a subset of it, are made.
    Cluster,
    /// Where a host, or a subset of it, is served.
    Endpoints,
    /// What takes connections.
    Listener,
    /// How much TLS a workload asks for.
    Tls,
    /// A gateway's certificate.
    Secret,
    /// Anything else that is served.
    Other,
}

/// How it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Added,
    Removed,
    Changed,
}

/// Something to look at before it is merged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) struct Warned {
    /// What scripts know it by.
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// Fewer places take requests of a host or subset.
pub(crate) const FEWER_ENDPOINTS: &str = "fewer-endpoints";
/// None does any more.
pub(crate) const NO_ENDPOINTS: &str = "no-endpoints";
/// A rule sends nothing any more to where it sent requests.
pub(crate) const FEWER_DESTINATIONS: &str = "fewer-destinations";
/// A rule sends to a subset or a host that there is not.
pub(crate) const SUBSET_LOST: &str = "subset-lost";
/// A name leads nowhere any more.
pub(crate) const HOST_UNKNOWN: &str = "host-unknown";
/// A rule that is there decides no more, since another object does.
pub(crate) const RULE_SHADOWED: &str = "rule-shadowed";

/// A gateway listens no more where it did.
pub(crate) const GATEWAY_PORT_LOST: &str = "gateway-port-lost";
/// A gateway shows a certificate no more.
pub(crate) const CERTIFICATE_LOST: &str = "certificate-lost";

/// One thing that changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) struct Change {
    /// What people call it: `cart.shop:80`, `listener 0.0.0.0_80`.
    pub(crate) subject: String,
    pub(crate) what: What,
    pub(crate) action: Action,
    /// The service's host, where it is about one.
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) subset: Option<String>,
    /// For people.
    pub(crate) text: String,
    /// The fields of the resource that differ.
    pub(crate) fields: Vec<Field>,
    pub(crate) warning: Option<Warned>,
    /// The type of the resource: `CDS`.
    pub(crate) r#type: &'static str,
    pub(crate) resource: String,
    /// What the resource is made from, before and after.
    pub(crate) objects: Vec<String>,
}

impl Change {
    pub(crate) fn new(step: &Step, subject: impl Into<String>, what: What, text: impl Into<String>) -> Self {
        let action = match (&step.before, &step.after) {
            (None, _) => Action::Added,
            (_, None) => Action::Removed,
            _ => Action::Changed,
        };
        Self {
            subject: subject.into(),
            what,
            action,
            host: None,
            port: None,
            subset: None,
            text: text.into(),
            fields: Vec::new(),
            warning: None,
            r#type: step.type_url.short(),
            resource: step.name.to_string(),
            objects: Vec::new(),
        }
        .made_from(step)
    }

    /// The same, of a resource that is made from what this one is made from.
    pub(crate) fn made_from(self, step: &Step) -> Self {
        let origins = step.before.iter().chain(&step.after).flat_map(|resource| resource.origin());
        let mut objects: Vec<String> = origins.map(ToString::to_string).collect();
        objects.sort_unstable();
        objects.dedup();
        Self { objects, ..self }
    }

    /// The same change of a resource that is not the same in all else.
    pub(crate) fn meet(&mut self, other: Self) {
        self.objects.extend(other.objects);
        self.objects.sort_unstable();
        self.objects.dedup();
        for field in other.fields {
            if !self.fields.contains(&field) {
                self.fields.push(field);
            }
        }
    }

    pub(crate) fn of_host(mut self, target: &Target) -> Self {
        self.host = Some(target.host.clone());
        self.port = target.port;
        self.subset.clone_from(&target.subset);
        self
    }

    pub(crate) fn with(self, fields: Vec<Field>) -> Self {
        Self { fields, ..self }
    }

    pub(crate) fn warning(self, code: &'static str, message: impl Into<String>) -> Self {
        Self { warning: Some(Warned { code, message: message.into() }), ..self }
    }
}

/// What a cluster or a virtual host stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) subset: Option<String>,
}

impl Target {
    /// Of a cluster's name, `outbound|80|v1|cart.shop.svc.cluster.local`; none for clusters that stand for no host.
    pub(crate) fn of_cluster(name: &str) -> Option<Self> {
        let ["outbound", port, subset, host] = name.split('|').collect::<Vec<_>>()[..] else { return None };
        let subset = (!subset.is_empty()).then(|| subset.to_owned());
        Some(Self { host: host.to_owned(), port: port.parse().ok(), subset })
    }

    /// Of a virtual host's name, `<route configuration>/<host>`.
    pub(crate) fn of_virtual_host(name: &str) -> Self {
        let (config, host) = name.split_once('/').unwrap_or(("", name));
        // `80`, `<host>:80`; of gateways `http.80`, `https.443.<name>.<gateway>.<namespace>`.
        let of_gateway = config.strip_prefix("http.").or_else(|| config.strip_prefix("https."));
        let port = match of_gateway {
            Some(rest) => rest.split('.').next(),
            None => config.rsplit(':').next(),
        };
        let port: Option<u16> = port.and_then(|port| port.parse().ok());
        // A gateway's are called by host and port.
        let suffix = port.filter(|_| of_gateway.is_some()).map(|port| format!(":{port}"));
        let host = suffix.and_then(|suffix| host.strip_suffix(&suffix)).unwrap_or(host);
        Self { host: host.to_owned(), port, subset: None }
    }

    /// `cart.shop:80`.
    pub(crate) fn subject(&self) -> String {
        let host = short_host(&self.host);
        self.port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// `subset v1 of cart.shop`, `cart.shop`.
    pub(crate) fn title(&self) -> String {
        let host = short_host(&self.host);
        self.subset.as_ref().map_or_else(|| host.to_owned(), |subset| format!("subset {subset} of {host}"))
    }
}

/// A host without the domain that all of the cluster's have.
pub(crate) fn short_host(host: &str) -> &str {
    host.strip_suffix(".svc.cluster.local").unwrap_or(host)
}

/// A resource as JSON; null where there is none.
pub(crate) fn json(type_url: TypeUrl, resource: Option<&Resource>) -> anyhow::Result<serde_json::Value> {
    Ok(match resource {
        Some(resource) => meltemi_proto::json::to_json(type_url.as_str(), &resource.body().to_vec())?,
        None => serde_json::Value::Null,
    })
}
