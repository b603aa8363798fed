//! What each group of proxies has: layers of resources, their generations, and what is held back so that no working traffic breaks.
//!
//! Knows: which answers changed, and who holds what. Must not know: streams, sockets, the clock, what a resource means beyond what it
//! needs.   Start at [`Engine`].
//! Invariants: a layer is a function of the mesh, its key and what was in force before (the overlay); with nothing dangling it is a
//! function of mesh and key alone. What an applied batch costs is the size of what it changed.

mod assemble;
mod engine;
mod glimpse;
mod group;
mod hold;
mod intern;
pub mod origin;
mod quarantine;
mod trial;
mod withheld;

pub use engine::{Applied, Engine, LayerStep, Options, ProxyId};
pub use glimpse::Glimpse;
pub use group::Held;
pub use quarantine::Refused;
pub use trial::Trial;
pub use withheld::{Withheld, WithheldByLayer, Withholding};
