//! Where the programs of Kubernetes are. Building them is `cargo xtask tools`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The program of that name: `TEST_ASSET_<NAME>`, else in the folder `KUBEBUILDER_ASSETS`, else the one that
/// `cargo xtask tools` built. The variables are those of Kubernetes' own test environment (controller-runtime, envtest).
///
/// # Errors
/// When there is none; says what to do.
pub(super) fn program(name: &str) -> Result<PathBuf> {
    find(name, |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn find(name: &str, variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found for `name` where the variables are these.
    fn found(name: &str, variables: &[(&str, &Path)]) -> Result<PathBuf> {
        find(name, |name| {
            variables.iter().find(|(found, _)| *found == name).map(|(_, path)| (*path).to_owned())
        })
    }

    #[test]
    fn a_program_s_own_variable_is_before_the_folder_s_and_that_before_the_built_one() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let own = folder.path().join("mine");
        let (tools, assets) = (folder.path().join("tools"), folder.path().join("assets"));
        let built = tools.join("kubernetes/kube-apiserver");
        for path in [&own, &assets.join("kube-apiserver"), &built] {
            std::fs::create_dir_all(path.parent().unwrap())?;
            std::fs::write(path, "")?;
        }
        let all: [(&str, &Path); 3] = [
            ("MELTEMI_TOOLS_DIR", &tools),
            ("KUBEBUILDER_ASSETS", &assets),
            ("TEST_ASSET_KUBE_APISERVER", &own),
        ];
        assert_eq!(found("kube-apiserver", &all[..1])?, built);
        assert_eq!(found("kube-apiserver", &all[..2])?, assets.join("kube-apiserver"));
        assert_eq!(found("kube-apiserver", &all)?, own);
        Ok(())
    }

    #[test]
    fn what_is_missing_is_named_with_what_to_do() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let error = |variable| found("helm", &[(variable, folder.path())]).unwrap_err().to_string();
        assert!(error("MELTEMI_TOOLS_DIR").contains("run `cargo xtask tools`"));
        assert!(error("KUBEBUILDER_ASSETS").contains("no `helm` is: put one there"));
        assert!(error("TEST_ASSET_HELM").contains("which is no file: unset it or mend it"));
        Ok(())
    }
}
