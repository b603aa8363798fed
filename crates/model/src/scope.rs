//! What the proxies of some workloads see of the mesh: the Sidecar in force, and what its egress listeners import.
//!
//! Knows: Istio's choice among Sidecars, hosts with namespaces, what follows from an imported VirtualService. Must not know: Envoy.
//! Start at [`SidecarsOf`] (which Sidecar counts), [`Imported`] (what one of its listeners has) and [`ScopedServices`] (all that its
//! proxies call).
//! Invariants: which services are imported is decided by their names and namespaces alone, so that a change within a service that is
//! not imported ends before every answer here; a namespace without Sidecars reads two index entries.

mod choice;
mod hosts;
mod imported;
mod inbound;
mod policy;

pub use choice::{Chosen, SidecarsOf, chosen};
pub use hosts::Hosts;
pub use imported::{DestinationsOf, EgressOf, Imported, ImportedRules, Ports, ScopedServices, Seen};
pub use inbound::{InboundPoolOf, IngressOf};
pub use policy::{EgressProxy, OutboundPolicy, OutboundPolicyOf};
