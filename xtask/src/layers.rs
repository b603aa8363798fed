//! Which crate may use which: the one table, and its comparison with `cargo metadata`.
//!
//! A crate is named by its folder (`crates/` left out). A new edge is a reviewed line here.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// What every crate above may use; they know no mesh.
const LEAVES: &[&str] = &["names", "proto", "memo", "catalog", "telemetry"];

/// Everything that serves the product; only those who join things may use all of it.
const PRODUCT: &[&str] = &["api", "model", "sources", "translate", "views", "walk", "xds", "ca", "admission"];

/// Folder, and the groups of crates that it may use.
const TABLE: &[(&str, &[&[&str]])] = &[
    ("names", &[]),
    ("proto", &[&["names"]]),
    ("memo", &[&["names"]]),
    ("catalog", &[&["names"]]),
    ("telemetry", &[]),
    ("api", &[LEAVES]),
    ("model", &[LEAVES, &["api"]]),
    ("sources", &[LEAVES, &["api", "model"]]),
    ("translate", &[LEAVES, &["api", "model"]]),
    ("views", &[LEAVES, &["api", "model", "translate"]]),
    ("walk", &[&["names", "proto"]]),
    ("xds", &[LEAVES]),
    ("ca", &[LEAVES]),
    ("serve", &[LEAVES, PRODUCT]),
    // Beside every workload: it talks to a control plane over the wire, and links none of it.
    ("agent", &[&["names", "proto", "telemetry"]]),
    ("cli", &[LEAVES, PRODUCT, &["serve", "agent"]]),
    ("testkit", &[LEAVES, PRODUCT, &["serve", "agent", "cli"]]),
    ("tests", &[LEAVES, PRODUCT, &["serve", "agent", "cli", "testkit"]]),
    // Its demo runs the kit's app, load and Envoy; without the kit's feature `xds`, hence without the wire messages.
    ("xtask", &[&["testkit"]]),
    // The demo in a cluster, which xtask builds and runs: apart from it, since the cluster brings the Kubernetes client.
    ("demo", &[&["testkit"]]),
    // Measures from outside; the server that its own tests run against is linked by no measurement.
    ("benches", &[LEAVES, &["xds"]]),
    // In process and without sockets: what reads a stranger's bytes, and what is made of them.
    ("fuzz", &[LEAVES, &["agent", "api", "ca", "model", "views", "xds"]]),
];

/// What a crate may use in its own tests besides. The binary's tests run the binary, which only its own package can name
/// (`CARGO_BIN_EXE_meltemi`), and talk to it with the kit.
const IN_TESTS: &[(&str, &[&str])] = &[("cli", &["testkit"]), ("agent", &["ca"])];

/// Compares the table with the manifests.
///
/// # Errors
/// Names each edge and each crate that the table does not have.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut packages = workspace.packages(Path::new("Cargo.toml"))?;
    packages.extend(workspace.packages(Path::new("fuzz/Cargo.toml"))?);
    let mut edges = Vec::new();
    let mut folders = Vec::new();
    for package in &packages {
        let manifest = package["manifest_path"].as_str().context("a package without a manifest path")?;
        let folder = folder(workspace, Path::new(manifest).parent().unwrap_or(Path::new("")));
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if let Some(path) = dependency["path"].as_str() {
                let used = self::folder(workspace, Path::new(path));
                edges.push(Edge { user: folder.clone(), used, dev: dependency["kind"] == "dev" });
            }
        }
        folders.push(folder);
    }
    let faults = faults(&folders, &edges);
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    println!("  {} crates, {} edges", folders.len(), edges.len());
    Ok(())
}

/// `user` has `used` among its dependencies.
struct Edge {
    user: String,
    used: String,
    dev: bool,
}

fn folder(workspace: &Workspace, path: &Path) -> String {
    let path = workspace.relative(path).unwrap_or(path);
    path.strip_prefix("crates").unwrap_or(path).display().to_string()
}

fn faults(folders: &[String], edges: &[Edge]) -> Vec<String> {
    let table: BTreeMap<&str, &[&[&str]]> = TABLE.iter().copied().collect();
    let unknown = folders
        .iter()
        .filter(|folder| !table.contains_key(folder.as_str()))
        .map(|folder| format!("crate `{folder}` is not in the table"));
    let forbidden = edges.iter().filter_map(|edge| {
        let allowed = table.get(edge.user.as_str())?;
        if allowed.iter().any(|group| group.contains(&edge.used.as_str())) {
            return None;
        }
        if edge.dev && IN_TESTS.iter().any(|(user, used)| *user == edge.user && used.contains(&&*edge.used)) {
            return None;
        }
        let kind = if edge.dev { " in its tests" } else { "" };
        Some(format!("`{}` may not use `{}`{kind}", edge.user, edge.used))
    });
    unknown.chain(forbidden).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(user: &str, used: &str) -> Edge {
        Edge { user: user.to_owned(), used: used.to_owned(), dev: false }
    }

    #[test]
    fn an_edge_of_the_table_is_no_fault() {
        let folders = ["views".to_owned(), "translate".to_owned()];
        assert_eq!(
            faults(&folders, &[edge("views", "translate"), edge("views", "names")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_a_crate_may_use_in_its_tests_is_no_part_of_the_product() {
        let edge = |dev| Edge { dev, ..edge("cli", "testkit") };
        assert_eq!(faults(&[], &[edge(true)]), Vec::<String>::new());
        assert_eq!(faults(&[], &[edge(false)]), ["`cli` may not use `testkit`"]);
    }

    #[test]
    fn an_edge_against_the_direction_is_named() {
        assert_eq!(faults(&[], &[edge("translate", "views")]), ["`translate` may not use `views`"]);
    }

    #[test]
    fn the_test_kit_is_for_the_tests_package_alone() {
        let dev = Edge { dev: true, ..edge("xds", "testkit") };
        assert_eq!(faults(&[], &[dev]), ["`xds` may not use `testkit` in its tests"]);
        assert_eq!(faults(&[], &[edge("tests", "testkit")]), Vec::<String>::new());
    }

    #[test]
    fn a_crate_that_nobody_placed_is_named() {
        assert_eq!(faults(&["shiny".to_owned()], &[]), ["crate `shiny` is not in the table"]);
    }
}
