//! A stream on the bench: a view that can be edited, a clock that is moved by hand, responses decoded by prost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meltemi_catalog::{Body, Form, Generation, Layer, Need, Resource, View};
use meltemi_names::{TypeUrl, Version};
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use meltemi_proto::google::rpc;
use prost::Message;

use crate::limits::Limits;
use crate::machine::{Close, Machine, Next};
use crate::request::Request;
use crate::response::Response;

pub(super) use TypeUrl::{
    Cluster as CDS, Endpoint as EDS, Listener as LDS, Route as RDS, VirtualHost as VHDS,
};

/// A resource of the tests: its body is its text. `needs` are written `type/name`.
pub(super) fn made(type_url: TypeUrl, name: &str, body: &str, needs: &[(TypeUrl, &str)]) -> Resource {
    let needs =
        needs.iter().map(|(type_url, name)| Need { type_url: *type_url, name: (*name).into() }).collect();
    let resource = Resource::new(
        type_url,
        name.into(),
        Version::of(body.as_bytes()),
        Body::from(body.as_bytes().to_vec()),
    )
    .needing(needs);
    match (type_url, name.split_once('/')) {
        (TypeUrl::VirtualHost, Some((parent, _))) => resource.belonging_to(parent.into()),
        _ => resource,
    }
}

pub(super) fn version(body: &str) -> String {
    Version::of(body.as_bytes()).to_string()
}

/// A resource to put: type, name, body, needs.
pub(super) type Put<'a> = (TypeUrl, &'a str, &'a str, &'a [(TypeUrl, &'a str)]);

/// What a response said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) type_url: String,
    pub(super) nonce: String,
    /// Delta: name and body. State of the world: the body alone tells.
    pub(super) put: Vec<(String, String)>,
    pub(super) removed: Vec<String>,
}

impl Said {
    pub(super) fn names(&self) -> Vec<&str> {
        self.put.iter().map(|(name, _)| name.as_str()).collect()
    }

    pub(super) fn bodies(&self) -> Vec<&str> {
        self.put.iter().map(|(_, body)| body.as_str()).collect()
    }

    pub(super) fn is(&self, type_url: TypeUrl) -> bool {
        self.type_url == type_url.as_str()
    }
}

pub(super) struct Bench {
    pub(super) form: Form,
    pub(super) machine: Machine,
    pub(super) layer: Layer,
    pub(super) now: Instant,
    introduced: bool,
}

impl Bench {
    pub(super) fn new(form: Form) -> Self {
        Self::limited(form, Limits::default())
    }

    pub(super) fn limited(form: Form, limits: Limits) -> Self {
        Self {
            form,
            machine: Machine::new(form, limits, 0xbe),
            layer: Layer::empty(),
            now: Instant::now(),
            introduced: false,
        }
    }

    pub(super) fn delta() -> Self {
        Self::new(Form::Delta)
    }

    pub(super) fn sotw() -> Self {
        Self::new(Form::Sotw)
    }

    /// The client comes back on a new stream; the view stays.
    pub(super) fn reconnect(&mut self) {
        self.machine = Machine::new(self.form, Limits::default(), 0xbf);
        self.introduced = false;
    }

    pub(super) fn view(&self) -> View {
        View::new([Arc::new(self.layer.clone())])
    }

    /// One batch of changes.
    pub(super) fn change(&mut self, put: &[Put<'_>], remove: &[(TypeUrl, &str)]) {
        let mut edit = self.layer.edit(Generation(self.layer.generation().0 + 1));
        for (type_url, name, body, needs) in put {
            edit.put(Arc::new(made(*type_url, name, body, needs)));
        }
        for (type_url, name) in remove {
            assert!(edit.remove(*type_url, name), "{type_url} {name} was there");
        }
        self.layer = edit.finish().expect("a change");
    }

    /// One batch of resources that need nothing.
    pub(super) fn put(&mut self, put: &[(TypeUrl, &str, &str)]) {
        let put: Vec<Put<'_>> =
            put.iter().map(|(type_url, name, body)| (*type_url, *name, *body, &[][..])).collect();
        self.change(&put, &[]);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn node(&mut self) -> Option<Node> {
        let first = !std::mem::replace(&mut self.introduced, true);
        first.then(|| Node { id: "sidecar~10.0.0.1~a.b~b.svc.cluster.local".into(), ..Default::default() })
    }

    pub(super) fn receive_delta(&mut self, message: DeltaDiscoveryRequest) -> Result<(), Close> {
        let message = DeltaDiscoveryRequest { node: message.node.or_else(|| self.node()), ..message };
        let request = Request::read(Form::Delta, &message.encode_to_vec(), &self.machine.limits)?;
        self.machine.receive(request, &self.view(), self.now)
    }

    pub(super) fn receive_sotw(&mut self, message: DiscoveryRequest) -> Result<(), Close> {
        let message = DiscoveryRequest { node: message.node.or_else(|| self.node()), ..message };
        let request = Request::read(Form::Sotw, &message.encode_to_vec(), &self.machine.limits)?;
        self.machine.receive(request, &self.view(), self.now)
    }

    /// Delta: subscribes.
    pub(super) fn subscribe(&mut self, type_url: TypeUrl, names: &[&str]) {
        self.returns(type_url, names, &[]);
    }

    /// Delta: subscribes, with what is held from before (name and body).
    pub(super) fn returns(&mut self, type_url: TypeUrl, names: &[&str], held: &[(&str, &str)]) {
        self.receive_delta(DeltaDiscoveryRequest {
            type_url: type_url.as_str().into(),
            resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            initial_resource_versions: held
                .iter()
                .map(|(name, body)| ((*name).to_owned(), version(body)))
                .collect(),
            ..Default::default()
        })
        .expect("a request in order");
    }

    /// Delta: unsubscribes.
    pub(super) fn unsubscribe(&mut self, type_url: TypeUrl, names: &[&str]) {
        self.receive_delta(DeltaDiscoveryRequest {
            type_url: type_url.as_str().into(),
            resource_names_unsubscribe: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Default::default()
        })
        .expect("a request in order");
    }

    /// State of the world: the names, answering `nonce`.
    pub(super) fn names(&mut self, type_url: TypeUrl, names: &[&str], nonce: &str) {
        self.receive_sotw(DiscoveryRequest {
            type_url: type_url.as_str().into(),
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            response_nonce: nonce.to_owned(),
            ..Default::default()
        })
        .expect("a request in order");
    }

    pub(super) fn ack(&mut self, said: &Said) {
        self.answer(said, None);
    }

    pub(super) fn nack(&mut self, said: &Said) {
        self.answer(said, Some("no good"));
    }

    /// Delta: accepts or refuses.
    pub(super) fn answer(&mut self, said: &Said, error: Option<&str>) {
        assert_eq!(self.form, Form::Delta);
        self.receive_delta(DeltaDiscoveryRequest {
            type_url: said.type_url.clone(),
            response_nonce: said.nonce.clone(),
            error_detail: error.map(|message| rpc::Status {
                code: 13,
                message: message.into(),
                ..Default::default()
            }),
            ..Default::default()
        })
        .expect("an answer in order");
    }

    /// State of the world: refuses, with these names.
    pub(super) fn nack_names(&mut self, said: &Said, names: &[&str]) {
        self.receive_sotw(DiscoveryRequest {
            type_url: said.type_url.clone(),
            response_nonce: said.nonce.clone(),
            resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
            error_detail: Some(rpc::Status { code: 13, message: "no good".into(), ..Default::default() }),
            ..Default::default()
        })
        .expect("an answer in order");
    }

    pub(super) fn decode(&self, response: &Response) -> Said {
        let bytes = response.segments().concat();
        assert_eq!(bytes.len(), response.len(), "the length is what the frame says");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.form {
            Form::Delta => {
                let message = DeltaDiscoveryResponse::decode(&*bytes).expect("a DeltaDiscoveryResponse");
                Said {
                    put: message
                        .resources
                        .into_iter()
                        .map(|resource| {
                            let any = resource.resource.expect("an Any");
                            assert_eq!(any.type_url, message.type_url);
                            assert_eq!(resource.version, Version::of(&any.value).to_string());
                            (resource.name, text(&any.value))
                        })
                        .collect(),
                    type_url: message.type_url,
                    nonce: message.nonce,
                    removed: message.removed_resources,
                }
            }
            Form::Sotw => {
                let message = DiscoveryResponse::decode(&*bytes).expect("a DiscoveryResponse");
                assert!(!message.version_info.is_empty());
                Said {
                    put: message.resources.into_iter().map(|any| (String::new(), text(&any.value))).collect(),
                    type_url: message.type_url,
                    nonce: message.nonce,
                    removed: Vec::new(),
                }
            }
        }
    }

    pub(super) fn next(&mut self) -> Result<Next, Close> {
        let view = self.view();
        self.machine.next(&view, self.now)
    }

    /// The next message, admitted if it must be.
    pub(super) fn said(&mut self) -> Option<Said> {
        loop {
            match self.next().expect("an open stream") {
                Next::Send(response) => return Some(self.decode(&response)),
                Next::Admit { .. } => self.machine.admit(),
                Next::Idle { .. } => return None,
            }
        }
    }

    /// The next message, which must be of that type.
    #[track_caller]
    pub(super) fn expect(&mut self, type_url: TypeUrl) -> Said {
        let said = self.said().unwrap_or_else(|| panic!("a {type_url} response, not silence"));
        assert!(said.is(type_url), "{type_url} expected, not {said:?}");
        said
    }

    #[track_caller]
    pub(super) fn silent(&mut self) {
        assert_eq!(self.said(), None);
    }

    /// Sends and accepts until there is nothing more to say.
    pub(super) fn settle(&mut self) -> Vec<Said> {
        let mut all = Vec::new();
        while let Some(said) = self.said() {
            self.ack(&said);
            all.push(said);
        }
        all
    }
}
