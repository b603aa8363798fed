//! How an answer reads: every read is recorded, so that its change reaches the answer.

use std::cell::{Ref, RefCell};
use std::sync::Arc;

use crate::graph::{Memo, NodeId};
use crate::question::{Question, World};

/// What one answer read.
#[derive(Debug)]
pub(crate) struct Reads<E> {
    pub(crate) entries: Vec<E>,
    pub(crate) nodes: Vec<NodeId>,
}

impl<E> Default for Reads<E> {
    fn default() -> Self {
        Self { entries: Vec::new(), nodes: Vec::new() }
    }
}

/// Handed to [`Question::answer`]: the only way to the world, and to other answers.
#[derive(Debug)]
pub struct Reader<'a, W: World> {
    pub(crate) memo: &'a Memo<W>,
    pub(crate) world: &'a W,
    pub(crate) reads: RefCell<Reads<W::Entry>>,
}

impl<'a, W: World> Reader<'a, W> {
    pub(crate) fn new(memo: &'a Memo<W>, world: &'a W) -> Self {
        Self { memo, world, reads: RefCell::default() }
    }

    /// The world, for reading `entry` in it and nothing else. The crate that owns the world wraps this in functions that
    /// read just that; nobody else should call it.
    pub fn world_at(&self, entry: W::Entry) -> &'a W {
        self.reads.borrow_mut().entries.push(entry);
        self.memo.count_read();
        self.world
    }

    /// The answer to another question, remembered or made now.
    pub fn ask<Q: Question<World = W>>(&self, question: Q) -> Arc<Q::Answer> {
        self.ask_shared(&Arc::new(question))
    }

    /// [`Reader::ask`] for a question that others keep, too: it then exists once.
    pub fn ask_shared<Q: Question<World = W>>(&self, question: &Arc<Q>) -> Arc<Q::Answer> {
        let (node, answer) = self.memo.answer_for(question, self.world);
        self.reads.borrow_mut().nodes.push(node);
        answer
    }

    /// What was read so far, for tests of questions.
    pub fn entries_read(&self) -> Ref<'_, [W::Entry]> {
        Ref::map(self.reads.borrow(), |reads| reads.entries.as_slice())
    }
}
