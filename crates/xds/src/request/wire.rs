//! The two long lists of a request, taken off the wire without an allocation for each name; the rest is left to prost.
//!
//! Knows: Protobuf's wire format, the numbers of two fields. Must not know: what the lists mean.
//! Invariant: what is not plainly an entry of one of the lists is left to prost, which decides whether it is right.

use super::names::{Held, NameList};

/// `resource_names_subscribe` of a `DeltaDiscoveryRequest`, `resource_names` of a `DiscoveryRequest`.
const NAMES: u64 = 3;
/// `initial_resource_versions` of a `DeltaDiscoveryRequest`.
const VERSIONS: u64 = 5;

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
        let Some(Field { tag, content, after }) = field(left) else {
            // A group, or no Protobuf at all.
            lists.rest.extend_from_slice(left);
            break;
        };
        let is_taken = match (tag >> 3, content) {
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
    let Some(Field { tag: KEY, content: Some(name), after }) = field(entry) else { return false };
    let Some(Field { tag: VALUE, content: Some(version), after: [] }) = field(after) else { return false };
    match (std::str::from_utf8(name), std::str::from_utf8(version)) {
        (Ok(name), Ok(version)) => {
            held.push(name, version);
            true
        }
        _ => false,
    }
}

/// The tags of a map entry's fields: their numbers, and that they are of a length.
const KEY: u64 = 1 << 3 | 2;
const VALUE: u64 = 2 << 3 | 2;

/// A field, and what comes after it.
struct Field<'a> {
    tag: u64,
    /// If it is of a length.
    content: Option<&'a [u8]>,
    after: &'a [u8],
}

/// The first field; none if it is none that this file knows to step over.
fn field(bytes: &[u8]) -> Option<Field<'_>> {
    let (tag, bytes) = varint(bytes)?;
    let (content, after) = match tag & 7 {
        0 => (None, varint(bytes)?.1),
        1 => (None, bytes.get(8..)?),
        2 => {
            let (len, bytes) = varint(bytes)?;
            let (content, after) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
            (Some(content), after)
        }
        5 => (None, bytes.get(4..)?),
        _ => return None,
    };
    Some(Field { tag, content, after })
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (position, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[position + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests;
