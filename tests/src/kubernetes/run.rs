//! The harness of the tests that share one cluster: one test after the other, since each sees the objects of all.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use meltemi_testkit::kube::Cluster;
use meltemi_testkit::netns::available;

use crate::not_run;

/// After so long a test is given up.
const LIMIT: Duration = Duration::from_secs(180);

/// What a test cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The API server, which is everywhere where it was built.
    Kubernetes,
    /// Root, for pods with addresses of their own.
    Root,
}

/// A test: its name, what it needs, and what it does.
pub type Case = (&'static str, Needs, fn() -> Result<()>);

/// The cluster that all tests of the program share, until the last one is done.
static KEPT: Mutex<Option<Arc<Cluster>>> = Mutex::new(None);

/// The shared cluster.
pub(super) async fn shared() -> Result<Arc<Cluster>> {
    let cluster = Cluster::shared().await?;
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&cluster));
    Ok(cluster)
}

/// Runs a test in a runtime of its own.
///
/// # Errors
/// The test's.
pub fn run(test: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(LIMIT, test).await })?
}

/// The `main` of a test program. Tests that cannot run here are reported as ignored, not as passed.
pub fn main(cases: &[Case]) {
    let missing = available().err().map(|missing| format!("{missing:#}"));
    let trials = cases.iter().map(|(name, needs, test)| {
        let test = *test;
        Trial::test(*name, move || test().map_err(|error| format!("{error:#}").into()))
            .with_ignored_flag(*needs == Needs::Root && missing.is_some())
    });
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let conclusion = not_run::run(&arguments, trials.collect(), missing.as_deref());
    drop(KEPT.lock().unwrap_or_else(PoisonError::into_inner).take());
    conclusion.exit();
}
