//! Bodies of the proxy's answers: whole, or fed line by line.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio::task::yield_now;

/// Any of them.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Where the pieces of a fed body go; an error breaks the connection in the middle of the body.
pub(super) type Feed = mpsc::Sender<io::Result<Bytes>>;

/// Pieces under way between the feeder and the socket.
const UNDER_WAY: usize = 16;

/// One that is there already.
pub(super) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// One that is fed.
pub(super) fn fed() -> (Feed, Body) {
    let (feed, pieces) = mpsc::channel(UNDER_WAY);
    let frames = stream::unfold(pieces, async |mut pieces: mpsc::Receiver<io::Result<Bytes>>| {
        let piece = pieces.recv().await?;
        if piece.is_err() {
            // An error drops what the connection has not written yet; it writes when its body has nothing for it.
            yield_now().await;
        }
        Some((piece.map(Frame::data), pieces))
    });
    (feed, StreamBody::new(frames).boxed_unsync())
}
