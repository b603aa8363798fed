//! VirtualService: which request goes where (Istio's reference: networking/virtual-service).

mod action;
mod connection;
mod cors;
mod matching;

use meltemi_names::{Host, Namespace, Port};

pub(crate) use action::GRPC_STATUS;
pub use action::{
    Abort, Body, Delay, DerivePort, DirectResponse, Fault, HeaderChange, HeaderOperations, Mirror, Redirect,
    RegexRewrite, Retries, Rewrite, UriRewrite,
};
pub use connection::{ConnectionDestination, ConnectionMatch, TcpRoute, TlsMatch, TlsRoute};
pub use cors::{CorsPolicy, UnmatchedPreflights};
pub use matching::HttpMatch;

use crate::value::{Duration, ExportTo, GatewayName, Percent, non_empty, optional_port};

/// Rules for requests to some hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VirtualService {
    /// As written; short names stand for services of its namespace ([`Host::resolve`]). Empty: a delegate.
    pub hosts: Vec<Host>,
    /// As written; empty means [`GatewayName::Mesh`], see [`VirtualService::is_in_mesh`].
    pub gateways: Vec<GatewayName>,
    /// Rules in order; the first that matches decides.
    pub http: Vec<HttpRoute>,
    /// Empty: the mesh's default.
    pub export_to: Vec<ExportTo>,
    /// Rules for TLS connections in order; the first that matches decides.
    pub tls: Vec<TlsRoute>,
    /// Rules for other connections in order; the first that matches decides.
    pub tcp: Vec<TcpRoute>,
}

impl VirtualService {
    /// Whether sidecars follow it: no gateway is named, or `mesh` is among them.
    pub fn is_in_mesh(&self) -> bool {
        self.gateways.is_empty() || self.gateways.contains(&GatewayName::Mesh)
    }

    /// Without hosts: its rules count only where another VirtualService delegates to it.
    pub fn is_delegate(&self) -> bool {
        self.hosts.is_empty()
    }
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRoute {
    /// For people and metrics.
    #[serde(deserialize_with = "non_empty")]
    pub name: Option<String>,
    /// Any of them; empty matches all.
    #[serde(rename = "match")]
    pub matches: Vec<HttpMatch>,
    /// Where to, by weight.
    pub route: Vec<HttpDestination>,
    /// Answer with a redirect.
    pub redirect: Option<Redirect>,
    /// Answer with this.
    pub direct_response: Option<DirectResponse>,
    /// The rules of another VirtualService stand here.
    pub delegate: Option<Delegate>,
    /// What the server sees instead.
    pub rewrite: Option<Rewrite>,
    /// Of the whole request with its retries; none, or zero: no limit.
    pub timeout: Option<Duration>,
    /// None: the mesh's default.
    pub retries: Option<Retries>,
    /// Faults made on purpose.
    pub fault: Option<Fault>,
    /// The older, single form; read [`HttpRoute::mirrors`].
    pub mirror: Option<Destination>,
    /// Of `mirror`.
    pub mirror_percentage: Option<Percent>,
    /// Of `mirror`, older spelling.
    #[serde(alias = "mirror_percent")]
    pub mirror_percent: Option<u32>,
    /// The newer form; read [`HttpRoute::mirrors`].
    #[serde(rename = "mirrors")]
    pub mirror_list: Vec<Mirror>,
    /// What browsers are told about calls from other sites.
    pub cors_policy: Option<CorsPolicy>,
    /// Changes of headers.
    pub headers: HeaderOperations,
}

/// A VirtualService without hosts whose rules stand in place of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(default)]
pub struct Delegate {
    /// Its name.
    pub name: String,
    /// Its namespace; none: that of the VirtualService that delegates.
    #[serde(deserialize_with = "matching::optional_namespace")]
    pub namespace: Option<Namespace>,
}

/// What a rule does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Sends it to one of these, by weight.
    Route(&'a [HttpDestination]),
    /// Answers with a redirect.
    Redirect(&'a Redirect),
    /// Answers itself.
    DirectResponse(&'a DirectResponse),
    /// Nothing that is supported: leave the rule out.
    None,
}

impl HttpRoute {
    /// What it does. Validation lets only one of them stand.
    pub fn action(&self) -> Action<'_> {
        if let Some(redirect) = &self.redirect {
            Action::Redirect(redirect)
        } else if let Some(response) = &self.direct_response {
            Action::DirectResponse(response)
        } else if self.route.is_empty() {
            Action::None
        } else {
            Action::Route(&self.route)
        }
    }

    /// All mirrors in whatever form they are written, without those of 0 %. For the single form `mirrorPercentage` counts before
    /// `mirrorPercent`, and without either it is 100 % (Istio: networking/core/route).
    pub fn mirrors(&self) -> impl Iterator<Item = (&Destination, Percent)> {
        let share = self
            .mirror_percentage
            .or_else(|| self.mirror_percent.map(|percent| Percent::whole(percent).unwrap_or(Percent::ALL)))
            .unwrap_or(Percent::ALL);
        self.mirror
            .iter()
            .map(move |destination| (destination, share))
            .chain(
                self.mirror_list
                    .iter()
                    .map(|mirror| (&mirror.destination, mirror.percentage.unwrap_or(Percent::ALL))),
            )
            .filter(|(_, share)| !share.is_zero())
    }
}

/// Where requests go, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct HttpDestination {
    /// Where to.
    pub destination: Destination,
    /// Relative to the others' sum; without meaning when it is the only destination.
    #[serde(default)]
    pub weight: u32,
    /// Changes of headers for this destination alone.
    #[serde(default)]
    pub headers: HeaderOperations,
}

/// A service, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
pub struct Destination {
    /// As written; a short name stands for the service beside the resource.
    pub host: Host,
    /// A subset that a DestinationRule names.
    #[serde(default, deserialize_with = "non_empty")]
    pub subset: Option<String>,
    /// None: the service's only port, else the port that the request came to.
    #[serde(default, deserialize_with = "optional_port")]
    pub port: Option<Port>,
}
