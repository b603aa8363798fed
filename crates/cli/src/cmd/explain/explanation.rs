//! All that is said of a request: what `-o json` prints, and what the page is written from.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use meltemi_api::{FieldPath, Finding, Severity};
use meltemi_memo::Memo;
use meltemi_model::Mesh;
use meltemi_model::gateway::GatewaySet;
use meltemi_model::scope::{Chosen, SidecarsOf, chosen};
use meltemi_model::telemetry::Side;
use meltemi_names::{ObjectKey, Port};
use meltemi_sources::PlaceIndex;
use meltemi_translate::finding::FindingsOf;
use meltemi_walk::{
    Action, ClusterWay, Destination, EndpointWay, Handling, Mode, Request, TlsOffer, Way, arrive, mode,
};
use serde::Serialize;

use super::connection::{self, Caller};
use super::patches::{self, Patched};
use super::request::Scheme;
use super::resolve::Target;
use super::rule::{self, RuleOfRoute};
use super::sent;
use super::telemetry::{SaidBy, said_by};
use super::workload::Workload;
use crate::args::ExplainArgs;
use crate::proxy_args::InterceptionArg;
use crate::state::State;

/// All that is said of a request.
#[derive(Serialize)]
pub(crate) struct Explanation {
    /// As on the command line.
    pub(crate) url: String,
    /// The host in it.
    pub(crate) host: String,
    /// Who sends it.
    pub(crate) from: Workload,
    /// The Sidecar that says what its proxy sees; none where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sidecar: Option<rule::Written>,
    /// What is sent.
    pub(crate) request: Request,
    /// What its host is.
    pub(crate) target: Target,
    /// Its way through the sender's proxy.
    pub(crate) way: Way,
    /// Where each route that was looked at is written, in the same order.
    pub(crate) rules: Vec<RuleOfRoute>,
    /// The rule for connections that is followed; none: none is, or requests are looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connection_rule: Option<rule::Written>,
    /// Matches before the rule that decides which are for other senders.
    pub(crate) passed_over: Vec<rule::NotForSender>,
    /// Objects that clusters come from, where they stand.
    pub(crate) policies: Vec<rule::Written>,
    /// What of the way EnvoyFilters have patched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) patched: Vec<Patched>,
    /// For each cluster that may get the request, one of its workloads.
    pub(crate) receivers: Vec<Receiver>,
    /// The Telemetries that say what the sender's proxy tells of it, which is in `way`.
    pub(crate) telemetry: SaidBy,
    /// What is worth a look in the objects that were met.
    pub(crate) findings: Vec<Finding>,
}

/// A workload that may get the request.
#[derive(Serialize)]
pub(crate) struct Receiver {
    /// The cluster.
    pub(crate) cluster: String,
    /// Where it listens.
    pub(crate) endpoint: String,
    /// What is known of it; none: nothing.
    pub(crate) workload: Option<Workload>,
    /// How much TLS its sidecar would ask for, if it has one.
    pub(crate) mode: Option<Mode>,
    /// The request's way through that sidecar.
    pub(crate) way: Option<Way>,
    /// Whether its identity is one that the sender accepts; none where the sender does not ask.
    pub(crate) identity_accepted: Option<bool>,
    /// What of that way EnvoyFilters have patched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) patched: Vec<Patched>,
    /// The Telemetries that say what its proxy tells of it, which is in `way`.
    pub(crate) telemetry: SaidBy,
    /// The Sidecar that says what its proxy takes; none where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sidecar: Option<rule::Written>,
}

impl Explanation {
    pub(crate) fn of(state: &State, mesh: &Mesh, args: &ExplainArgs) -> anyhow::Result<Self> {
        // Everything is asked of one memo: what is asked twice is made once, and what is not asked never.
        let memo = Memo::new();
        let mut from = Workload::named(mesh, &args.from.name, &args.from.namespace, &args.labels);
        from.has_certificate &= !args.without_certificate;
        let target = Target::of(&memo, mesh, &from.namespace, &args.url.host, args.url.port);
        let target = target.in_scope(&memo, mesh, &from.namespace, &from.labels);
        from.gateway = args.gateway;
        let set = if args.gateway { sent::gateways(&memo, mesh, &from.node("REDIRECT"))? } else { None };
        let request = request(args, &target, &from, set.as_ref());
        let interception = match args.interception {
            InterceptionArg::Redirect => "REDIRECT",
            InterceptionArg::None => "NONE",
        };
        let node = from.node(interception);
        let (way, sent) = sent::way(&memo, mesh, &node, &request)?;
        let sidecar = (!from.gateway).then(|| sidecar((&memo, mesh), &from, |one| one.outbound)).flatten();
        let sidecar = sidecar.map(|key| rule::Written::new(key, &FieldPath::root(), state.places()));
        let telemetry = said_by((&memo, mesh), sent::proxy(&node)?, Side::Client, state.places());
        let caller = Caller { from: &from, set: set.as_ref(), port: args.url.port };
        let connection_rule = connection::rule(&way, &sent, mesh, &caller, state.places());
        let (rules, passed_over) =
            rule::of_routes(&way, (&memo, mesh), &from, set.as_ref(), args.url.port, state.places());
        let policies = rule::of_clusters(&way, state.places());
        let patched = patches::of_way(&way, &sent, state.places());
        let mut receivers: Vec<Receiver> = Vec::new();
        for cluster in clusters(&way) {
            if let Some(endpoint) = first(cluster) {
                let sent_on = sent_on(&request, &way);
                receivers.push(receiver((&memo, mesh), cluster, endpoint, &from, &sent_on, state.places())?);
            }
        }
        let met: BTreeSet<&ObjectKey> = rules
            .iter()
            .filter_map(|rule| rule.written.as_ref())
            .chain(&policies)
            .chain(
                patched
                    .iter()
                    .chain(receivers.iter().flat_map(|receiver| &receiver.patched))
                    .flat_map(|patched| &patched.by),
            )
            .chain(sidecar.iter().chain(&connection_rule).chain(telemetry.all()))
            .map(|written| &written.key)
            .chain(target.service.iter().map(|service| &service.key))
            .chain(receivers.iter().filter_map(|receiver| receiver.workload.as_ref()?.key.as_ref()))
            .collect();
        let findings = findings(state, &memo, mesh, &met);
        let (url, host) = (args.url.text.clone(), args.url.host.clone());
        Ok(Self {
            url,
            host,
            from,
            sidecar,
            request,
            target,
            way,
            rules,
            connection_rule,
            passed_over,
            policies,
            patched,
            receivers,
            telemetry,
            findings,
        })
    }
}

/// What is worth a look in these objects.
fn findings(state: &State, memo: &Memo<Mesh>, mesh: &Mesh, met: &BTreeSet<&ObjectKey>) -> Vec<Finding> {
    let own = state.own_findings().iter().cloned();
    let beside = met.iter().flat_map(|key| memo.observe(FindingsOf((*key).clone()), mesh).1.to_vec());
    let mut all: Vec<Finding> = own
        .chain(beside)
        .filter(|finding| finding.severity != Severity::Info)
        .filter(|finding| finding.key.as_ref().is_some_and(|key| met.contains(key)))
        .map(|finding| state.places().locate(finding))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// The Sidecar in force for a workload, if it says something of what is asked for.
fn sidecar(
    (memo, mesh): (&Memo<Mesh>, &Mesh),
    of: &Workload,
    says: impl Fn(&Chosen) -> bool,
) -> Option<ObjectKey> {
    let (_, sidecars) = memo.observe(SidecarsOf(of.namespace.as_str().into()), mesh);
    chosen(&sidecars, &of.labels).filter(|sidecar| says(sidecar)).map(|sidecar| sidecar.key.clone())
}

fn request(args: &ExplainArgs, target: &Target, from: &Workload, set: Option<&GatewaySet>) -> Request {
    // Without redirection the sender connects to its own proxy.
    let address = match args.interception {
        _ if from.gateway => from.address,
        InterceptionArg::Redirect => target.address,
        InterceptionArg::None => Some(std::net::Ipv4Addr::LOCALHOST.into()),
    };
    // Clients of a gateway know its Service's port.
    let led_to = set.zip(Port::new(args.url.port.into())).map(|(set, port)| set.target(port).number());
    let destination = Destination { address, port: led_to.unwrap_or(args.url.port) };
    let mut request = Request::new(&args.method, &args.url.authority(), &args.url.path, destination);
    for (name, value) in &args.headers {
        if name == "host" {
            request.authority.clone_from(value);
        } else {
            request.headers.push((name.clone(), value.clone()));
        }
    }
    if args.url.scheme != Scheme::Http {
        request.http = false;
    }
    if args.url.scheme == Scheme::Https {
        let by_name = args.url.host.parse::<std::net::IpAddr>().is_err();
        "https".clone_into(&mut request.scheme);
        request.tls = Some(TlsOffer {
            server_name: by_name.then(|| args.url.host.clone()),
            protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
            identity: None,
        });
    }
    request
}

/// The clusters that the request may go to, mirrors apart.
pub(super) fn clusters(way: &Way) -> Vec<&ClusterWay> {
    match &way.handling {
        Some(Handling::Http(http)) => match http.route.as_ref().map(|route| &route.action) {
            Some(Action::Forward(forward)) => forward.destinations.iter().map(|to| &to.cluster).collect(),
            _ => Vec::new(),
        },
        Some(Handling::Tcp(tcp)) => tcp.destinations.iter().map(|to| &to.cluster).collect(),
        None => Vec::new(),
    }
}

/// The endpoint that most requests go to; of those with as many, the first.
fn first(cluster: &ClusterWay) -> Option<&EndpointWay> {
    let share = |endpoint: &EndpointWay| endpoint.share.map_or(100.0, |share| share.0);
    let taking = cluster.endpoints.iter().filter(|endpoint| share(endpoint) > 0.0);
    taking.fold(None, |best: Option<&EndpointWay>, endpoint| match best {
        Some(best) if share(best) >= share(endpoint) => Some(best),
        _ => Some(endpoint),
    })
}

/// The request as the sender's proxy sends it on: with the ALPN that its filter asks for, where one does.
struct SentOn<'a> {
    request: &'a Request,
    protocols: Option<&'a Vec<String>>,
}

fn sent_on<'a>(request: &'a Request, way: &'a Way) -> SentOn<'a> {
    let protocols = match &way.handling {
        Some(Handling::Tcp(tcp)) => tcp.application_protocols.as_ref(),
        _ => None,
    };
    SentOn { request, protocols }
}

fn receiver(
    (memo, mesh): (&Memo<Mesh>, &Mesh),
    cluster: &ClusterWay,
    endpoint: &EndpointWay,
    from: &Workload,
    &SentOn { request, protocols }: &SentOn<'_>,
    places: &PlaceIndex,
) -> anyhow::Result<Receiver> {
    let mut receiver = Receiver {
        cluster: cluster.name.clone(),
        endpoint: endpoint.address.clone(),
        workload: None,
        mode: None,
        way: None,
        identity_accepted: None,
        patched: Vec::new(),
        telemetry: SaidBy::default(),
        sidecar: None,
    };
    let Ok(address) = endpoint.address.parse::<SocketAddr>() else { return Ok(receiver) };
    let Some(workload) = Workload::at(mesh, address.ip(), address.port()) else {
        return Ok(receiver);
    };
    let node = workload.node("REDIRECT");
    let own = sent::inbound(memo, mesh, &node)?;
    receiver.telemetry = said_by((memo, mesh), sent::proxy(&node)?, Side::Server, places);
    let sidecar = sidecar((memo, mesh), &workload, |sidecar| sidecar.inbound);
    receiver.sidecar = sidecar.map(|key| rule::Written::new(key, &FieldPath::root(), places));
    let destination = Destination { address: Some(address.ip()), port: address.port() };
    receiver.mode = mode(own.configuration(), destination)?;
    let mut offer = endpoint.socket.offer(Some(&from.identity));
    if let (Some(offer), Some(protocols)) = (&mut offer, protocols) {
        offer.protocols.clone_from(protocols);
    }
    let offer = offer.or_else(|| request.tls.clone());
    let arriving = Request {
        destination,
        tls: offer,
        http2: cluster.protocol == "http2" || (cluster.protocol == "as_client" && request.http2),
        ..request.clone()
    };
    let way = arrive(own.configuration(), &arriving)?;
    receiver.patched = patches::of_way(&way, &own, places);
    receiver.way = Some(way);
    if let meltemi_walk::UpstreamSocket::Tls { settings, .. } = &endpoint.socket
        && !settings.accepts.is_empty()
    {
        let holds = settings.accepts.iter().any(|name| name.wanted.holds(&workload.identity) == Some(true));
        receiver.identity_accepted = Some(holds);
    }
    receiver.workload = Some(workload);
    Ok(receiver)
}
