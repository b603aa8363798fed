//! The requests of a delta sidecar as they go over the wire: gRPC's head and an encoded `DeltaDiscoveryRequest` each.
//!
//! Knows: the field numbers of that message. Must not know: what is asked, and why.
//! As messages, the requests of a reconnect would be 20,000 strings and a map, made for each sidecar on the cores that the server
//! needs; here names and versions are copied from where all sidecars share them.
//! Invariant: what prost reads of it is the message that says the same.

use bytes::{BufMut, BytesMut};
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::Node;
use prost::encoding::{self, WireType};

use crate::frames;

/// Fields of `envoy.service.discovery.v3.DeltaDiscoveryRequest`.
const NODE: u32 = 1;
const TYPE_URL: u32 = 2;
const SUBSCRIBE: u32 = 3;
const UNSUBSCRIBE: u32 = 4;
const INITIAL_VERSIONS: u32 = 5;
const NONCE: u32 = 6;

/// Of each entry of a map.
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// Requests, one after the other.
#[derive(Debug, Default)]
pub struct Requests(BytesMut);

/// One request under way.
#[derive(Debug)]
pub struct Request<'a>(&'a mut BytesMut);

impl Requests {
    /// Appends one of that type, with what `say` says in it.
    pub fn add(&mut self, kind: TypeUrl, say: impl FnOnce(&mut Request<'_>)) {
        frames::framed(&mut self.0, |out| {
            text(TYPE_URL, kind.as_str(), out);
            say(&mut Request(out));
        });
    }

    /// Their bytes.
    pub fn into_bytes(self) -> BytesMut {
        self.0
    }
}

impl Request<'_> {
    /// Who asks.
    pub fn node(&mut self, node: &Node) {
        encoding::message::encode(NODE, node, self.0);
    }

    /// Asks for that name.
    pub fn subscribe(&mut self, name: &str) {
        text(SUBSCRIBE, name, self.0);
    }

    /// Gives that name up.
    pub fn unsubscribe(&mut self, name: &str) {
        text(UNSUBSCRIBE, name, self.0);
    }

    /// Tells what is held, each as [`held`] has it.
    pub fn hold<'a>(&mut self, held: impl Iterator<Item = &'a [u8]>) {
        held.for_each(|entry| self.0.put_slice(entry));
    }

    /// Acknowledges the answer of that nonce.
    pub fn acknowledge(&mut self, nonce: &str) {
        text(NONCE, nonce, self.0);
    }
}

/// An entry of `initial_resource_versions`: that this version of this name is held.
pub fn held(name: &str, version: &str) -> Box<[u8]> {
    let mut entry = Vec::new();
    text(KEY, name, &mut entry);
    text(VALUE, version, &mut entry);
    let mut out = Vec::new();
    encoding::encode_key(INITIAL_VERSIONS, WireType::LengthDelimited, &mut out);
    encoding::encode_varint(entry.len() as u64, &mut out);
    out.extend(entry);
    out.into()
}

fn text(field: u32, text: &str, out: &mut impl BufMut) {
    encoding::encode_key(field, WireType::LengthDelimited, out);
    encoding::encode_varint(text.len() as u64, out);
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use meltemi_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
    use prost::Message as _;

    use super::*;
    use crate::frames::Frames;

    #[test]
    fn prost_reads_the_message_that_was_meant() {
        // Names on both sides of the lengths at which a length takes one more byte.
        let names: Vec<String> =
            [0, 1, 60, 61, 62, 63, 127, 128, 16_383, 16_384].map(|length| "x".repeat(length)).into();
        let node = Node { id: "sidecar~10.0.0.1~a.b~b.svc".to_owned(), ..Node::default() };
        let mut requests = Requests::default();
        let entries: Vec<Box<[u8]>> = names.iter().map(|name| held(name, "0123456789abcdef")).collect();
        requests.add(TypeUrl::Endpoint, |request| {
            request.node(&node);
            names.iter().for_each(|name| request.subscribe(name));
            request.unsubscribe("gone");
            request.hold(entries.iter().map(|entry| &**entry));
        });
        requests.add(TypeUrl::Cluster, |request| request.acknowledge("7"));

        let mut frames = Frames::default();
        frames.push(requests.into_bytes().freeze());
        let mut next =
            || frames.message().unwrap().map(|message| DeltaDiscoveryRequest::decode(message).unwrap());
        let versions: BTreeMap<String, String> =
            names.iter().map(|name| (name.clone(), "0123456789abcdef".to_owned())).collect();
        let meant = DeltaDiscoveryRequest {
            node: Some(node),
            type_url: TypeUrl::Endpoint.as_str().to_owned(),
            resource_names_subscribe: names.clone(),
            resource_names_unsubscribe: vec!["gone".to_owned()],
            initial_resource_versions: versions,
            ..DeltaDiscoveryRequest::default()
        };
        assert_eq!(next(), Some(meant));
        let acknowledgement = DeltaDiscoveryRequest {
            type_url: TypeUrl::Cluster.as_str().to_owned(),
            response_nonce: "7".to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        assert_eq!(next(), Some(acknowledgement));
        assert_eq!(next(), None);
    }
}
