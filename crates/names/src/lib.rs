//! The words that every crate shares: parsed once, then typed.
//!
//! Knows: what a host, a port, a namespace, a label set, an identity or a version is. Must not know: YAML, Kubernetes
//! clients, Envoy's messages.   Start at [`Host`], [`ObjectKey`] and [`Version`].
//! Invariant: a value of one of these types is well formed; it was made by parsing, or by a constructor that says why it cannot fail.

mod host;
mod labels;
mod locality;
mod meta;
mod port;
mod secret;
mod spiffe;
mod text;
mod type_url;
mod version;

pub use host::{Host, HostError};
pub use labels::{Labels, Selector};
pub use locality::Locality;
pub use meta::{Kind, Namespace, ObjectKey, ObjectName};
pub use port::{Port, Protocol};
pub use secret::Secret;
pub use spiffe::{SpiffeError, SpiffeId};
pub use type_url::TypeUrl;
pub use version::Version;
