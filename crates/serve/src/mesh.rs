//! The one task that writes: batches from the sources in, new views to the streams out.

mod task;

pub(crate) use task::{Mesh, spawn};
