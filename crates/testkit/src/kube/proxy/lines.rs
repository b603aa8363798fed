//! A watch on its way through the proxy: its events, one line each, with what is set for it.

use std::io;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::answer;
use super::body::Feed;
use super::rules::{Fault, Live, Order, Rule};

/// Events that wait for their time, where they are delayed or held; beyond that the API server waits.
const WAITING: usize = 4096;

/// Passes events on until either side ends, or an order ends it. `Live` is over then.
pub(super) async fn pass(from: Incoming, feed: Feed, mut rule: Rule, _live: Live) {
    let (arrived, mut events) = mpsc::channel(WAITING);
    // Read apart, so that each is delayed from its own arrival and not from the end of the delay before.
    let mut reader = JoinSet::new();
    reader.spawn(read(from, arrived));
    let mut orders = rule.clone();
    loop {
        tokio::select! {
            // Before the next event: what comes after an order does not come.
            biased;
            order = orders.order() => return obey(order, &feed).await,
            () = feed.closed() => return,
            delivered = next(&mut events, &feed, &mut rule) => {
                if delivered.is_none() {
                    return;
                }
            }
        }
    }
}

async fn obey(order: Order, feed: &Feed) {
    let last = match order {
        Order::Cut => Err(io::Error::other("cut by the test")),
        Order::Expire => Ok(answer::gone()),
        Order::End => return,
    };
    // A client that has gone needs to be told nothing.
    drop(feed.send(last).await);
}

/// Takes the next event and delivers it; none when that was the last.
async fn next(
    events: &mut mpsc::Receiver<(Instant, io::Result<Bytes>)>,
    feed: &Feed,
    rule: &mut Rule,
) -> Option<()> {
    let (arrival, line) = events.recv().await?;
    rule.released().await;
    let mut line = match line {
        Ok(line) => line,
        Err(error) => {
            drop(feed.send(Err(error)).await);
            return None;
        }
    };
    let mut times = 1;
    for fault in rule.faults() {
        match fault {
            // The delay is the fault itself.
            Fault::Delay(duration) => sleep_until(arrival + duration).await,
            Fault::Duplicate => times = 2,
            Fault::Garble(name) => line = answer::garbled_event(&line, &name),
            Fault::Truncate => {
                feed.send(Ok(line.slice(..line.len() / 2))).await.ok()?;
                drop(feed.send(Err(io::Error::other("truncated by the test"))).await);
                return None;
            }
            Fault::Hold | Fault::Status(_) | Fault::WatchStatus(_) | Fault::WatchGone | Fault::Answer(_) => {}
        }
    }
    for _ in 0..times {
        feed.send(Ok(line.clone())).await.ok()?;
    }
    Some(())
}

/// Reads lines, each with its end, as they come; the last thing is an error if the stream broke.
async fn read(mut from: Incoming, arrived: mpsc::Sender<(Instant, io::Result<Bytes>)>) {
    let mut buffer = BytesMut::new();
    while let Some(frame) = from.frame().await {
        let data = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) => {
                drop(arrived.send((Instant::now(), Err(io::Error::other(error)))).await);
                return;
            }
        };
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(end + 1).freeze();
            if arrived.send((Instant::now(), Ok(line))).await.is_err() {
                return;
            }
        }
    }
}
