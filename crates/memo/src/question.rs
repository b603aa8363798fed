//! What may be asked, and the erased form in which questions of all types live in one graph.

use std::any::{Any, TypeId};
use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::reader::Reader;

/// What answers are made from: named entries that change from one state to the next.
pub trait World: 'static {
    /// Names one entry. Every read of the world says which entry it read.
    type Entry: Clone + Eq + Hash + Debug + Send + Sync + 'static;
}

/// A pure question. Its value is its key: two equal questions are one, and are answered once.
pub trait Question: Clone + Eq + Hash + Debug + Send + Sync + 'static {
    /// What it reads.
    type World: World;
    /// What comes out. An equal answer is no change.
    type Answer: PartialEq + Send + Sync + 'static;
    /// What this kind of question is called in [`crate::Cost`].
    const NAME: &'static str;

    /// Makes the answer from entries and from other answers, all through `read`. Must depend on nothing else.
    fn answer(&self, read: &Reader<'_, Self::World>) -> Self::Answer;
}

/// An answer of any type.
pub(crate) type ErasedAnswer = Arc<dyn Any + Send + Sync>;

/// A question of any type.
pub(crate) trait Erased<W: World>: Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn make(&self, read: &Reader<'_, W>) -> ErasedAnswer;
    fn same_answer(&self, one: &ErasedAnswer, other: &ErasedAnswer) -> bool;
    fn as_any(&self) -> &dyn Any;
    fn equals(&self, other: &dyn Erased<W>) -> bool;
    fn feed(&self, hasher: &mut dyn Hasher);
}

impl<W: World, Q: Question<World = W>> Erased<W> for Q {
    fn name(&self) -> &'static str {
        Q::NAME
    }

    fn make(&self, read: &Reader<'_, W>) -> ErasedAnswer {
        Arc::new(self.answer(read))
    }

    fn same_answer(&self, one: &ErasedAnswer, other: &ErasedAnswer) -> bool {
        match (one.downcast_ref::<Q::Answer>(), other.downcast_ref::<Q::Answer>()) {
            (Some(one), Some(other)) => one == other,
            _ => false,
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn equals(&self, other: &dyn Erased<W>) -> bool {
        other.as_any().downcast_ref::<Q>() == Some(self)
    }

    fn feed(&self, mut hasher: &mut dyn Hasher) {
        TypeId::of::<Q>().hash(&mut hasher);
        self.hash(&mut hasher);
    }
}

/// The key of the table of questions: shared, compared by type and value.
#[derive(Debug)]
pub(crate) struct Key<W: World>(pub(crate) Arc<dyn Erased<W>>);

impl<W: World> Clone for Key<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: World> PartialEq for Key<W> {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(&*other.0)
    }
}

impl<W: World> Eq for Key<W> {}

impl<W: World> Hash for Key<W> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.feed(state);
    }
}
