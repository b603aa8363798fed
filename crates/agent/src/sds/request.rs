//! A client's message in one form, whichever spelling of the protocol it came in, within bounds.
//!
//! Start at [`Request`].

use std::collections::BTreeSet;

use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};

use super::machine::Close;

/// The longest message that is read.
pub const MAX_MESSAGE_BYTES: usize = 256 << 10;

/// The longest name that is taken: two paths of Linux.
pub const MAX_NAME_BYTES: usize = 2 * 4096 + 32;

/// The most names of one stream; Envoy asks for each on a stream of its own.
pub const MAX_NAMES: usize = 256;

const TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// What a client says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// State of the world: all names. Delta: names that come on top.
    pub names: BTreeSet<String>,
    /// Delta: names that are no longer wanted.
    pub dropped: BTreeSet<String>,
    /// Which response it answers; empty for none.
    pub nonce: String,
    /// Why that response was refused, if it was.
    pub refusal: Option<String>,
}

impl Request {
    /// Reads a message of the state-of-the-world spelling.
    ///
    /// # Errors
    /// When it is for another type, or beyond a bound.
    pub fn sotw(message: DiscoveryRequest) -> Result<Self, Close> {
        checked(&message.type_url, message.resource_names.len(), message.resource_names.iter())?;
        Ok(Self {
            names: message.resource_names.into_iter().collect(),
            dropped: BTreeSet::new(),
            nonce: message.response_nonce,
            refusal: message.error_detail.map(|status| status.message),
        })
    }

    /// Reads a message of the delta spelling. What the client says it holds already is sent again: it is one secret.
    ///
    /// # Errors
    /// When it is for another type, or beyond a bound.
    pub fn delta(message: DeltaDiscoveryRequest) -> Result<Self, Close> {
        let (added, removed) = (&message.resource_names_subscribe, &message.resource_names_unsubscribe);
        checked(&message.type_url, added.len() + removed.len(), added.iter().chain(removed))?;
        Ok(Self {
            names: message.resource_names_subscribe.into_iter().collect(),
            dropped: message.resource_names_unsubscribe.into_iter().collect(),
            nonce: message.response_nonce,
            refusal: message.error_detail.map(|status| status.message),
        })
    }
}

fn checked<'a>(
    type_url: &str,
    count: usize,
    mut names: impl Iterator<Item = &'a String>,
) -> Result<(), Close> {
    // Envoy leaves the type out where the method says it.
    if !type_url.is_empty() && type_url != TYPE {
        return Err(Close::Invalid("only secrets are served here".to_owned()));
    }
    if count > MAX_NAMES {
        return Err(Close::Exhausted(format!("{count} names in a request, and {MAX_NAMES} are the most")));
    }
    if names.any(|name| name.len() > MAX_NAME_BYTES) {
        return Err(Close::Invalid(format!("a name is longer than {MAX_NAME_BYTES} bytes")));
    }
    Ok(())
}

pub(super) const fn type_url() -> &'static str {
    TYPE
}
