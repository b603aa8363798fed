//! A response as it goes to the wire: a small head of its own, then segments that other streams share.
//!
//! Knows: the fields of `DiscoveryResponse` and `DeltaDiscoveryResponse`. Must not know: why a resource is in it.
//! Invariant: the segments in order are exactly one encoded message; no resource is copied to make it.

use std::sync::Arc;

use bytes::Bytes;
use meltemi_catalog::{Form, Resource, ResourceName, Run};
use meltemi_names::TypeUrl;
use meltemi_proto::google::protobuf::Any;
use prost::Message;

use crate::missing::{bytes_field, text_field};

/// One response, encoded.
#[derive(Debug)]
pub struct Response {
    /// Its type; none for one that Meltemi does not serve.
    pub type_url: Option<TypeUrl>,
    /// Its nonce.
    pub nonce: String,
    /// How many resources it carries.
    pub resources: usize,
    /// How many names it removes.
    pub removed: usize,
    /// Whether it is the first answer for its type on this stream, which is large and waits for a permit.
    pub first: bool,
    segments: Vec<Bytes>,
    /// What of the segments is shared, kept for the next stream that sends the same.
    _runs: Vec<Arc<Run>>,
    len: usize,
}

impl Response {
    /// The encoded message, in order.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// Bytes of the encoded message.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: a response has at least its type and nonce.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Assembles one response.
#[derive(Debug)]
pub(crate) struct Assembly {
    form: Form,
    segments: Vec<Bytes>,
    runs: Vec<Arc<Run>>,
    len: usize,
    resources: usize,
    removed: Vec<ResourceName>,
}

impl Assembly {
    pub(crate) fn new(form: Form, capacity: usize) -> Self {
        let mut segments = Vec::with_capacity(1 + 2 * capacity);
        // Its own head, known only at the end.
        segments.push(Bytes::new());
        Self { form, segments, runs: Vec::new(), len: 0, resources: 0, removed: Vec::new() }
    }

    /// Appends a resource by pointer.
    pub(crate) fn put(&mut self, resource: &Arc<Resource>) {
        let head = resource.head(self.form);
        self.len += head.len() + resource.body().len();
        self.resources += 1;
        self.segments.push(head.clone());
        self.segments.extend(resource.body().segments().iter().cloned());
    }

    /// Appends so many resources in a row by pointer.
    pub(crate) fn put_run(&mut self, run: Arc<Run>, resources: usize) {
        self.len += run.len();
        self.resources += resources;
        self.segments.extend(run.chunks().iter().cloned());
        self.runs.push(run);
    }

    /// Appends what is no resource of a view.
    pub(crate) fn put_page(&mut self, name: &str, content: &Any) {
        let content = content.encode_to_vec();
        let mut out = Vec::with_capacity(content.len() + name.len() + 16);
        match self.form {
            Form::Sotw => bytes_field(2, &content, &mut out),
            Form::Delta => {
                let mut resource = Vec::with_capacity(content.len() + name.len() + 8);
                bytes_field(2, &content, &mut resource);
                text_field(3, name, &mut resource);
                bytes_field(2, &resource, &mut out);
            }
        }
        self.resources += 1;
        self.len += out.len();
        self.segments.push(out.into());
    }

    /// Says who answers; nothing for an empty name.
    pub(crate) fn say_who(&mut self, identifier: &str) {
        if identifier.is_empty() {
            return;
        }
        let (mut who, mut out) = (Vec::new(), Vec::new());
        text_field(1, identifier, &mut who);
        let field = match self.form {
            Form::Sotw => 6,
            Form::Delta => 7,
        };
        bytes_field(field, &who, &mut out);
        self.len += out.len();
        self.segments.push(out.into());
    }

    /// Tells a name as removed; state of the world has no words for that.
    pub(crate) fn remove(&mut self, name: &ResourceName) {
        if self.form == Form::Delta {
            self.removed.push(name.clone());
        }
    }

    /// The finished message. `version` says which state of the server it is from.
    pub(crate) fn finish(
        mut self,
        type_url: Option<TypeUrl>,
        type_text: &str,
        version: &str,
        nonce: String,
        first: bool,
    ) -> Response {
        let mut head = Vec::with_capacity(128 + self.removed.len() * 64);
        // Both messages have version, type and nonce in fields 1, 4 and 5. A decoder takes fields in any order.
        text_field(1, version, &mut head);
        text_field(4, type_text, &mut head);
        text_field(5, &nonce, &mut head);
        for name in &self.removed {
            text_field(6, name.as_str(), &mut head);
        }
        let len = self.len + head.len();
        self.segments[0] = Bytes::from(head);
        Response {
            type_url,
            nonce,
            resources: self.resources,
            removed: self.removed.len(),
            first,
            segments: self.segments,
            _runs: self.runs,
            len,
        }
    }
}
