//! Questions about a changing world, whose answers are remembered and made again only when something they read changed.
//!
//! Knows: who asked whom, and what each answer read. Must not know: Istio, Envoy, what a question means, the clock, other threads.
//! Start at [`Question`] (what is asked), [`Reader`] (how an answer reads, and thereby depends) and [`Memo::apply`] (what a change costs).
//! Invariants: after [`Memo::apply`] every kept answer equals the one made from scratch; an answer that comes out equal stops the
//! change there; the reverse index (from what was read to who read it) is made by reading and never kept by hand.

mod cost;
mod graph;
mod question;
mod reader;

pub use cost::Cost;
pub use graph::{Memo, NodeId};
pub use question::{Question, World};
pub use reader::Reader;

#[cfg(test)]
mod tests;
