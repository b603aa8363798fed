//! The one task of this replica that reads and replaces what signs, and what others ask of it.
//!
//! Start at [`Keeper::start`]; the loop is in [`task`].
//! Invariant: the state is replaced by compare-and-set, and what this replica goes by is what was last read or kept.

mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use meltemi_ca::rotate::Waiting;
use meltemi_ca::server::Reserve;
use meltemi_ca::{Authority, SignerId, Time};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

pub(super) use self::task::Task;
use super::standing::Standing;
use crate::wire::Failure;

/// How many may wait for the task; in a storm the first who is answered has reserved for all of them.
const WISHES: usize = 64;

/// What the task is asked for.
#[derive(Debug)]
enum Wish {
    /// That certificates of this signer may end so late.
    Reserve { signer: SignerId, not_after: Time, reply: oneshot::Sender<Result<(), String>> },
    /// That a change of what signs begins.
    Begin { reply: oneshot::Sender<Result<(), String>> },
    /// What a forced step would not wait for, and the revision at which that is so.
    Preview { reply: oneshot::Sender<Result<(u64, Waiting), String>> },
    /// That the step is done whatever it waits for, if the state is still that one.
    Force { revision: u64, reply: oneshot::Sender<Result<(), String>> },
}

/// Asks the task.
#[derive(Debug)]
pub(crate) struct Keeper {
    wishes: mpsc::Sender<Wish>,
    standing: watch::Receiver<Option<Arc<Standing>>>,
    authority: watch::Receiver<Option<Arc<Authority>>>,
    roots: watch::Receiver<Arc<str>>,
}

/// What the task tells.
struct Outlets {
    standing: watch::Sender<Option<Arc<Standing>>>,
    authority: watch::Sender<Option<Arc<Authority>>>,
    roots: watch::Sender<Arc<str>>,
}

impl Keeper {
    /// Starts the task among `tasks`.
    pub(super) fn start(
        task: Task,
        stopped: watch::Receiver<bool>,
        tasks: &mut JoinSet<Result<(), Failure>>,
    ) -> Arc<Self> {
        let (wish_sender, wishes) = mpsc::channel(WISHES);
        let (standing_sender, standing) = watch::channel(None);
        let (authority_sender, authority) = watch::channel(None);
        let (roots_sender, roots) = watch::channel(Arc::from(""));
        let outlets = Outlets { standing: standing_sender, authority: authority_sender, roots: roots_sender };
        tasks.spawn(task::run(task, wishes, outlets, stopped).map(|()| Ok(())));
        Arc::new(Self { wishes: wish_sender, standing, authority, roots })
    }

    /// What signs.
    pub(crate) fn authority(&self) -> watch::Receiver<Option<Arc<Authority>>> {
        self.authority.clone()
    }

    /// What workloads trust, PEM; empty until it is known.
    pub(crate) fn roots(&self) -> watch::Receiver<Arc<str>> {
        self.roots.clone()
    }

    /// All that this replica goes by.
    pub(crate) fn standing(&self) -> watch::Receiver<Option<Arc<Standing>>> {
        self.standing.clone()
    }

    /// Begins a change of what signs.
    pub(crate) async fn begin(&self) -> Result<(), String> {
        self.ask(|reply| Wish::Begin { reply }).await
    }

    /// What a forced step would not wait for.
    pub(crate) async fn preview(&self) -> Result<(u64, Waiting), String> {
        self.ask(|reply| Wish::Preview { reply }).await
    }

    /// Does the step that was looked at by [`Keeper::preview`].
    pub(crate) async fn force(&self, revision: u64) -> Result<(), String> {
        self.ask(|reply| Wish::Force { revision, reply }).await
    }

    async fn ask<T>(
        &self,
        wish: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Wish,
    ) -> Result<T, String> {
        let stopping = || "this replica stops".to_owned();
        let (reply, answer) = oneshot::channel();
        self.wishes.send(wish(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

impl Reserve for Keeper {
    /// What was reserved before is answered here: it stays waited for, whoever changes the state meanwhile.
    fn reserve<'a>(&'a self, authority: &'a Authority, not_after: Time) -> BoxFuture<'a, Result<(), String>> {
        async move {
            let until = self
                .standing
                .borrow()
                .as_ref()
                .and_then(|standing| standing.kept.rotation.signed_until(authority.id()));
            if until.is_some_and(|until| not_after <= until) {
                return Ok(());
            }
            let signer = authority.id().clone();
            self.ask(|reply| Wish::Reserve { signer, not_after, reply }).await
        }
        .boxed()
    }
}
