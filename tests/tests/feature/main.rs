//! Features of the whole pipeline, in this process: a folder of YAML, `meltemi_serve`, real gRPC, a client like Envoy, decoded xDS.
//!
//! The clients speak both forms of the protocol. Tests wait for what is published or sent, never for time.

#![allow(clippy::panic, reason = "a test fails by panicking")]

mod canary;
mod clients;
mod files;
mod in_force;
mod mtls;
mod names;
mod namespaces;
mod references;
mod refused;
mod reviews;
mod strategies;
