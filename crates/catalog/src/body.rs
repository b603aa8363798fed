//! Encoded bytes in shared segments.

use bytes::Bytes;
use smallvec::SmallVec;

/// One encoded Protobuf message, in segments that other messages may share: a route configuration is its own head and
/// the virtual hosts' segments, since Protobuf's repeated fields concatenate.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Body {
    segments: SmallVec<[Bytes; 2]>,
    len: usize,
}

impl Body {
    /// No bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a segment by pointer; empty ones are dropped.
    pub fn push(&mut self, segment: Bytes) {
        if !segment.is_empty() {
            self.len += segment.len();
            self.segments.push(segment);
        }
    }

    /// Appends all segments of `other` by pointer.
    pub fn extend(&mut self, other: &Body) {
        for segment in &other.segments {
            self.push(segment.clone());
        }
    }

    /// The segments, in order.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    /// How many bytes in all segments together.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No bytes at all; the default value of a message encodes so.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All bytes in one piece, copied; for tests, debug pages and decoding, not for sending.
    pub fn to_vec(&self) -> Vec<u8> {
        self.segments.iter().flat_map(|segment| segment.iter().copied()).collect()
    }
}

/// Without the bytes: they may hold a key.
impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("len", &self.len).finish_non_exhaustive()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let mut body = Self::new();
        body.push(bytes);
        body
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::from(Bytes::from(bytes))
    }
}

/// Appends a Protobuf varint.
pub fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        #[allow(clippy::cast_possible_truncation, reason = "masked to seven bits")]
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    #[allow(clippy::cast_possible_truncation, reason = "below 0x80 after the loop")]
    out.push(value as u8);
}
