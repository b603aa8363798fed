//! Messages into resources: bytes, version, what is needed, what it was made from.

use std::sync::Arc;

use bytes::Bytes;
use meltemi_catalog::{Body, Need, Resource, ResourceName, varint};
use meltemi_names::{ObjectKey, TypeUrl, Version};
use prost::Message;

/// A resource of one encoded message. The version is a hash of its bytes.
pub fn whole<M: Message>(
    type_url: TypeUrl,
    name: ResourceName,
    message: &M,
    needs: Vec<Need>,
    origin: Vec<ObjectKey>,
) -> Arc<Resource> {
    let bytes = message.encode_to_vec();
    let version = Version::of(&bytes);
    Arc::new(Resource::new(type_url, name, version, bytes.into()).needing(needs).made_from(origin))
}

/// An encoded piece of a message that other messages take in by pointer, with its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The bytes: fields of the message that the piece belongs to.
    pub bytes: Bytes,
    /// Their hash.
    pub version: Version,
}

impl Piece {
    /// The fields that are set in `message`, as a piece of a message of the same type.
    pub fn of<M: Message>(message: &M) -> Self {
        Self::from_bytes(message.encode_to_vec().into())
    }

    /// A piece of these bytes.
    pub fn from_bytes(bytes: Bytes) -> Self {
        let version = Version::of(&bytes);
        Self { bytes, version }
    }

    /// `message` as one value of the repeated or singular message field `field`.
    pub fn field<M: Message>(field: u64, message: &M) -> Self {
        let inner = message.encode_to_vec();
        let mut bytes = Vec::with_capacity(inner.len() + 8);
        field_head(field, inner.len(), &mut bytes);
        bytes.extend_from_slice(&inner);
        Self::from_bytes(bytes.into())
    }
}

/// The tag and length of a length-delimited field of `len` bytes.
pub fn field_head(field: u64, len: usize, out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(len as u64, out);
}

/// A message assembled from pieces: Protobuf's repeated fields concatenate, and so do disjoint fields. The version is a hash of the
/// pieces' hashes.
pub fn assembled<'a>(pieces: impl IntoIterator<Item = &'a Piece>) -> (Body, Version) {
    let mut body = Body::new();
    let mut versions = Vec::new();
    for piece in pieces {
        body.push(piece.bytes.clone());
        versions.push(piece.version);
    }
    (body, Version::of_parts(versions))
}
