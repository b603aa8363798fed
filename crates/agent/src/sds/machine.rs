//! One stream of secrets, without its socket: what a client asked for, what it was sent, and what is to be sent next.
//!
//! Knows: both spellings of the discovery protocol, for this one type. Must not know: sockets, files, the clock.
//! Start at [`Machine::request`] and [`Machine::next`].
//! Invariant: no name is sent twice with the same bytes, unless the client asks for it anew; at most [`super::MAX_NAMES`] are remembered.

use std::collections::BTreeMap;

use bytes::Bytes;
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse, Resource};
use meltemi_proto::google::protobuf::Any;

use super::name::Name;
use super::request::{MAX_NAMES, Request, type_url};
use super::secrets::Secrets;

/// Which spelling of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Each response says all.
    Sotw,
    /// Each response says what changed.
    Delta,
}

/// Why a stream ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    /// The client does what the protocol does not allow.
    #[error("{0}")]
    Invalid(String),
    /// More than is served.
    #[error("{0}")]
    Exhausted(String),
}

/// What a request meant, for the log and the count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The last response was taken.
    Ack,
    /// The last response was refused, with the client's words.
    Nack(String),
    /// Names that nobody serves here were asked for.
    Unknown(Vec<String>),
}

/// What is sent. Its bytes hold keys, so it is printed by nobody: there is no `Debug`.
#[derive(PartialEq)]
pub enum Response {
    /// In the one spelling.
    Sotw(DiscoveryResponse),
    /// In the other.
    Delta(DeltaDiscoveryResponse),
}

#[derive(Debug)]
struct Wanted {
    name: Option<Name>,
    /// The number of what was sent last; zero for nothing. For a name that nobody serves: one once that was said.
    sent: u64,
}

/// The state of one stream.
#[derive(Debug)]
pub struct Machine {
    form: Form,
    wanted: BTreeMap<String, Wanted>,
    /// State of the world: something must be said though no secret changed, since the client changed its names.
    asked: bool,
    responses: u64,
    /// Whether the last response was answered; a second answer is of no interest.
    answered: bool,
}

impl Machine {
    /// A stream that has asked for nothing yet.
    pub fn new(form: Form) -> Self {
        Self { form, wanted: BTreeMap::new(), asked: false, responses: 0, answered: true }
    }

    /// Takes a request.
    ///
    /// # Errors
    /// When the stream must end.
    pub fn request(&mut self, request: Request) -> Result<Vec<Event>, Close> {
        let mut events = Vec::new();
        let answers_last = self.responses > 0 && request.nonce == self.responses.to_string();
        if answers_last && !self.answered {
            self.answered = true;
            events.push(request.refusal.map_or(Event::Ack, Event::Nack));
        }
        // An answer to an older response says nothing about the names either: a newer one follows (xDS, "ACK/NACK").
        let is_stale = !request.nonce.is_empty() && !answers_last;
        let unknown = match self.form {
            Form::Sotw if is_stale => Vec::new(),
            Form::Sotw => self.replace(request.names, !answers_last),
            Form::Delta => {
                for name in &request.dropped {
                    self.wanted.remove(name);
                }
                self.add(request.names)
            }
        };
        if self.wanted.len() > MAX_NAMES {
            return Err(Close::Exhausted(format!("more than {MAX_NAMES} names on a stream")));
        }
        if !unknown.is_empty() {
            events.push(Event::Unknown(unknown));
        }
        Ok(events)
    }

    /// State of the world: exactly these names. `anew` when the client holds nothing.
    fn replace(&mut self, names: std::collections::BTreeSet<String>, anew: bool) -> Vec<String> {
        if anew {
            self.wanted.clear();
        }
        self.wanted.retain(|name, _| names.contains(name));
        let added: Vec<String> = names.into_iter().filter(|name| !self.wanted.contains_key(name)).collect();
        self.asked |= anew || !added.is_empty();
        self.add(added)
    }

    /// The names of those among them that nobody serves.
    fn add(&mut self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut unknown = Vec::new();
        for text in names {
            let name = Name::parse(&text);
            if name.is_none() {
                unknown.push(text.clone());
            }
            self.wanted.insert(text, Wanted { name, sent: 0 });
        }
        unknown
    }

    /// The names that are to come from files.
    pub fn files(&self) -> impl Iterator<Item = &Name> {
        self.wanted.values().filter_map(|wanted| wanted.name.as_ref()).filter(|name| name.is_of_files())
    }

    /// What is to be sent now, if anything. A secret that is not there yet is waited for, in silence, as Istio's agent does.
    pub fn next(&mut self, secrets: &Secrets) -> Option<Response> {
        let response = match self.form {
            Form::Sotw => self.next_sotw(secrets)?,
            Form::Delta => self.next_delta(secrets)?,
        };
        self.answered = false;
        Some(response)
    }

    fn next_sotw(&mut self, secrets: &Secrets) -> Option<Response> {
        let mut resources = Vec::new();
        let mut newest = 0;
        let mut is_news = self.asked;
        for wanted in self.wanted.values_mut() {
            let Some(served) = wanted.name.as_ref().and_then(|name| secrets.served(name)) else { continue };
            is_news |= served.number != wanted.sent;
            newest = newest.max(served.number);
            resources.push(any(served.bytes.reveal()));
        }
        if resources.is_empty() || !is_news {
            return None;
        }
        for wanted in self.wanted.values_mut() {
            if let Some(served) = wanted.name.as_ref().and_then(|name| secrets.served(name)) {
                wanted.sent = served.number;
            }
        }
        self.asked = false;
        Some(Response::Sotw(DiscoveryResponse {
            version_info: newest.to_string(),
            resources,
            type_url: type_url().to_owned(),
            nonce: self.nonce(),
            ..DiscoveryResponse::default()
        }))
    }

    fn next_delta(&mut self, secrets: &Secrets) -> Option<Response> {
        let mut resources = Vec::new();
        let mut removed = Vec::new();
        for (text, wanted) in &mut self.wanted {
            match &wanted.name {
                None if wanted.sent == 0 => {
                    wanted.sent = 1;
                    removed.push(text.clone());
                }
                None => {}
                Some(name) => {
                    let Some(served) = secrets.served(name).filter(|served| served.number != wanted.sent)
                    else {
                        continue;
                    };
                    wanted.sent = served.number;
                    resources.push(Resource {
                        name: text.clone(),
                        version: served.number.to_string(),
                        resource: Some(any(served.bytes.reveal())),
                        ..Resource::default()
                    });
                }
            }
        }
        if resources.is_empty() && removed.is_empty() {
            return None;
        }
        Some(Response::Delta(DeltaDiscoveryResponse {
            resources,
            removed_resources: removed,
            type_url: type_url().to_owned(),
            nonce: self.nonce(),
            ..DeltaDiscoveryResponse::default()
        }))
    }

    fn nonce(&mut self) -> String {
        self.responses += 1;
        self.responses.to_string()
    }
}

fn any(bytes: &Bytes) -> Any {
    Any { type_url: type_url().to_owned(), value: bytes.clone() }
}
