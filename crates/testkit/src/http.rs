//! HTTP for tests: an app that answers its version, a client, load with a count, and shares judged by statistics.

mod app;
mod client;
mod connect;
mod load;
mod tally;
#[cfg(test)]
mod tests;

pub use app::{App, AppBuilder, Seen};
pub use client::{Answer, Request};
pub use connect::Connect;
pub use load::{Load, Running};
pub use tally::{SIGMAS, Tally, share_bound};
