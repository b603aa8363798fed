//! Records, batch by batch.
