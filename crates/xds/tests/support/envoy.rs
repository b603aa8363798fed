//! A client that behaves as Envoy does, small enough to be looked through: it subscribes to what its configuration names,
//! warms clusters until their assignments come (again), withholds the CDS ACK until then, refuses whole responses, and
//! comes back with its versions.
//!
//! Bodies are text: `n=<name> v=<version> [eds=<assignment>] [rds=<routes>] [cds=<cluster>,...] [bad]`.
//! Knows only the wire messages, so that it cannot agree with the server's mistakes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_proto::google::rpc;

pub(crate) const CDS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
pub(crate) const EDS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
pub(crate) const LDS: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
pub(crate) const RDS: &str = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
pub(crate) const VHDS: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";

#[derive(Clone, Debug)]
pub(crate) enum Out {
    Delta(DeltaDiscoveryRequest),
    Sotw(DiscoveryRequest),
}

/// Name to (version, body). State of the world gives no versions.
type Held = BTreeMap<String, (String, String)>;

#[derive(Debug)]
pub(crate) struct Envoy {
    delta: bool,
    vhds: bool,
    held: BTreeMap<&'static str, Held>,
    /// Assignments and routes that its clusters and listeners name.
    wanted: BTreeMap<&'static str, BTreeSet<String>>,
    /// Clusters that wait for their assignment.
    warming: BTreeSet<String>,
    /// Clusters that can take requests.
    active: BTreeSet<String>,
    /// Clusters that it refused once: routes to them may be there without them.
    refused: BTreeSet<String>,
    /// Types asked for on this stream.
    asked: BTreeSet<&'static str>,
    nonces: BTreeMap<&'static str, String>,
    /// CDS answers that wait until all clusters are warm.
    withheld: Vec<Out>,
    /// The CDS request of this stream waits as well.
    deferred: bool,
    introduced: bool,
    pub(crate) outbox: VecDeque<Out>,
    /// A route without its cluster, ever.
    pub(crate) violations: Vec<String>,
}

fn field<'a>(body: &'a str, key: &str) -> Option<&'a str> {
    body.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn list<'a>(body: &'a str, key: &str) -> impl Iterator<Item = &'a str> {
    field(body, key).into_iter().flat_map(|names| names.split(',')).filter(|name| !name.is_empty())
}

/// The name that a body says: ours in words, or field 1 of an empty message.
fn name_of(body: &[u8]) -> String {
    if body.first() == Some(&0x0a) {
        let len = usize::from(body[1]);
        return String::from_utf8_lossy(&body[2..2 + len]).into_owned();
    }
    let text = String::from_utf8_lossy(body);
    field(&text, "n").expect("a body says its name").to_owned()
}

fn known(type_url: &str) -> &'static str {
    [CDS, EDS, LDS, RDS, VHDS].into_iter().find(|known| *known == type_url).expect("a type it asked for")
}

impl Envoy {
    pub(crate) fn new(delta: bool, vhds: bool) -> Self {
        let mut envoy = Self {
            delta,
            vhds,
            held: [CDS, EDS, LDS, RDS, VHDS].into_iter().map(|url| (url, Held::new())).collect(),
            wanted: [EDS, RDS].into_iter().map(|url| (url, BTreeSet::new())).collect(),
            warming: BTreeSet::new(),
            active: BTreeSet::new(),
            refused: BTreeSet::new(),
            asked: BTreeSet::new(),
            nonces: BTreeMap::new(),
            withheld: Vec::new(),
            deferred: false,
            introduced: false,
            outbox: VecDeque::new(),
            violations: Vec::new(),
        };
        envoy.connect();
        envoy
    }

    /// A new stream: what it holds stays, and is asked for in the order of the subscriptions. CDS is paused while a cluster
    /// warms, so EDS may come first.
    pub(crate) fn connect(&mut self) {
        let before = std::mem::take(&mut self.asked);
        self.outbox.clear();
        self.withheld.clear();
        self.nonces.clear();
        self.introduced = false;
        self.deferred = !self.warming.is_empty();
        if !self.deferred {
            self.ask(CDS);
        }
        for url in [EDS, LDS, RDS, VHDS] {
            let names = self.wanted.get(url).is_some_and(|names| !names.is_empty());
            if names || (before.contains(url) && !matches!(url, EDS | RDS)) {
                self.ask(url);
            }
        }
    }

    pub(crate) fn held(&self, url: &str) -> BTreeMap<&str, &str> {
        self.held[url].iter().map(|(name, (_, body))| (name.as_str(), body.as_str())).collect()
    }

    fn node(&mut self) -> Option<Node> {
        let first = !std::mem::replace(&mut self.introduced, true);
        // The cluster says to the tests' server how it wants its routes.
        let cluster = if self.vhds { "hosts" } else { "routes" }.to_owned();
        let id = "sidecar~10.0.0.1~a.b~b.svc.cluster.local".to_owned();
        first.then(|| Node { id, cluster, ..Default::default() })
    }

    /// The first request of a type.
    fn ask(&mut self, url: &'static str) {
        self.asked.insert(url);
        let names: Vec<String> = self.wanted.get(url).into_iter().flatten().cloned().collect();
        let node = self.node();
        let out = if self.delta {
            Out::Delta(DeltaDiscoveryRequest {
                node,
                type_url: url.into(),
                resource_names_subscribe: names,
                initial_resource_versions: self.held[url]
                    .iter()
                    .map(|(name, (version, _))| (name.clone(), version.clone()))
                    .collect(),
                ..Default::default()
            })
        } else {
            Out::Sotw(DiscoveryRequest {
                node,
                type_url: url.into(),
                resource_names: names,
                ..Default::default()
            })
        };
        self.outbox.push_back(out);
    }

    /// The names that are wanted have changed.
    fn want(&mut self, url: &'static str, now: BTreeSet<String>) {
        let before = std::mem::replace(self.wanted.get_mut(url).expect("a named type"), now.clone());
        if before == now {
            return;
        }
        for name in before.difference(&now) {
            self.held.get_mut(url).expect("a type").remove(name);
            if url == RDS {
                // Its virtual hosts go with it; the multiplexer goes on listing their versions.
                for (host, (_, body)) in self.held.get_mut(VHDS).expect("a type") {
                    if host.split_once('/').is_some_and(|(of, _)| of == name) {
                        body.clear();
                    }
                }
            }
        }
        if !self.asked.contains(url) {
            self.ask(url);
            return;
        }
        let node = self.node();
        let out = if self.delta {
            Out::Delta(DeltaDiscoveryRequest {
                node,
                type_url: url.into(),
                resource_names_subscribe: now.difference(&before).cloned().collect(),
                resource_names_unsubscribe: before.difference(&now).cloned().collect(),
                ..Default::default()
            })
        } else {
            Out::Sotw(DiscoveryRequest {
                node,
                type_url: url.into(),
                resource_names: now.into_iter().collect(),
                response_nonce: self.nonces.get(url).cloned().unwrap_or_default(),
                ..Default::default()
            })
        };
        self.outbox.push_back(out);
    }

    fn answer(&mut self, url: &'static str, nonce: &str, error: Option<&str>) {
        self.nonces.insert(url, nonce.to_owned());
        let error_detail =
            error.map(|message| rpc::Status { code: 13, message: message.into(), ..Default::default() });
        let node = self.node();
        let out = if self.delta {
            Out::Delta(DeltaDiscoveryRequest {
                node,
                type_url: url.into(),
                response_nonce: nonce.into(),
                error_detail,
                ..Default::default()
            })
        } else {
            Out::Sotw(DiscoveryRequest {
                node,
                type_url: url.into(),
                resource_names: self.wanted.get(url).into_iter().flatten().cloned().collect(),
                response_nonce: nonce.into(),
                error_detail,
                ..Default::default()
            })
        };
        if url == CDS && error.is_none() && !self.warming.is_empty() {
            self.withheld.push(out);
        } else {
            self.outbox.push_back(out);
        }
    }

    pub(crate) fn receive_delta(&mut self, response: DeltaDiscoveryResponse) {
        let url = known(&response.type_url);
        let put: Vec<(String, String, String)> = response
            .resources
            .into_iter()
            .map(|resource| {
                let body = resource.resource.expect("an Any").value;
                assert_eq!(name_of(&body), resource.name, "a resource is what its name says");
                (resource.name, resource.version, String::from_utf8_lossy(&body).into_owned())
            })
            .collect();
        self.take(url, &response.nonce, put, response.removed_resources);
    }

    pub(crate) fn receive_sotw(&mut self, response: DiscoveryResponse) {
        let url = known(&response.type_url);
        let put: Vec<(String, String, String)> = response
            .resources
            .into_iter()
            .map(|any| (name_of(&any.value), String::new(), String::from_utf8_lossy(&any.value).into_owned()))
            .collect();
        let removed = if url == CDS || url == LDS {
            let listed: BTreeSet<&String> = put.iter().map(|(name, _, _)| name).collect();
            self.held[url].keys().filter(|name| !listed.contains(name)).cloned().collect()
        } else {
            Vec::new()
        };
        self.take(url, &response.nonce, put, removed);
    }

    fn take(
        &mut self,
        url: &'static str,
        nonce: &str,
        put: Vec<(String, String, String)>,
        removed: Vec<String>,
    ) {
        if let Some((name, ..)) = put.iter().find(|(_, _, body)| body.contains(" bad")) {
            if url == CDS {
                let bad = put.iter().filter(|(_, _, body)| body.contains(" bad"));
                self.refused.extend(bad.map(|(name, ..)| name.clone()));
            }
            let message = format!("{name} is bad");
            self.answer(url, nonce, Some(&message));
            return;
        }
        let mut changed = Vec::new();
        let held = self.held.get_mut(url).expect("a type");
        for name in &removed {
            held.remove(name);
        }
        for (name, version, body) in put {
            if self.wanted.get(url).is_some_and(|wanted| !wanted.contains(&name)) {
                continue;
            }
            // An equal cluster or listener is no change; an assignment is news in any case.
            let same = held.insert(name.clone(), (version, body.clone())).is_some_and(|(_, old)| old == body);
            if !same || url == EDS {
                changed.push((name, body));
            }
        }
        match url {
            CDS => self.clusters(&changed, &removed),
            EDS => self.assignments(&changed),
            LDS => {
                let routes = self.held[LDS].values().flat_map(|(_, body)| list(body, "rds"));
                let routes = routes.map(str::to_owned).collect();
                self.want(RDS, routes);
            }
            RDS if self.vhds && !self.asked.contains(VHDS) => self.ask(VHDS),
            _ => {}
        }
        self.check();
        self.answer(url, nonce, None);
        // The initialization of clusters is over: now listeners.
        if url == CDS && !self.asked.contains(LDS) {
            self.ask(LDS);
        }
    }

    fn clusters(&mut self, changed: &[(String, String)], removed: &[String]) {
        for name in removed {
            self.warming.remove(name);
            self.active.remove(name);
        }
        for (name, body) in changed {
            if field(body, "eds").is_some() {
                self.warming.insert(name.clone());
            } else {
                self.warming.remove(name);
                self.active.insert(name.clone());
            }
        }
        let assignments = self.held[CDS].values().filter_map(|(_, body)| field(body, "eds"));
        let assignments = assignments.map(str::to_owned).collect();
        self.want(EDS, assignments);
        self.warm();
    }

    fn assignments(&mut self, changed: &[(String, String)]) {
        for (assignment, _) in changed {
            for (name, (_, body)) in &self.held[CDS] {
                if field(body, "eds") == Some(assignment) && self.warming.remove(name) {
                    self.active.insert(name.clone());
                }
            }
        }
        self.warm();
    }

    /// All are warm: CDS goes on.
    fn warm(&mut self) {
        if !self.warming.is_empty() {
            return;
        }
        self.outbox.extend(self.withheld.drain(..));
        if std::mem::take(&mut self.deferred) {
            self.ask(CDS);
        }
    }

    /// Whether it is complete: nothing warms, nothing is awaited.
    pub(crate) fn is_warm(&self) -> bool {
        self.warming.is_empty() && self.withheld.is_empty()
    }

    /// Every cluster that a route in force names can take requests.
    fn check(&mut self) {
        let routes = self.held[RDS].iter();
        let hosts = self.held[VHDS].iter().filter(|(name, _)| {
            name.split_once('/').is_some_and(|(routes, _)| self.held[RDS].contains_key(routes))
        });
        for (name, (_, body)) in routes.chain(hosts) {
            for cluster in list(body, "cds") {
                if !self.active.contains(cluster) && !self.refused.contains(cluster) {
                    self.violations.push(format!("{name} routes to {cluster}, which is not there"));
                }
            }
        }
    }
}

/// The types that it holds, by URL; virtual hosts only with their route configuration, as Envoy drops them with it.
impl Envoy {
    pub(crate) fn in_force(&self, url: &str) -> BTreeMap<String, String> {
        let routes = self.held(RDS);
        self.held(url)
            .into_iter()
            .filter(|(name, body)| {
                let hosted = || name.split_once('/').is_some_and(|(of, _)| routes.contains_key(of));
                url != VHDS || (!body.is_empty() && hosted())
            })
            .map(|(name, body)| (name.to_owned(), body.to_owned()))
            .collect()
    }
}
