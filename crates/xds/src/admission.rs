//! First answers wait their turn, counted in bytes in flight: thousands of proxies that come at once get theirs one after
//! another, oldest first, while changes to settled streams pass by.
//!
//! A stream has several first answers, one for each type. Who has had one goes before who has had none: else all would get their
//! clusters before the first has its endpoints, and each would hold what it was sent until then.
//! Who does not take what he was admitted for gives up his place after [`PATIENCE`]: a few dozen stalled clients must not keep a mesh
//! waiting. What they hold up then is their socket, and bytes that others share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use crate::metrics::Room;

/// The room for first answers, or for clients that introduce themselves, shared by all streams of a server.
#[derive(Clone, Debug)]
pub struct Admission {
    room: Arc<Semaphore>,
    /// One of those that have had nothing stands in line for the room at a time; the others wait here.
    door: Arc<Semaphore>,
    /// In units.
    total: u32,
    metrics: Room,
}

/// How long one first answer may keep others waiting: what a client of 10 Mbit/s takes for one of 5 MB.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes in one permit: fine enough for the smallest answer that waits, coarse enough that 4 GiB fit the counter.
pub(crate) const UNIT: usize = 1024;

impl Admission {
    /// Room for `bytes` of first answers in flight. One larger than that waits until it is alone.
    pub(crate) fn new(bytes: usize, metrics: Room) -> Self {
        let total = bytes.div_ceil(UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize >> 1));
        Self {
            room: Arc::new(Semaphore::new(total)),
            door: Arc::new(Semaphore::new(1)),
            #[allow(clippy::cast_possible_truncation, reason = "clamped below u32::MAX")]
            total: total as u32,
            metrics,
        }
    }

    /// Waits for room; the semaphores are fair, so of two that have had a first answer, or of two that have not, who came first goes
    /// first.
    pub(crate) fn acquire(&self, bytes: usize, has_begun: bool) -> BoxFuture<'static, Option<Permit>> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.total);
        let (room, door) = (Arc::clone(&self.room), Arc::clone(&self.door));
        let waiting = Waiting::new(self.metrics.clone());
        let metrics = self.metrics.clone();
        Box::pin(async move {
            // Never closed; if they were, waiting for room that is not counted any more would be wrong.
            let at_door = if has_begun { None } else { door.acquire().await.ok() };
            let permit = room.acquire_many_owned(units).await.ok();
            drop((at_door, waiting));
            permit.map(|permit| Permit::new(permit, metrics))
        })
    }
}

/// Counted while it waits, also if it is dropped.
#[derive(Debug)]
struct Waiting(Room);

impl Waiting {
    fn new(metrics: Room) -> Self {
        metrics.waiting.inc();
        Self(metrics)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.dec();
    }
}

/// Room for one first answer, given back when dropped, or when its time is up.
#[derive(Debug)]
pub(crate) struct Permit {
    place: Arc<Mutex<Option<Place>>>,
    timer: AbortHandle,
}

impl Permit {
    fn new(permit: OwnedSemaphorePermit, metrics: Room) -> Self {
        let place = Arc::new(Mutex::new(Some(Place::new(permit, metrics))));
        let late = Arc::clone(&place);
        let timer = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            if let Some(place) = take(&late) {
                place.metrics.slow.inc();
            }
        });
        Self { place, timer: timer.abort_handle() }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.timer.abort();
        take(&self.place);
    }
}

fn take(place: &Mutex<Option<Place>>) -> Option<Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The room itself.
#[derive(Debug)]
struct Place {
    permit: OwnedSemaphorePermit,
    metrics: Room,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit, metrics: Room) -> Self {
        metrics.taken.inc_by(bytes_of(&permit));
        Self { permit, metrics }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.taken.dec_by(bytes_of(&self.permit));
    }
}

fn bytes_of(permit: &OwnedSemaphorePermit) -> i64 {
    i64::try_from(permit.num_permits() * UNIT).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::Admission;
    use crate::metrics::Room;

    #[tokio::test(start_paused = true)]
    async fn who_came_first_goes_first_and_room_is_given_back() {
        let metrics = Room::default();
        let admission = Admission::new(10 << 10, metrics.clone());
        let first = admission.acquire(8 << 10, false).now_or_never().flatten().expect("room");
        let mut large = admission.acquire(6 << 10, false);
        assert!((&mut large).now_or_never().is_none(), "not beside the first");
        let mut small = admission.acquire(1 << 10, false);
        assert!((&mut small).now_or_never().is_none(), "there is room, but it is not its turn");
        assert_eq!((metrics.waiting.get(), metrics.taken.get()), (2, 8 << 10));
        drop(first);
        let large = large.now_or_never().flatten().expect("its turn");
        let small = small.now_or_never().flatten().expect("fits beside it");
        assert_eq!((metrics.waiting.get(), metrics.taken.get()), (0, 7 << 10));
        drop((large, small));
        assert_eq!(metrics.taken.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_begun_goes_before_who_has_not() {
        let admission = Admission::new(4 << 10, Room::default());
        let held = admission.acquire(4 << 10, false).now_or_never().flatten().expect("room");
        let mut new: Vec<_> = (0..3).map(|_| admission.acquire(4 << 10, false)).collect();
        assert!(new.iter_mut().all(|new| new.now_or_never().is_none()));
        let mut begun = admission.acquire(4 << 10, true);
        assert!((&mut begun).now_or_never().is_none());
        drop(held);
        // The first of the new ones stood in line already; the others come after who has begun.
        let first = (&mut new[0]).now_or_never().flatten().expect("its turn");
        assert!((&mut new[1]).now_or_never().is_none() && (&mut begun).now_or_never().is_none());
        drop(first);
        assert!((&mut new[1]).now_or_never().is_none());
        let begun = begun.now_or_never().flatten().expect("before the others");
        drop(begun);
        assert!((&mut new[1]).now_or_never().flatten().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_take_his_answer_gives_up_his_place() {
        let metrics = Room::default();
        let admission = Admission::new(4 << 10, metrics.clone());
        let stalled = admission.acquire(4 << 10, false).await.expect("room");
        let before = tokio::time::Instant::now();
        let next = admission.acquire(4 << 10, false).await.expect("its turn");
        assert_eq!(before.elapsed(), super::PATIENCE);
        assert_eq!((metrics.slow.get(), metrics.taken.get()), (1, 4 << 10));
        drop(stalled);
        assert!(
            admission.acquire(1, false).now_or_never().is_none(),
            "what was given up is not given back again"
        );
        drop(next);
        assert_eq!((metrics.slow.get(), metrics.taken.get()), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_larger_than_all_room_goes_alone() {
        let admission = Admission::new(1 << 10, Room::default());
        let permit = admission.acquire(usize::MAX, false).now_or_never().flatten().expect("all of it");
        assert!(admission.acquire(1, false).now_or_never().is_none());
        drop(permit);
        assert!(admission.acquire(1, false).now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_while_waiting_leaves_the_line() {
        let metrics = Room::default();
        let admission = Admission::new(1 << 10, metrics.clone());
        let held = admission.acquire(1, false).now_or_never().flatten().expect("room");
        let mut gone = admission.acquire(1, false);
        let mut next = admission.acquire(1, false);
        assert!((&mut gone).now_or_never().is_none() && (&mut next).now_or_never().is_none());
        drop(gone);
        drop(held);
        assert!(next.now_or_never().is_some());
        assert_eq!(metrics.waiting.get(), 0);
    }
}
