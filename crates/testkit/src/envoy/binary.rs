//! Where the Envoy binary is. Fetching it is `cargo xtask tools`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The version that Meltemi is tested with.
pub const VERSION: &str = "1.40.0";

/// The Envoy to start: `ENVOY_BIN`, else the one that `cargo xtask tools` fetched.
///
/// # Errors
/// When there is none; says what to do.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = variable("ENVOY_BIN") {
        if path.is_file() {
            return Ok(path);
        }
        bail!("ENVOY_BIN is {}, which is no file: unset it or mend it", path.display());
    }
    let tools = variable("MELTEMI_TOOLS_DIR")
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools"));
    let path = tools.join(format!("envoy-{VERSION}")).join("envoy");
    if path.is_file() {
        return Ok(path);
    }
    bail!("no Envoy at {}: run `cargo xtask tools`, or the tests as `cargo xtask test`", path.display())
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
