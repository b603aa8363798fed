//! Serves named, versioned bytes to xDS clients: subscriptions, order, ACK and NACK, delta and state of the world.
//!
//! Knows: the discovery protocol, and what `catalog` says of a resource (type, name, version, needs, parent). Must not
//! know: Istio, Kubernetes, what is inside a resource. The machine knows no socket and no clock either.
//! Start at [`machine::Machine`], then [`server::DiscoveryServer`].
//! Invariant: a resource waits for the ACK of what it refers to, or for that wait's limit; never longer, never for
//! another client. Nothing is queued between the view and the socket.

mod admission;
mod body;
mod flight;
mod incoming;
pub mod limits;
pub mod machine;
pub mod metrics;
mod missing;
mod nack;
mod order;
pub mod peer;
pub mod request;
pub mod response;
pub mod server;
pub mod status;
mod subscription;
mod watch;

pub use admission::Admission;
pub use limits::Limits;
pub use machine::standing::{Lack, Lacking};
pub use machine::{Close, CloseCode, Machine, Next};
pub use meltemi_catalog::Form;
pub use metrics::{Ended, Metrics};
pub use peer::{Connection, Directory, Page, Peer, StreamHandle, Watcher};
pub use request::Request;
pub use response::Response;
pub use server::{DiscoveryServer, Settings};
pub use status::{Refusal, StreamStatus, TypeStatus};
