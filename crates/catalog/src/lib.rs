//! Named, versioned bytes with generations: what `views` fills and `xds` sends.
//!
//! Knows: names, versions, bytes, and what refers to what. Must not know: Istio, Envoy's messages, streams, the clock.
//! Start at [`View`], which is what one client may have, and [`Resource`], which exists once however many clients hold it.
//! Invariant: everything here is immutable once published; the next state shares all that did not change.

mod body;
mod derived;
mod form;
mod layer;
mod resource;
mod view;

pub use body::{Body, varint};
pub use derived::{Parts, Run, Summary};
pub use form::Form;
pub use layer::{Change, Generation, Layer, LayerBuilder, LayerId, Live};
pub use resource::{Need, Resource, ResourceName};
pub use view::{Position, View};
