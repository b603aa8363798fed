//! The state of a stream for people: `proxy-status`, debug pages, reports of refusals.
//!
//! Knows: what a stream was sent and answered. Must not know: how it is shown.

use std::time::Instant;

use meltemi_catalog::{Form, Generation, ResourceName};
use meltemi_names::{ObjectKey, TypeUrl, Version};

/// One stream, at one time.
#[derive(Clone, Debug)]
pub struct StreamStatus {
    /// `node.id`; empty before the first request.
    pub node_id: String,
    /// How it speaks.
    pub form: Form,
    /// Its first request.
    pub since: Option<Instant>,
    /// The generation of the view that it is served from.
    pub served: Generation,
    /// The last generation whose effects it has acknowledged, all of them.
    pub watermark: Generation,
    /// The types that it asked for, in push order.
    pub types: Vec<TypeStatus>,
}

/// One type on one stream.
#[derive(Clone, Debug)]
pub struct TypeStatus {
    /// The type.
    pub type_url: TypeUrl,
    /// All of them were asked for.
    pub wildcard: bool,
    /// How many names it may have.
    pub subscribed: usize,
    /// The nonce of the last response; none before the first.
    pub sent_nonce: Option<String>,
    /// The nonce of the last response that was accepted.
    pub acked_nonce: Option<String>,
    /// Names that are to be sent, or wait.
    pub due: usize,
    /// Responses that were not answered yet.
    pub unanswered: usize,
    /// Resources that this client refused; it keeps their last good versions.
    pub aside: Vec<ResourceName>,
    /// When the last response was made.
    pub sent_at: Option<Instant>,
    /// The generation of the last accepted response.
    pub acked: Option<Generation>,
    /// When it was accepted.
    pub acked_at: Option<Instant>,
    /// The last refusal, as long as something is refused.
    pub error: Option<Refusal>,
}

impl TypeStatus {
    /// Everything was sent and accepted.
    pub fn in_sync(&self) -> bool {
        self.due == 0 && self.unanswered == 0 && self.aside.is_empty()
    }
}

/// A response that a client refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its type.
    pub type_url: TypeUrl,
    /// It carried one resource only: that one is refused, and set aside for this client. Else it will be sent in halves.
    pub alone: bool,
    /// How many resources it carried.
    pub count: usize,
    /// Those, or the first [`Refusal::NAMES`] of them.
    pub resources: Vec<(ResourceName, Version)>,
    /// The user's objects that these were made from.
    pub origins: Vec<ObjectKey>,
    /// The client's gRPC code.
    pub code: i32,
    /// The client's words, cut to [`crate::Limits::error_bytes`].
    pub message: String,
    /// When it was refused.
    pub at: Instant,
}

impl Refusal {
    /// How many resources a report names.
    pub const NAMES: usize = 8;
}
