//! Istio's own agent, unmodified, in a pod as Istio's injection makes one: the files that a kubelet mounts, the environment that the
//! webhook writes, the rules of the init container, the agent as first process, and a vanilla Envoy under it.
//!
//! Knows: Istio's file layout and variables (facts/identity-and-injection.md, sections 3 and 8). Must not know: how Meltemi answers.
//! Start at [`Agent::start`]; [`Kit`] says what has to be there.

mod agent;
mod certs;
mod files;
mod kit;

pub use agent::{Agent, Spot};
pub use certs::{Shown, serial_of};
pub use kit::Kit;
