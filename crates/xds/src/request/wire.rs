//! The two long lists of a request, taken off the wire without an allocation for each name; the rest is left to prost.
//!
//! Knows: Protobuf's wire format, the numbers of two fields. Must not know: what the lists mean.
//! Invariant: what is not plainly an entry of one of the lists is left to prost, which decides whether it is right.

use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

use super::names::{Held, NameList};

/// `resource_names_subscribe` of a `DeltaDiscoveryRequest`, `resource_names` of a `DiscoveryRequest`.
const NAMES: u32 = 3;
/// `initial_resource_versions` of a `DeltaDiscoveryRequest`.
const VERSIONS: u32 = 5;

/// What [`take_lists`] found.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) names: NameList,
    pub(super) held: Held,
    /// The message without those.
    pub(super) rest: Vec<u8>,
}

/// Takes the lists out of an encoded request; `has_versions` says that it is a delta one.
pub(super) fn take_lists(message: &[u8], has_versions: bool) -> Lists {
    let mut lists = Lists::default();
    let mut left = message;
    while !left.is_empty() {
        let Some(Field { number, content, after }) = field(left) else {
            lists.rest.extend_from_slice(left);
            break;
        };
        let is_taken = match (number, content) {
            (NAMES, Some(name)) => take_name(name, &mut lists.names),
            (VERSIONS, Some(entry)) if has_versions => take_entry(entry, &mut lists.held),
            _ => false,
        };
        if !is_taken {
            lists.rest.extend_from_slice(&left[..left.len() - after.len()]);
        }
        left = after;
    }
    lists
}

fn take_name(name: &[u8], names: &mut NameList) -> bool {
    std::str::from_utf8(name).map(|name| names.push(name)).is_ok()
}

/// An entry of a map is a message of a key and a value, here both of text.
fn take_entry(entry: &[u8], held: &mut Held) -> bool {
    let Some(Field { number: KEY, content: Some(name), after }) = field(entry) else { return false };
    let Some(Field { number: VALUE, content: Some(version), after: [] }) = field(after) else { return false };
    match (std::str::from_utf8(name), std::str::from_utf8(version)) {
        (Ok(name), Ok(version)) => {
            held.push(name, version);
            true
        }
        _ => false,
    }
}

/// The fields of a map's entry.
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// A field, and what comes after it.
struct Field<'a> {
    number: u32,
    /// If it is of a length.
    content: Option<&'a [u8]>,
    after: &'a [u8],
}

/// The first field; none if prost cannot step over it.
fn field(mut bytes: &[u8]) -> Option<Field<'_>> {
    let (number, wire_type) = decode_key(&mut bytes).ok()?;
    if wire_type != WireType::LengthDelimited {
        skip_field(wire_type, number, &mut bytes, DecodeContext::default()).ok()?;
        return Some(Field { number, content: None, after: bytes });
    }
    let len = prost::decode_length_delimiter(&mut bytes).ok()?;
    let (content, after) = bytes.split_at_checked(len)?;
    Some(Field { number, content: Some(content), after })
}

#[cfg(test)]
mod tests;
