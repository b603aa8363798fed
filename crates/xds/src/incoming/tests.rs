//! Frames wherever a body is cut, and what strangers send instead.

use std::collections::VecDeque;
use std::convert::Infallible;

use futures::{FutureExt, StreamExt};
use http_body::Frame;
use meltemi_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use prost::Message;
use tonic::Code;

use super::*;

/// A body in given pieces.
struct Pieces(VecDeque<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

fn room(streams: usize) -> Admission {
    Admission::new(streams * UNIT, crate::metrics::Room::default())
}

/// What becomes of a body in these pieces: the nonces read, and the code of the error that ended it.
async fn read(pieces: &[&[u8]], limit: usize) -> (Vec<String>, Option<Code>) {
    let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
    let mut incoming = Incoming::new(Pieces(pieces), limit, room(1));
    let mut nonces = Vec::new();
    while let Some(next) = incoming.next().await {
        match next {
            Ok(request) => nonces.push(DeltaDiscoveryRequest::decode(request).expect("whole").response_nonce),
            Err(status) => {
                assert!(incoming.next().await.is_none(), "nothing comes after an error");
                return (nonces, Some(status.code()));
            }
        }
    }
    (nonces, None)
}

fn framed(nonces: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for nonce in nonces {
        let request =
            DeltaDiscoveryRequest { response_nonce: (*nonce).to_owned(), ..DeltaDiscoveryRequest::default() };
        out.push(0);
        out.extend_from_slice(&u32::try_from(request.encoded_len()).unwrap().to_be_bytes());
        out.extend_from_slice(&request.encode_to_vec());
    }
    out
}

#[tokio::test]
async fn requests_come_out_whole_wherever_the_body_is_cut() {
    let nonces = ["first", "", "a third, longer one", "x"];
    let body = framed(&nonces);
    for cut in 0..=body.len() {
        for second in cut..=body.len() {
            let pieces = [&body[..cut], &body[cut..second], &body[second..]];
            let (read, error) = read(&pieces, 1 << 20).await;
            assert_eq!(
                (read, error),
                (nonces.map(str::to_owned).to_vec(), None),
                "cut at {cut} and {second}"
            );
        }
    }
}

#[tokio::test]
async fn nothing_is_kept_between_requests() {
    let body = framed(&["a long one, in two pieces", "short"]);
    let (front, back) = body.split_at(10);
    let pieces = [front, back].map(Bytes::copy_from_slice).into();
    let mut incoming = Incoming::new(Pieces(pieces), 1 << 20, room(1));
    for _ in 0..2 {
        incoming.next().await.unwrap().unwrap();
        assert_eq!(incoming.frames.partial.capacity(), 0);
    }
    assert!(incoming.next().await.is_none());
    assert!(incoming.frames.rest.is_empty());
}

#[tokio::test]
async fn what_is_no_request_ends_the_stream_and_says_why() {
    let good = framed(&["ok"]);
    let long = framed(&["longer than the bound"]);
    let compressed = [&[1][..], &good[1..]].concat();
    let flagged = [&[7][..], &good[1..]].concat();
    let ok = vec!["ok".to_owned()];
    assert_eq!(read(&[&good, &long], 10).await, (ok.clone(), Some(Code::OutOfRange)));
    assert_eq!(read(&[&good, &compressed], 99).await, (ok.clone(), Some(Code::Unimplemented)));
    assert_eq!(read(&[&flagged], 99).await, (vec![], Some(Code::Internal)));
    assert_eq!(read(&[&good, &good[..3]], 99).await, (ok, Some(Code::Internal)));
    // Announced and never sent: nothing was set aside for it.
    assert_eq!(read(&[&[0, 0, 0xff, 0xff, 0xff, 1]], 1 << 30).await, (vec![], Some(Code::Internal)));
}

#[tokio::test]
async fn a_first_request_waits_for_room_and_gives_it_back_when_it_was_dealt_with() {
    let room = room(1);
    let body = framed(&["first", "second"]);
    let stream = || Incoming::new(Pieces([Bytes::from(body.clone())].into()), 1 << 20, room.clone());
    let (mut one, mut other) = (stream(), stream());
    assert!(one.next().await.is_some());
    assert!(other.next().now_or_never().is_none(), "one at a time");
    assert!(one.next().await.is_some(), "the second request: the first was dealt with");
    assert!(other.next().now_or_never().flatten().is_some());
    drop(other);
    assert!(stream().next().now_or_never().flatten().is_some(), "who goes away gives his room back");
}
