//! Whatever the order of changes, answers, refusals, stalls and cuts: a client that behaves as Envoy does never has a route
//! without its cluster, and ends with exactly what the last view has, in either spelling.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meltemi_catalog::{Form, Generation, Layer, View};
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use proptest::prelude::*;
use prost::Message;

use super::envoy::{self, Envoy, Out};
use super::mesh::{Edit, HOSTS, Host, Mesh, ROUTES, SERVICES, Service, Spelling, expected, successor};
use crate::limits::Limits;
use crate::machine::{Close, CloseCode, Machine, Next};
use crate::request::Request;

#[derive(Clone, Debug)]
enum Op {
    /// One batch.
    Change(Vec<Edit>),
    /// The server is asked for messages, so many at most.
    Pump(u8),
    /// The client receives messages.
    Deliver(u8),
    /// The server receives requests.
    Answer(u8),
    Wait(u16),
    Cut,
    /// The same mesh, served from another layer from now on.
    Move,
}

/// A server, a client, and the two ways between them.
struct Rig {
    spelling: Spelling,
    mesh: Mesh,
    layer: Layer,
    /// Where clients were before the last batch, if that moved them.
    left: Option<View>,
    machine: Machine,
    client: Envoy,
    now: Instant,
    connected: Instant,
    salt: u64,
    down: VecDeque<Vec<u8>>,
    cuts: usize,
}

impl Rig {
    fn new(spelling: Spelling) -> Self {
        let mut rig = Self {
            spelling,
            mesh: Mesh::default(),
            layer: Layer::empty(),
            left: None,
            machine: Machine::new(form(spelling), Limits::default(), 1),
            client: Envoy::new(spelling != Spelling::Sotw, spelling == Spelling::DeltaHosts),
            now: Instant::now(),
            connected: Instant::now(),
            salt: 1,
            down: VecDeque::new(),
            cuts: 0,
        };
        rig.change(&[]);
        rig
    }

    fn view(&self) -> View {
        let view = View::new([Arc::new(self.layer.clone())]);
        match &self.left {
            Some(left) => view.coming_from(left.clone()),
            None => view,
        }
    }

    fn move_layers(&mut self) {
        self.left = Some(self.view());
        let mut edit = Layer::empty().edit(Generation(self.layer.generation().0 + 1));
        for resource in self.mesh.resources(self.spelling).into_values() {
            edit.put(Arc::new(resource));
        }
        if let Some(layer) = edit.finish() {
            self.layer = layer;
        }
    }

    fn change(&mut self, edits: &[Edit]) {
        let mut mesh = self.mesh.clone();
        for edit in edits {
            mesh.apply(edit);
        }
        self.publish(mesh);
    }

    fn publish(&mut self, mesh: Mesh) {
        self.layer = successor(&self.layer, &self.mesh, &mesh, self.spelling);
        self.left = None;
        self.mesh = mesh;
    }

    fn pump(&mut self) -> bool {
        let view = self.view();
        loop {
            let next = match self.machine.next(&view, self.now) {
                Ok(next) => next,
                Err(close) => {
                    self.closed(&close);
                    return true;
                }
            };
            match next {
                Next::Send(response) => {
                    self.down.push_back(response.segments().concat());
                    return true;
                }
                Next::Admit { .. } => self.machine.admit(),
                Next::Idle { .. } => return false,
            }
        }
    }

    fn deliver(&mut self) -> bool {
        let Some(bytes) = self.down.pop_front() else { return false };
        if self.spelling == Spelling::Sotw {
            self.client.receive_sotw(DiscoveryResponse::decode(&*bytes).expect("a response"));
        } else {
            self.client.receive_delta(DeltaDiscoveryResponse::decode(&*bytes).expect("a response"));
        }
        true
    }

    fn answer(&mut self) -> bool {
        let limits = Limits::default();
        let request = match self.client.outbox.pop_front() {
            None => return false,
            Some(Out::Delta(message)) => Request::read(Form::Delta, &message.encode_to_vec(), &limits),
            Some(Out::Sotw(message)) => Request::read(Form::Sotw, &message.encode_to_vec(), &limits),
        };
        let request = request.expect("in bounds");
        if let Err(close) = self.machine.receive(request, &self.view(), self.now) {
            self.closed(&close);
        }
        true
    }

    /// Only a client that was moved and missed where from is closed, and comes back.
    fn closed(&mut self, close: &Close) {
        assert_eq!(close.code, CloseCode::Unavailable, "{close}");
        self.cut();
    }

    fn cut(&mut self) {
        self.cuts += 1;
        self.down.clear();
        self.salt += 1;
        self.connected = self.now;
        self.machine = Machine::new(form(self.spelling), Limits::default(), self.salt);
        self.client.connect();
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Change(edits) => self.change(edits),
            Op::Pump(count) => {
                let _ = (0..*count).all(|_| self.pump());
            }
            Op::Deliver(count) => {
                let _ = (0..*count).all(|_| self.deliver());
            }
            Op::Answer(count) => {
                let _ = (0..*count).all(|_| self.answer());
            }
            Op::Wait(millis) => self.now += Duration::from_millis(u64::from(*millis)),
            Op::Cut => self.cut(),
            Op::Move => self.move_layers(),
        }
    }

    /// Everything arrives, in both directions, until there is no more; time passes.
    fn settle(&mut self) {
        for _ in 0..4 {
            let mut steps = 0;
            while self.answer() | self.pump() | self.deliver() {
                steps += 1;
                assert!(steps < 2_000, "an exchange that never ends");
            }
            self.now += Duration::from_secs(6);
        }
    }

    /// A returning state-of-the-world client does not say what it holds, so a cluster that went meanwhile cannot be kept
    /// for its old routes.
    fn check_safe(&self) {
        if self.spelling != Spelling::Sotw || self.cuts == 0 {
            assert_eq!(self.client.violations, Vec::<String>::new(), "{:?}", self.spelling);
        }
    }

    /// Whoever is said not to lack a resource has no other state of it, and whoever is said to have all has it as the view is.
    fn check_standing(&self) {
        // Who does not ask for the next type for as long as an answer may take is taken for one that never will.
        if !self.client.outbox.is_empty() && self.now >= self.connected + Limits::default().ack_wait {
            return;
        }
        let view = self.view();
        let settled = self.machine.is_settled(&view, self.now);
        for (type_url, url) in TYPES {
            let expected = expected(&self.mesh, self.spelling, type_url);
            let held = self.client.in_force(url);
            for name in expected.keys().chain(held.keys()) {
                // An assignment that goes with its cluster, which has the same name here, is gone when that is; and a route
                // configuration with its listener, and its virtual hosts with it.
                let goes = !expected.contains_key(name);
                let (of, owner) = match type_url {
                    TypeUrl::Endpoint if goes => (TypeUrl::Cluster, name.clone()),
                    TypeUrl::Route | TypeUrl::VirtualHost if goes => {
                        let route = name.split('/').next().unwrap_or_default();
                        (TypeUrl::Listener, route.replacen('r', "l", 1))
                    }
                    _ => (type_url, name.clone()),
                };
                let lacks = self.machine.lacks(of, &owner.as_str().into(), &view, self.now);
                let is_stale = held.get(name).is_some_and(|body| expected.get(name) != Some(body));
                assert!(!is_stale || lacks.is_some(), "{type_url} {name} of {:?} is another", self.spelling);
                assert!(!settled || lacks.is_none(), "{type_url} {name} of {:?}: {lacks:?}", self.spelling);
            }
            if settled {
                assert_eq!(held, expected, "{type_url} of {:?} is said to be settled", self.spelling);
            }
        }
    }

    fn check_equal(&self) {
        for (type_url, url) in TYPES {
            let expected = expected(&self.mesh, self.spelling, type_url);
            assert_eq!(self.client.in_force(url), expected, "{type_url} of {:?}", self.spelling);
        }
        self.check_standing();
        assert!(self.client.is_warm(), "something waits for ever: {:?}", self.client);
        assert_eq!(self.machine.watermark(), self.layer.generation(), "all is acknowledged");
    }
}

const TYPES: [(TypeUrl, &str); 5] = [
    (TypeUrl::Cluster, envoy::CDS),
    (TypeUrl::Endpoint, envoy::EDS),
    (TypeUrl::Listener, envoy::LDS),
    (TypeUrl::Route, envoy::RDS),
    (TypeUrl::VirtualHost, envoy::VHDS),
];

fn form(spelling: Spelling) -> Form {
    if spelling == Spelling::Sotw { Form::Sotw } else { Form::Delta }
}

fn service(bad: bool) -> impl Strategy<Value = Service> {
    (0..3_u8, 0..3_u8, prop::bool::weighted(0.7), prop::bool::weighted(0.2)).prop_map(
        move |(version, endpoints, eds, is_bad)| Service { version, endpoints, eds, bad: bad && is_bad },
    )
}

fn host(bad: bool) -> impl Strategy<Value = Host> {
    (0..3_u8, 0..16_u8, prop::bool::weighted(0.2)).prop_map(move |(version, to, is_bad)| Host {
        version,
        to,
        bad: bad && is_bad,
    })
}

fn edit(bad: bool) -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (0..SERVICES, prop::option::weighted(0.8, service(bad))).prop_map(|(at, service)| Edit::Service(at, service)),
        1 => (0..SERVICES, 0..3_u8).prop_map(|(at, endpoints)| Edit::Endpoints(at, endpoints)),
        1 => (0..ROUTES, 0..3_u8).prop_map(|(at, version)| Edit::Listener(at, version)),
        4 => (0..ROUTES, 0..HOSTS, prop::option::weighted(0.8, host(bad))).prop_map(|(routes, at, host)| Edit::Host(routes, at, host)),
    ]
}

/// Without `hardship` no answer takes longer than the limit, and nothing is refused: then no route may ever lack its cluster.
fn ops(hardship: bool) -> impl Strategy<Value = Vec<Op>> {
    let wait = if hardship { 0..7_000_u16 } else { 0..1_u16 };
    let op = prop_oneof![
        3 => prop::collection::vec(edit(hardship), 1..6).prop_map(Op::Change),
        4 => (1..4_u8).prop_map(Op::Pump),
        4 => (1..4_u8).prop_map(Op::Deliver),
        4 => (1..4_u8).prop_map(Op::Answer),
        1 => wait.prop_map(Op::Wait),
        1 => Just(Op::Cut),
        1 => Just(Op::Move),
    ];
    prop::collection::vec(op, 1..60)
}

fn start() -> Vec<Edit> {
    let service = |version| Some(Service { version, eds: true, ..Service::default() });
    let host = |to| Some(Host { to, ..Host::default() });
    vec![
        Edit::Service(0, service(0)),
        Edit::Service(1, service(1)),
        Edit::Listener(0, 1),
        Edit::Host(0, 0, host(1)),
        Edit::Host(0, 1, host(2)),
    ]
}

const SPELLINGS: [Spelling; 3] = [Spelling::DeltaHosts, Spelling::DeltaRoutes, Spelling::Sotw];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_route_ever_lacks_its_cluster_and_all_ends_as_the_view_is(ops in ops(false)) {
        for spelling in SPELLINGS {
            let mut rig = Rig::new(spelling);
            rig.change(&start());
            for op in &ops {
                rig.run(op);
                rig.check_standing();
            }
            // The last exchange happens before the limit, too.
            let mut steps = 0;
            while rig.answer() | rig.pump() | rig.deliver() {
                steps += 1;
                assert!(steps < 2_000, "an exchange that never ends");
            }
            rig.check_safe();
            rig.settle();
            rig.check_equal();
        }
    }

    #[test]
    fn after_refusals_stalls_and_cuts_all_ends_as_the_mended_view_is(ops in ops(true)) {
        for spelling in SPELLINGS {
            let mut rig = Rig::new(spelling);
            rig.change(&start());
            for op in &ops {
                rig.run(op);
                rig.check_standing();
            }
            rig.settle();
            rig.publish(rig.mesh.clone().mended());
            rig.settle();
            rig.check_equal();
        }
    }
}

#[test]
fn a_stream_cut_at_any_message_ends_the_same() {
    let steps: [&[Edit]; 4] = [
        &start(),
        // A cluster, its endpoints and the route to it change at once; another cluster is replaced.
        &[
            Edit::Service(0, Some(Service { version: 9, endpoints: 9, eds: true, bad: false })),
            Edit::Service(2, Some(Service { version: 1, endpoints: 1, eds: true, bad: false })),
            Edit::Host(0, 0, Some(Host { version: 2, to: 0b100, bad: false })),
        ],
        &[Edit::Service(1, None), Edit::Host(0, 1, Some(Host { version: 3, to: 0b100, bad: false }))],
        &[Edit::Listener(1, 1), Edit::Host(1, 0, Some(Host { version: 1, to: 0b101, bad: false }))],
    ];
    for spelling in SPELLINGS {
        for changed_meanwhile in [false, true] {
            let mut cut_at = 0;
            loop {
                let mut rig = Rig::new(spelling);
                let mut messages = 0;
                let mut was_cut = false;
                for edits in steps {
                    rig.change(edits);
                    loop {
                        // Each message in either direction is a boundary.
                        let moved = rig.answer() || rig.deliver() || rig.pump();
                        if !moved {
                            break;
                        }
                        messages += 1;
                        if messages == cut_at {
                            was_cut = true;
                            if changed_meanwhile {
                                rig.change(&[Edit::Service(
                                    2,
                                    Some(Service { version: 7, endpoints: 3, eds: true, bad: false }),
                                )]);
                            }
                            rig.cut();
                        }
                    }
                }
                rig.check_safe();
                rig.settle();
                rig.check_equal();
                if cut_at > 0 && !was_cut {
                    break;
                }
                cut_at += 1;
            }
            assert!(cut_at > 20, "{cut_at} boundaries");
        }
    }
}
