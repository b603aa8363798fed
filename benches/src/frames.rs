//! gRPC's framing: five bytes of head, then the message.
//!
//! Knows: bytes. Must not know: what a message says.

use anyhow::{Result, bail};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// Bytes before each message: a flag, and the length.
pub const HEAD: usize = 5;

/// The longest message taken, so that a broken server does not fill the memory: the whole of a very large mesh.
const LONGEST: usize = 1 << 30;

/// Takes a stream apart into messages. A message that comes in one piece is not copied.
#[derive(Debug, Default)]
pub struct Frames {
    /// The chunk under way, and what is left of it.
    rest: Bytes,
    /// A message of which a part has come, head included.
    partial: Vec<u8>,
}

impl Frames {
    /// Takes the next bytes; [`Frames::message`] must have given all messages of those before.
    pub fn push(&mut self, chunk: Bytes) {
        self.rest = chunk;
    }

    /// The next whole message.
    ///
    /// # Errors
    /// When the stream is compressed, or a message is beyond any bound.
    pub fn message(&mut self) -> Result<Option<Bytes>> {
        if self.partial.is_empty() {
            if let Some(len) = length(&self.rest)?
                && self.rest.len() >= HEAD + len
            {
                let mut message = self.rest.split_to(HEAD + len);
                return Ok(Some(message.split_off(HEAD)));
            }
            if self.rest.is_empty() {
                return Ok(None);
            }
        }
        // First the head, then all that it says.
        let missing = HEAD.saturating_sub(self.partial.len()).min(self.rest.len());
        self.partial.extend_from_slice(&self.rest.split_to(missing));
        let Some(len) = length(&self.partial)? else { return Ok(None) };
        let missing = (HEAD + len - self.partial.len()).min(self.rest.len());
        self.partial.reserve_exact(HEAD + len - self.partial.len());
        self.partial.extend_from_slice(&self.rest.split_to(missing));
        if self.partial.len() < HEAD + len {
            return Ok(None);
        }
        Ok(Some(Bytes::from(std::mem::take(&mut self.partial)).split_off(HEAD)))
    }
}

fn length(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(&[flag, a, b, c, d]) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if flag != 0 {
        bail!("the server compresses its answers, which was not asked for");
    }
    if len > LONGEST {
        bail!("the server announces a message of {len} bytes");
    }
    Ok(Some(len))
}

/// Appends a message with its head.
pub fn put(message: &impl Message, out: &mut BytesMut) {
    out.reserve(HEAD + message.encoded_len());
    framed(out, |out| {
        // It grows as it must.
        let _ = message.encode(out);
    });
}

/// Appends the message that `write` appends, with its head.
pub fn framed(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_bytes(0, HEAD);
    write(out);
    // A message of this process is far below 4 GiB.
    let len = u32::try_from(out.len() - start - HEAD).unwrap_or(u32::MAX);
    out[start + 1..start + HEAD].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(messages: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for message in messages {
            out.push(0);
            out.extend_from_slice(&(message.len() as u32).to_be_bytes());
            out.extend_from_slice(message);
        }
        out
    }

    #[test]
    fn messages_come_out_whole_wherever_the_stream_is_cut() {
        let messages: [&[u8]; 4] = [b"first", b"", b"a third, longer one", b"x"];
        let stream = framed(&messages);
        for cut in 0..=stream.len() {
            for second in cut..=stream.len() {
                let mut frames = Frames::default();
                let mut out = Vec::new();
                for part in [&stream[..cut], &stream[cut..second], &stream[second..]] {
                    frames.push(Bytes::copy_from_slice(part));
                    while let Some(message) = frames.message().unwrap() {
                        out.push(message);
                    }
                }
                assert_eq!(out, messages, "cut at {cut} and {second}");
            }
        }
    }

    #[test]
    fn a_compressed_message_is_refused() {
        let mut frames = Frames::default();
        frames.push(Bytes::from_static(&[1, 0, 0, 0, 0]));
        assert!(frames.message().is_err());
    }
}
