//! Requests of both spellings, decoded and bounded: what strangers send becomes a value here or an error.
//!
//! Knows: `DiscoveryRequest` and `DeltaDiscoveryRequest`. Must not know: what a stream holds.
//! Invariant: a [`Request`] is within the [`Limits`].

mod names;
mod wire;

use meltemi_catalog::Form;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use meltemi_proto::google::rpc;
use prost::Message;

pub use self::names::{Held, NameList};
use self::wire::{Lists, take_lists};
use crate::limits::Limits;
use crate::machine::{Close, CloseCode};

/// The type of the health reports that Istio's agent sends upstream; they are never answered
/// (pkg/istio-agent/xds_proxy.go).
pub const HEALTH_TYPE: &str = "type.googleapis.com/istio.v1.HealthInformation";

/// Which resources a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A type that Meltemi serves.
    Known(TypeUrl),
    /// Any other: answered, with nothing.
    Unknown(String),
    /// A health report, which is no subscription.
    Health,
}

impl Subject {
    /// The type, as it stands on the wire; none for a health report.
    pub fn type_url(&self) -> Option<&str> {
        match self {
            Self::Known(type_url) => Some(type_url.as_str()),
            Self::Unknown(text) => Some(text),
            Self::Health => None,
        }
    }
}

/// The names in a request, in the spelling of its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Changes of the subscription.
    Delta {
        /// Wanted from now on (again).
        subscribe: NameList,
        /// Not wanted any more.
        unsubscribe: NameList,
        /// What the client still holds from another stream; only in the first request of a type.
        versions: Held,
    },
    /// The whole subscription.
    Sotw(NameList),
}

/// Why a client refused a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorDetail {
    /// A gRPC code.
    pub code: i32,
    /// Its words, cut to [`Limits::error_bytes`].
    pub message: String,
}

/// One request, in either spelling.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Who asks; on the first request of a stream only.
    pub node: Option<Box<Node>>,
    /// What it is about.
    pub subject: Subject,
    /// The response that it answers; empty for none.
    pub nonce: String,
    /// Set if it refuses that response.
    pub error: Option<ErrorDetail>,
    /// The names.
    pub names: Names,
}

impl Request {
    /// Takes a request off the wire.
    ///
    /// # Errors
    /// When it is no request, or a bound is exceeded: the stream must be closed, since a cut subscription would be a wrong one.
    pub fn read(form: Form, message: &[u8], limits: &Limits) -> Result<Self, Close> {
        let Lists { names, held, rest } = take_lists(message, form == Form::Delta);
        let unread =
            |error| Close::new(CloseCode::InvalidArgument, format!("not a discovery request: {error}"));
        match form {
            Form::Delta => {
                let rest = DeltaDiscoveryRequest::decode(&*rest).map_err(unread)?;
                Self::of_delta(rest, names, held, limits)
            }
            Form::Sotw => {
                let rest = DiscoveryRequest::decode(&*rest).map_err(unread)?;
                Self::of_sotw(rest, names, limits)
            }
        }
    }

    /// Takes a delta request that was decoded already.
    ///
    /// # Errors
    /// As [`Request::read`].
    pub fn delta(message: DeltaDiscoveryRequest, limits: &Limits) -> Result<Self, Close> {
        Self::of_delta(message, NameList::default(), Held::default(), limits)
    }

    /// Takes a state-of-the-world request that was decoded already.
    ///
    /// # Errors
    /// As [`Request::read`].
    pub fn sotw(message: DiscoveryRequest, limits: &Limits) -> Result<Self, Close> {
        Self::of_sotw(message, NameList::default(), limits)
    }

    /// `subscribe` and `versions` are what was taken off the wire before the message was decoded.
    fn of_delta(
        message: DeltaDiscoveryRequest,
        mut subscribe: NameList,
        mut versions: Held,
        limits: &Limits,
    ) -> Result<Self, Close> {
        message.resource_names_subscribe.iter().for_each(|name| subscribe.push(name));
        let rest = &message.initial_resource_versions;
        rest.iter().for_each(|(name, version)| versions.push(name, version));
        let unsubscribe: NameList = message.resource_names_unsubscribe.iter().collect();
        for list in [&subscribe, &unsubscribe, versions.names()] {
            check_names(list, limits)?;
        }
        Ok(Self {
            node: node(message.node, limits)?,
            subject: subject(message.type_url, limits)?,
            nonce: nonce(message.response_nonce)?,
            error: message.error_detail.map(|status| error(status, limits)),
            names: Names::Delta { subscribe, unsubscribe, versions },
        })
    }

    fn of_sotw(message: DiscoveryRequest, mut names: NameList, limits: &Limits) -> Result<Self, Close> {
        message.resource_names.iter().for_each(|name| names.push(name));
        check_names(&names, limits)?;
        Ok(Self {
            node: node(message.node, limits)?,
            subject: subject(message.type_url, limits)?,
            nonce: nonce(message.response_nonce)?,
            error: message.error_detail.map(|status| error(status, limits)),
            names: Names::Sotw(names),
        })
    }
}

fn subject(type_url: String, limits: &Limits) -> Result<Subject, Close> {
    if type_url.is_empty() {
        return Err(Close::new(CloseCode::InvalidArgument, "a request without type_url".to_owned()));
    }
    if type_url.len() > limits.name_bytes {
        return Err(Close::new(
            CloseCode::InvalidArgument,
            format!("a type_url of {} bytes; the bound is {}", type_url.len(), limits.name_bytes),
        ));
    }
    Ok(match TypeUrl::parse(&type_url) {
        Some(known) => Subject::Known(known),
        None if type_url == HEALTH_TYPE => Subject::Health,
        None => Subject::Unknown(type_url),
    })
}

fn node(node: Option<Node>, limits: &Limits) -> Result<Option<Box<Node>>, Close> {
    let Some(node) = node else { return Ok(None) };
    let bytes = node.encoded_len();
    if bytes > limits.node_bytes {
        return Err(Close::new(
            CloseCode::ResourceExhausted,
            format!("the node is {bytes} bytes; the bound is {}", limits.node_bytes),
        ));
    }
    Ok(Some(Box::new(node)))
}

/// A nonce is ours; a longer one than we ever write is a stranger's and only costs memory.
fn nonce(nonce: String) -> Result<String, Close> {
    if nonce.len() > 256 {
        return Err(Close::new(
            CloseCode::InvalidArgument,
            format!("a response_nonce of {} bytes", nonce.len()),
        ));
    }
    Ok(nonce)
}

fn error(status: rpc::Status, limits: &Limits) -> ErrorDetail {
    let mut message = status.message;
    if message.len() > limits.error_bytes {
        let mut end = limits.error_bytes;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.shrink_to_fit();
    }
    ErrorDetail { code: status.code, message }
}

fn check_names(names: &NameList, limits: &Limits) -> Result<(), Close> {
    if names.len() > limits.names {
        return Err(Close::new(
            CloseCode::ResourceExhausted,
            format!("{} resource names in one request; the bound is {}", names.len(), limits.names),
        ));
    }
    match names.iter().find(|name| name.len() > limits.name_bytes) {
        None => Ok(()),
        Some(name) => Err(Close::new(
            CloseCode::ResourceExhausted,
            format!("a resource name of {} bytes; the bound is {}", name.len(), limits.name_bytes),
        )),
    }
}
