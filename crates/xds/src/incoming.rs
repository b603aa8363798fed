//! The requests of one stream: gRPC's frames out of a request body.
//!
//! Knows: gRPC's framing. Must not know: what a request means.
//! tonic's own reader keeps, for as long as the stream lives, a buffer of the longest message that ever came: an Envoy's first request
//! for the endpoints of 1,000 services is 300 kB, its acknowledgements are 100 bytes, and 10,000 Envoys stay for days.
//! Invariant: between messages nothing is kept; memory grows with what has come, not with what was announced. Of a new stream no more
//! is taken than its first piece before it has room: what else it says stays with the client, by HTTP/2's window.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::Stream;
use futures::future::BoxFuture;
use tonic::Status;
use tonic::codegen::StdError;

use crate::admission::{Admission, Permit, UNIT};

/// Bytes before each message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// Takes a body apart into messages.
#[derive(Debug)]
struct Frames {
    /// The longest message taken.
    limit: usize,
    /// What came last and is not taken yet.
    rest: Bytes,
    /// A message of which a part has come, its head included.
    partial: Vec<u8>,
}

impl Frames {
    /// The next whole message; none until more has come.
    fn message(&mut self) -> Result<Option<Bytes>, Status> {
        if self.partial.is_empty() {
            if let Some(len) = self.length(&self.rest)?
                && self.rest.len() >= HEAD + len
            {
                self.rest.advance(HEAD);
                return Ok(Some(self.rest.split_to(len)));
            }
            if self.rest.is_empty() {
                // The chunk that it was a part of is let go.
                self.rest = Bytes::new();
                return Ok(None);
            }
        }
        // First the head, then all that it says.
        self.take(HEAD);
        let Some(len) = self.length(&self.partial)? else { return Ok(None) };
        self.take(HEAD + len);
        if self.partial.len() < HEAD + len {
            return Ok(None);
        }
        let mut message = Bytes::from(std::mem::take(&mut self.partial));
        message.advance(HEAD);
        Ok(Some(message))
    }

    /// Moves what has come to the message under way, until that has so many bytes.
    fn take(&mut self, until: usize) {
        let missing = until.saturating_sub(self.partial.len()).min(self.rest.len());
        self.partial.extend_from_slice(&self.rest.split_to(missing));
    }

    fn length(&self, bytes: &[u8]) -> Result<Option<usize>, Status> {
        let Some(&[flag, a, b, c, d]) = bytes.first_chunk::<HEAD>() else { return Ok(None) };
        match flag {
            0 => {}
            1 => return Err(Status::unimplemented("compressed requests are not taken")),
            _ => return Err(Status::internal(format!("{flag} is no flag of a gRPC message"))),
        }
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > self.limit {
            let message = format!("a request of {len} bytes; the bound is {}", self.limit);
            return Err(Status::out_of_range(message));
        }
        Ok(Some(len))
    }
}

/// The messages of a request body; it ends with the body, or after the first error.
pub(crate) struct Incoming<B> {
    /// None once it has ended.
    body: Option<Pin<Box<B>>>,
    frames: Frames,
    introduction: Introduction,
}

/// The first message of a stream: it is long where a client comes back with thousands of versions, thousands of clients may come back at
/// once, and each is kept until the directory has looked its client up.
enum Introduction {
    /// Nothing has come.
    Awaited(Admission),
    /// Something has; it waits for room.
    Waiting(BoxFuture<'static, Option<Permit>>),
    /// It is read, or looked at.
    Admitted { _permit: Option<Permit>, is_taken: bool },
    /// It was dealt with.
    Over,
}

impl<B> Incoming<B> {
    /// The messages of `body`, each of at most `limit` bytes; the first when `introductions` has room for it.
    pub(crate) fn new(body: B, limit: usize, introductions: Admission) -> Self {
        let frames = Frames { limit, rest: Bytes::new(), partial: Vec::new() };
        let introduction = Introduction::Awaited(introductions);
        Self { body: Some(Box::pin(body)), introduction, frames }
    }
}

impl<B> Incoming<B>
where
    B: http_body::Body,
    B::Error: Into<StdError>,
{
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if let Introduction::Admitted { is_taken: true, .. } = self.introduction {
            // Asked for the next one: the first was dealt with.
            self.introduction = Introduction::Over;
        }
        loop {
            if let Introduction::Waiting(room) = &mut self.introduction {
                let _permit = ready!(room.as_mut().poll(cx));
                self.introduction = Introduction::Admitted { _permit, is_taken: false };
            }
            if let Some(message) = self.frames.message()? {
                if let Introduction::Admitted { is_taken, .. } = &mut self.introduction {
                    *is_taken = true;
                }
                return Poll::Ready(Some(Ok(message)));
            }
            let Some(body) = &mut self.body else { return Poll::Ready(None) };
            match ready!(body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers of a client say nothing.
                    if let Ok(mut data) = frame.into_data() {
                        self.frames.rest = data.copy_to_bytes(data.remaining());
                        if let Introduction::Awaited(introductions) = &self.introduction {
                            self.introduction = Introduction::Waiting(introductions.acquire(UNIT, true));
                        }
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(error.into())))),
                None if self.frames.partial.is_empty() => return Poll::Ready(None),
                None => {
                    return Poll::Ready(Some(Err(Status::internal("the stream ended within a request"))));
                }
            }
        }
    }
}

impl<B> Stream for Incoming<B>
where
    B: http_body::Body,
    B::Error: Into<StdError>,
{
    type Item = Result<Bytes, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = ready!(this.poll_message(cx));
        if !matches!(next, Some(Ok(_))) {
            this.body = None;
            this.frames.rest = Bytes::new();
            this.frames.partial = Vec::new();
        }
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests;
