//! A stream as a stranger may drive it: requests in any order and with any words, while the mesh changes.
//!
//! The input is a script (`script.rs`). Must hold: no panic; each request is taken or ends the stream; the machine comes to rest after
//! each event; what it sends decodes; what it keeps is within its limits.
#![no_main]

#[path = "../../crates/xds/tests/support/mesh.rs"]
#[allow(dead_code, reason = "the model tests use the rest")]
mod mesh;
mod script;

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use meltemi_catalog::{Layer, View};
use meltemi_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_proto::google::rpc;
use meltemi_xds::{Close, Form, Limits, Machine, Next, Request, Response};
use prost::Message;

use mesh::{Edit, HOSTS, Host, Mesh, ROUTES, SERVICES, Service, Spelling};
use script::Step;

/// Messages that one event may lead to, at most: each type's answer, EDS as often as may be unanswered, and the follow-ups.
const MESSAGES: usize = 256;

/// Responses of one type that are remembered for a client that never answers, at most: those whose wait is over count among them
/// (`REMEMBERED` in crates/xds/src/watch.rs), beside the assignments that may go unanswered.
const UNANSWERED: usize = 8 + 4;

fuzz_target!(|data: &[u8]| {
    let Some((form, steps)) = script::read(data) else { return };
    let spelling = if form == Form::Delta { Spelling::DeltaHosts } else { Spelling::Sotw };
    let mut stream = Stream::new(form, spelling);
    for step in steps {
        // A stream that was closed is gone.
        if stream.take(step).is_err() {
            return;
        }
    }
});

struct Stream {
    form: Form,
    spelling: Spelling,
    machine: Machine,
    limits: Limits,
    mesh: Mesh,
    layer: Arc<Layer>,
    now: Instant,
    /// Type and nonce of what was sent last.
    last: Option<(String, String)>,
}

impl Stream {
    fn new(form: Form, spelling: Spelling) -> Self {
        // Small bounds, so that a short script reaches them.
        let limits = Limits { names: 64, types: 12, endpoint_flights: 4, ..Limits::default() };
        let mesh = Mesh::default();
        let full = Mesh {
            services: [Some(Service { version: 1, endpoints: 1, eds: true, bad: false }); SERVICES],
            listeners: [1; ROUTES],
            hosts: [[Some(Host { version: 1, to: 0b1111, bad: false }); HOSTS]; ROUTES],
        };
        Self {
            form,
            spelling,
            machine: Machine::new(form, limits.clone(), 1),
            limits,
            layer: Arc::new(mesh::successor(&Layer::empty(), &mesh, &full, spelling)),
            mesh: full,
            now: Instant::now(),
            last: None,
        }
    }

    fn take(&mut self, step: Step<'_>) -> Result<(), Close> {
        match step {
            Step::Request(bytes) => {
                let decodes = match self.form {
                    Form::Delta => DeltaDiscoveryRequest::decode(bytes).is_ok(),
                    Form::Sotw => DiscoveryRequest::decode(bytes).is_ok(),
                };
                let request = Request::read(self.form, bytes, &self.limits);
                // Our own reader of the long lists takes what prost takes, and nothing else.
                assert!(decodes || request.is_err());
                if decodes {
                    self.receive(request?)?;
                }
            }
            Step::Answer { refuses } => {
                if let Some((type_url, nonce)) = self.last.clone() {
                    self.receive(self.answer(type_url, nonce, refuses)?)?;
                }
            }
            Step::Edit { what, value } => self.edit(what, value),
            Step::Wait { milliseconds } => self.now += Duration::from_millis(milliseconds),
        }
        self.rest()
    }

    fn receive(&mut self, request: Request) -> Result<(), Close> {
        let view = View::new([Arc::clone(&self.layer)]);
        self.machine.receive(request, &view, self.now)
    }

    /// An ACK or NACK as Envoy spells it.
    fn answer(&self, type_url: String, nonce: String, refuses: bool) -> Result<Request, Close> {
        let error_detail =
            refuses.then(|| rpc::Status { code: 13, message: "no".to_owned(), ..Default::default() });
        match self.form {
            Form::Delta => {
                let message = DeltaDiscoveryRequest {
                    type_url,
                    response_nonce: nonce,
                    error_detail,
                    ..Default::default()
                };
                Request::delta(message, &self.limits)
            }
            Form::Sotw => {
                let message =
                    DiscoveryRequest { type_url, response_nonce: nonce, error_detail, ..Default::default() };
                Request::sotw(message, &self.limits)
            }
        }
    }

    fn edit(&mut self, what: u8, value: u8) {
        let at = usize::from(what >> 4);
        let edit = match what & 0b11 {
            0 => Edit::Service(
                at % SERVICES,
                (value != 0).then_some(Service {
                    version: value,
                    endpoints: 1,
                    eds: value & 1 == 0,
                    bad: false,
                }),
            ),
            1 => Edit::Endpoints(at % SERVICES, value),
            2 => Edit::Listener(at % ROUTES, value),
            _ => Edit::Host(
                at % ROUTES,
                at / ROUTES % HOSTS,
                (value != 0).then_some(Host { version: value, to: value >> 4, bad: false }),
            ),
        };
        let before = self.mesh.clone();
        self.mesh.apply(&edit);
        self.layer = Arc::new(mesh::successor(&self.layer, &before, &self.mesh, self.spelling));
    }

    /// Takes what the machine has to say, until it is at rest.
    fn rest(&mut self) -> Result<(), Close> {
        let view = View::new([Arc::clone(&self.layer)]);
        for _ in 0..MESSAGES {
            match self.machine.next(&view, self.now)? {
                Next::Send(response) => self.last = Some(self.decoded(&response)),
                Next::Admit { bytes, .. } => {
                    assert!(bytes > 0);
                    self.machine.admit();
                }
                Next::Idle { until } => {
                    assert!(until.is_none_or(|until| until > self.now), "a wait that is over");
                    for state in self.machine.status(&view).types {
                        assert!(state.unanswered <= UNANSWERED, "{state:?}");
                    }
                    self.machine.take_refusals();
                    self.machine.take_tally();
                    return Ok(());
                }
            }
        }
        panic!("more than {MESSAGES} messages after one event");
    }

    fn decoded(&self, response: &Response) -> (String, String) {
        let bytes = response.segments().concat();
        assert_eq!(bytes.len(), response.len());
        let (type_url, nonce, resources) = match self.form {
            Form::Delta => {
                let message = DeltaDiscoveryResponse::decode(&*bytes).expect("ours");
                (message.type_url, message.nonce, message.resources.len())
            }
            Form::Sotw => {
                let message = DiscoveryResponse::decode(&*bytes).expect("ours");
                (message.type_url, message.nonce, message.resources.len())
            }
        };
        assert_eq!((&nonce, resources), (&response.nonce, response.resources));
        (type_url, nonce)
    }
}
