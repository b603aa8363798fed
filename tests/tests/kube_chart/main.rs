//! What a real API server makes of the CRDs and of the chart: both are taken, and what they refuse is refused with words that help.
//!
//! The API server is that of `cargo xtask tools`. Without one: `chart`.

#![allow(clippy::panic, reason = "a test fails by panicking")]

mod definitions;
mod install;
mod objects;
mod refused;
mod roles;
mod taken;
