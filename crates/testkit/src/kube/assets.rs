//! Where the programs of Kubernetes are. Building them is `cargo xtask tools`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The program of that name: `TEST_ASSET_<NAME>`, else in the folder `KUBEBUILDER_ASSETS`, else the one that
/// `cargo xtask tools` built. The variables are those of Kubernetes' own test environment (controller-runtime, envtest).
///
/// # Errors
/// When there is none; says what to do.
pub(super) fn program(name: &str) -> Result<PathBuf> {
    let own = format!("TEST_ASSET_{}", name.to_uppercase().replace('-', "_"));
    if let Some(path) = variable(&own) {
        if path.is_file() {
            return Ok(path);
        }
        bail!("{own} is {}, which is no file: unset it or mend it", path.display());
    }
    if let Some(folder) = variable("KUBEBUILDER_ASSETS") {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
        bail!(
            "KUBEBUILDER_ASSETS is {}, where no `{name}` is: put one there, name it in {own}, or unset KUBEBUILDER_ASSETS for the ones of `cargo xtask tools`",
            folder.display()
        );
    }
    let tools = variable("MELTEMI_TOOLS_DIR")
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools"));
    let path = tools.join("kubernetes").join(name);
    if path.is_file() {
        return Ok(path);
    }
    bail!(
        "no `{name}` at {}: run `cargo xtask tools` once (it builds Kubernetes with Go, some minutes), or set KUBEBUILDER_ASSETS",
        path.display()
    )
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
