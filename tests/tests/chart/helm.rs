//! Helm as a process, on the chart of this checkout.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// What the chart is rendered for, since a Helm without a cluster makes up a version.
const KUBERNETES: &str = "1.36.0";

fn program() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = variable("HELM_BIN").or_else(|| variable("TEST_ASSET_HELM")) {
        return Ok(named);
    }
    let tools = variable("MELTEMI_TOOLS_DIR")
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools"));
    let folder = variable("KUBEBUILDER_ASSETS").unwrap_or_else(|| tools.join("kubernetes"));
    let helm = folder.join("helm");
    if !helm.is_file() {
        bail!("no helm at {}: run `cargo xtask tools` once, or name one in HELM_BIN", helm.display());
    }
    Ok(helm)
}

/// The chart's folder.
pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/helm/meltemi")
}

/// Runs Helm with these values, given as JSON, which is YAML.
pub(crate) fn helm(arguments: &[&str], values: &Value) -> Result<Output> {
    let home = tempfile::tempdir()?;
    let file = home.path().join("values.yaml");
    std::fs::write(&file, values.to_string())?;
    let mut command = Command::new(program()?);
    // Nothing of the user's own Helm.
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, home.path());
    }
    command.env_remove("KUBECONFIG");
    command.args(arguments).arg("--kube-version").arg(KUBERNETES).arg("--values").arg(&file);
    command.output().context("running helm")
}

/// What is rendered, as text.
pub(crate) fn text(values: &Value) -> Result<String> {
    let chart = chart();
    let chart = chart.to_str().context("a path that is text")?;
    let output = helm(&["template", "meltemi", chart, "--namespace", "istio-system"], values)?;
    if !output.status.success() {
        bail!("{values}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The objects of a rendered text.
pub(crate) fn objects(text: &str) -> Result<Vec<Value>> {
    let documents: Result<Vec<Value>, _> =
        serde_norway::Deserializer::from_str(text).map(Value::deserialize).collect();
    Ok(documents?.into_iter().filter(|document| !document.is_null()).collect())
}

/// What is rendered: the objects.
pub(crate) fn rendered(values: &Value) -> Result<Vec<Value>> {
    objects(&text(values)?)
}

/// The object of that kind and name.
pub(crate) fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name} in {:?}", names(objects)))
}

/// Kinds and names, without the definitions of kinds.
pub(crate) fn names(objects: &[Value]) -> Vec<String> {
    let mut names: Vec<String> = objects
        .iter()
        .filter(|object| object["kind"] != "CustomResourceDefinition")
        .map(|object| {
            let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!("{} {}", name(&object["kind"]), name(&object["metadata"]["name"]))
        })
        .collect();
    names.sort();
    names
}
