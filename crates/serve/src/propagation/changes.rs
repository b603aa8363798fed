//! What may have changed, for one who keeps something up to date with it: the writer of the objects' status.
//!
//! Invariants: coalesced, by object, so that who is slow gets fewer and larger sets; bounded by the number of objects. A proxy that
//! connects is no change: what was in force is not out of force for the second that its first answers take.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_names::ObjectKey;
use tokio::sync::watch;

use super::Book;

/// Follows the objects whose state may have changed, until it is dropped.
#[derive(Debug)]
pub struct Changes {
    book: Arc<Book>,
    number: u64,
    pulse: watch::Receiver<u64>,
}

impl Changes {
    pub(super) fn new(book: Arc<Book>) -> Self {
        let (number, pulse) = (book.follow(), book.pulse());
        Self { book, number, pulse }
    }

    /// Waits until there is something to take. Cancel safe. Never returns once another follows instead.
    pub async fn changed(&mut self) {
        loop {
            self.pulse.mark_unchanged();
            if self.book.has_changed(self.number) {
                return;
            }
            if self.pulse.changed().await.is_err() {
                // The book is kept by this very value.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The objects whose state may have changed since this was last called. One that is taken and found not to be in force
    /// ([`super::Propagation::state`]) is told of again when a proxy moves.
    pub fn take(&mut self) -> BTreeSet<ObjectKey> {
        self.book.take_changed(self.number)
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.book.unfollow(self.number);
    }
}
