//! How an error is told: what failed, why, all the way down; on standard error.

use std::process::ExitCode;

use meltemi_serve::Failure;
use meltemi_sources::file::Error as FolderError;
use meltemi_sources::kube::ConnectError;

/// Tells the error and its causes. A folder or a kubeconfig that cannot be looked at is wrong use, unlike one in which something is wrong: a pipeline
/// that checks YAML must be able to tell them apart.
#[allow(clippy::print_stderr, reason = "a command line tells its errors on standard error")]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    let folder = error.downcast_ref::<FolderError>().or(match error.downcast_ref::<Failure>() {
        Some(Failure::Folder(error)) => Some(error),
        _ => None,
    });
    let cluster = matches!(
        error.downcast_ref::<Failure>(),
        Some(Failure::Cluster(ConnectError::Kubeconfig { .. } | ConnectError::InCluster(_)))
    );
    ExitCode::from(if cluster || matches!(folder, Some(FolderError::Missing { .. })) { 2 } else { 1 })
}
