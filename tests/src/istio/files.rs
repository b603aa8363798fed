//! The files of a pod, as a kubelet mounts them and images of Istio have them, beneath a folder that the agent takes for the root.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// What is in them.
pub(super) struct Content<'a> {
    /// Of the service account, for the audience `istio-ca`.
    pub(super) token: &'a str,
    /// PEM, as the ConfigMap `istio-ca-root-cert` has it.
    pub(super) roots: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) annotations: &'a BTreeMap<String, String>,
    pub(super) template: &'a Path,
    /// The control plane: its name, and the address that a cluster's DNS would answer.
    pub(super) control_plane: (&'a str, IpAddr),
}

/// Writes them.
pub(super) fn lay(content: &Content<'_>) -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("meltemi-istio-").tempdir()?;
    let write = |path: &str, text: &str| -> Result<()> {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().context("a file in a folder")?)?;
        Ok(std::fs::write(path, text)?)
    };
    write("var/run/secrets/tokens/istio-token", content.token)?;
    write("var/run/secrets/istio/root-cert.pem", content.roots)?;
    write("etc/istio/pod/labels", &downward(content.labels))?;
    write("etc/istio/pod/annotations", &downward(content.annotations))?;
    let (name, address) = content.control_plane;
    write("hosts", &format!("127.0.0.1 localhost\n{address} {name}\n"))?;
    write("var/lib/istio/envoy/envoy_bootstrap_tmpl.json", &std::fs::read_to_string(content.template)?)?;
    for volume in ["etc/istio/proxy", "var/run/secrets/workload-spiffe-uds", "var/run/secrets/credential-uds"]
    {
        std::fs::create_dir_all(folder.path().join(volume))?;
    }
    Ok(folder)
}

/// As the downward API writes labels and annotations.
fn downward(entries: &BTreeMap<String, String>) -> String {
    entries.iter().fold(String::new(), |mut text, (key, value)| {
        _ = writeln!(text, "{key}={value:?}");
        text
    })
}
