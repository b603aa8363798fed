//! Whether an object is in force: which proxies must have it, which have it, and what keeps the others. It can be asked, and waited for.
//!
//! Knows: what was read and published (`book`, written by the mesh's task), what each live stream has acknowledged. Must not know: what
//! an object means, who asks.   Start at [`Propagation::ask`]; `look` counts, `wait` waits, `mesh` asks the other replicas.
//! Invariants: never a yes that is not so: what is not known counts as not in force. Nothing is kept for a proxy and an object together: a
//! question costs a look at each stream, and at single resources only of those streams that have not acknowledged all of theirs.

mod answer;
mod ask;
mod book;
mod changes;
mod look;
mod mesh;
mod page;
mod peers;
mod record;
mod wait;

use std::sync::{Arc, Mutex, PoisonError};

use meltemi_names::{Kind, ObjectKey};
use tokio::sync::{Semaphore, watch};

pub use answer::{InForce, Lagging, ObjectName, Replica, State, Why};
pub use ask::{Ask, Scope, Want, content_of};
pub(crate) use book::Book;
pub use changes::Changes;
pub(crate) use page::in_force;
pub use page::{PATH, error_of, parse_duration, path};
pub use wait::Busy;

use crate::streams::Streams;
use look::Indexes;

/// How many may wait at a time: each costs a look at every stream whenever some stream moves. Delivery tools wait one at a time; what
/// asks for more than this is a mistake, and is told to come again.
const WAITERS: usize = 64;

/// Answers whether objects are in force. Shared by all who ask.
#[derive(Debug)]
pub struct Propagation {
    book: Arc<Book>,
    streams: Arc<Streams>,
    /// What was made from which object, by layer; made when it is first asked for.
    indexes: Mutex<Indexes>,
    ready: watch::Receiver<bool>,
    drained: watch::Receiver<bool>,
    peers: peers::Peers,
    waiters: Semaphore,
    cost: Mutex<Cost>,
}

/// What answers cost beyond a look at each stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Single resources that streams were asked about.
    pub resources: usize,
    /// Layers that were looked through for what was made from which object.
    pub layers: usize,
}

impl Propagation {
    pub(crate) fn new(
        book: Arc<Book>,
        streams: Arc<Streams>,
        ready: watch::Receiver<bool>,
        drained: watch::Receiver<bool>,
        fixed_peers: Vec<String>,
    ) -> Self {
        let peers = peers::Peers::new(fixed_peers, Arc::clone(&book));
        let waiters = Semaphore::new(WAITERS);
        Self {
            book,
            streams,
            indexes: Mutex::default(),
            ready,
            drained,
            peers,
            waiters,
            cost: Mutex::default(),
        }
    }

    /// The monitoring addresses of the other replicas, as they are known now.
    pub(crate) fn replicas(&self) -> Vec<String> {
        self.peers.addresses()
    }

    /// Where the object stands on this replica now: the latest state of it that was read.
    pub fn state(&self, object: &ObjectKey) -> InForce {
        let answer = self.evaluate(&Ask::latest(object.clone())).answer;
        self.book.looked_at(object, answer.state);
        answer
    }

    /// Follows what may have changed, for one who keeps something up to date with it; all objects to begin with. Only the latest who
    /// follows is told.
    pub fn changes(&self) -> Changes {
        Changes::new(Arc::clone(&self.book))
    }

    /// The work counted since the last call.
    pub fn take_cost(&self) -> Cost {
        std::mem::take(&mut self.cost.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note_cost(&self, found: &look::Found) {
        let mut cost = self.cost.lock().unwrap_or_else(PoisonError::into_inner);
        cost.resources += found.asked;
        cost.layers += found.searched;
    }

    /// Objects of that kind whose names are near.
    fn similar(&self, object: &ObjectKey) -> Option<ObjectKey> {
        let known = self.book.of_kind(object.kind);
        let (name, elsewhere) = (object.name.as_str(), |key: &&ObjectKey| key.name == object.name);
        let near = known
            .iter()
            .filter(|key| key.namespace == object.namespace)
            .map(|key| (strsim::damerau_levenshtein(name, key.name.as_str()), key))
            // A third of the letters may differ.
            .filter(|(distance, key)| distance * 3 <= key.name.as_str().len().max(3))
            .min();
        near.map(|(_, key)| key).or_else(|| known.iter().find(elsewhere)).cloned()
    }

    fn indexes<T>(&self, use_them: impl FnOnce(&mut Indexes) -> T) -> T {
        use_them(&mut self.indexes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Every kind that can be asked about, as it may be written.
///
/// # Errors
/// With what to write instead.
pub fn parse_kind(text: &str) -> Result<Kind, String> {
    Kind::parse(text).ok_or_else(|| {
        format!("`{text}` is no kind that Meltemi reads; write it as in `kind:`, as `virtualservice`, or short as `vs`")
    })
}
