//! The requests that pass the sidecar all the while, told apart by the step whose routing answered them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use meltemi_testkit::http::{Answer, Connect, Load, Request, Running, Tally};

/// The header that the routing of each step sets to a word of its own.
pub(crate) const MARK: &str = "x-step";

/// The host that is asked for.
pub(crate) const HOST: &str = "myapp";

/// Workers that send, and the least time between two requests of each: 2,000 requests a second at most.
const WORKERS: usize = 4;
const PACE: Duration = Duration::from_millis(2);

/// The load; dropping it stops it.
pub(crate) struct Traffic {
    load: Running,
    seen: Arc<Mutex<Seen>>,
}

/// What was answered since the last [`Traffic::begin`].
#[derive(Default)]
struct Seen {
    old: Tally,
    new: Tally,
    /// The word of the routing that is new.
    mark: String,
    first_new: Option<Instant>,
    last_old: Option<Instant>,
    /// An answer by the old routing to a request that was sent when the new one had answered already.
    late: Option<Duration>,
}

/// When the change showed.
pub(crate) struct Switch {
    /// The first answer by the new routing.
    pub(crate) first_new: Instant,
    /// The last answer by the old one, if there was any.
    pub(crate) last_old: Option<Instant>,
}

impl Traffic {
    /// Requests from the place of `connect` to the service at `address`, until it is dropped or stopped.
    pub(crate) fn start(connect: Connect, address: SocketAddr) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = Arc::clone(&seen);
        let load = Load::new(address, Request::get("/").host(HOST))
            .through(connect)
            .workers(WORKERS)
            .pace(PACE)
            .showing(move |answer| lock(&noted).note(answer, Instant::now()))
            .start();
        Self { load, seen }
    }

    /// From now on, answers with `mark` are the new ones.
    pub(crate) fn begin(&self, mark: &str) {
        *lock(&self.seen) = Seen { mark: mark.to_owned(), ..Seen::default() };
    }

    /// The answers of the new routing.
    pub(crate) fn new_ones(&self) -> Tally {
        lock(&self.seen).new.clone()
    }

    /// The answers of the old routing.
    pub(crate) fn old_ones(&self) -> Tally {
        lock(&self.seen).old.clone()
    }

    /// When the new routing took over; none where it did not.
    ///
    /// # Errors
    /// When the old one answered a request that was sent after that.
    pub(crate) fn switch(&self) -> Result<Option<Switch>> {
        let seen = lock(&self.seen);
        if let Some(late) = seen.late {
            bail!(
                "a request that was sent {late:?} after the first answer by the new routing went the old way"
            );
        }
        Ok(seen.first_new.map(|first_new| Switch { first_new, last_old: seen.last_old }))
    }

    /// Everything that was met since the last such call.
    pub(crate) fn take(&self) -> Tally {
        self.load.take()
    }

    /// Lets the requests under way end, and returns what was met since the last [`Traffic::take`].
    pub(crate) async fn stop(self) -> Tally {
        self.load.stop().await
    }
}

impl Seen {
    fn note(&mut self, answer: &Answer, now: Instant) {
        // What no app answered has no routing's word: the tally of all requests has it.
        if answer.header(MARK).unwrap_or_default() == self.mark {
            self.first_new.get_or_insert(now);
            self.new.answer(answer);
        } else {
            self.last_old = Some(now);
            self.old.answer(answer);
            let sent = now.checked_sub(answer.took);
            if let (Some(first), Some(sent)) = (self.first_new, sent)
                && sent > first
            {
                self.late = Some(sent - first);
            }
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
