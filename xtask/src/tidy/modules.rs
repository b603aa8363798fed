//! Orphan files: Rust sources that no target and no `mod` names, so that no compiler and no test ever reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::workspace::Workspace;

/// Each source that nothing declares.
///
/// # Errors
/// When cargo refuses a manifest.
pub(super) fn orphans(
    workspace: &Workspace,
    files: &[PathBuf],
    sources: &[(PathBuf, String)],
) -> Result<Vec<String>> {
    let mut roots = roots(workspace, Path::new("Cargo.toml"))?;
    // Packages outside the workspace (fuzz) have manifests of their own.
    let is_manifest = |file: &&PathBuf| file.file_name().is_some_and(|name| name == "Cargo.toml");
    for manifest in files.iter().filter(is_manifest) {
        let folder = manifest.parent().unwrap_or(Path::new(""));
        if !roots.iter().any(|root| root.starts_with(folder)) {
            roots.extend(self::roots(workspace, manifest)?);
        }
    }
    Ok(undeclared(&roots, sources))
}

/// The root files of the targets of a workspace or package.
fn roots(workspace: &Workspace, manifest: &Path) -> Result<BTreeSet<PathBuf>> {
    let packages = workspace.packages(manifest)?;
    Ok(packages
        .iter()
        .flat_map(|package| package["targets"].as_array().into_iter().flatten())
        .filter_map(|target| target["src_path"].as_str())
        .map(|path| {
            // A build script may be named as `../../build.rs`.
            let path = Path::new(path).canonicalize().unwrap_or_else(|_| PathBuf::from(path));
            workspace.relative(&path).unwrap_or(&path).to_owned()
        })
        .collect())
}

/// Follows `mod` from the roots; what is left is an orphan.
fn undeclared(roots: &BTreeSet<PathBuf>, sources: &[(PathBuf, String)]) -> Vec<String> {
    let texts: BTreeMap<&Path, &str> =
        sources.iter().map(|(file, text)| (file.as_path(), text.as_str())).collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<PathBuf> = roots.iter().cloned().collect();
    while let Some(file) = open.pop() {
        let Some(text) = texts.get(file.as_path()) else { continue };
        if reached.insert(file.clone()) {
            open.extend(declared(&file, roots.contains(&file), text));
        }
    }
    texts
        .keys()
        .filter(|file| !reached.contains(**file))
        .map(|file| format!("{}: no `mod` declares it: declare it or delete it", file.display()))
        .collect()
}

/// The files that the `mod name;` lines of `text` may mean.
fn declared(file: &Path, is_root: bool, text: &str) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let is_folder_module = is_root || file.file_name().is_some_and(|name| name == "mod.rs");
    let children = if is_folder_module { folder.to_owned() } else { file.with_extension("") };
    let mut named_path = None;
    let mut files = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"").and_then(|rest| rest.split('"').next()) {
            named_path = Some(folder.join(path));
        } else if let Some(path) = line.split("include!(\"").nth(1).and_then(|rest| rest.split('"').next()) {
            files.push(folder.join(path));
        } else if let Some(name) = module_name(line) {
            match named_path.take() {
                Some(path) => files.push(path),
                None => {
                    files.push(children.join(format!("{name}.rs")));
                    files.push(children.join(name).join("mod.rs"));
                }
            }
        }
    }
    files
}

/// `name` of a line `mod name;`, of any visibility.
fn module_name(line: &str) -> Option<&str> {
    let declaration = line.strip_suffix(';')?;
    let (visibility, name) = declaration.rsplit_once("mod ")?;
    let visibility = visibility.trim();
    let is_visibility = visibility.is_empty() || visibility == "pub" || visibility.starts_with("pub(");
    let is_name = name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    (is_visibility && is_name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphans_of(root: &str, sources: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> =
            sources.iter().map(|(file, text)| (PathBuf::from(file), (*text).to_owned())).collect();
        undeclared(&BTreeSet::from([PathBuf::from(root)]), &sources)
    }

    #[test]
    fn declared_files_are_followed_however_deep() {
        let sources = [
            ("a/src/lib.rs", "pub(crate) mod one;\n#[cfg(test)]\nmod tests;\n"),
            ("a/src/one.rs", "mod two;"),
            ("a/src/one/two.rs", ""),
            ("a/src/tests.rs", ""),
        ];
        assert_eq!(orphans_of("a/src/lib.rs", &sources), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_only_a_comment_names_is_an_orphan() {
        let sources = [("a/src/lib.rs", "// mod lost;\nmod inline { fn f() {} }\n"), ("a/src/lost.rs", "")];
        assert_eq!(
            orphans_of("a/src/lib.rs", &sources),
            ["a/src/lost.rs: no `mod` declares it: declare it or delete it"]
        );
    }

    #[test]
    fn a_path_attribute_is_followed() {
        let sources = [("t/main.rs", "#[path = \"../shared/x.rs\"]\nmod x;"), ("t/../shared/x.rs", "")];
        assert_eq!(orphans_of("t/main.rs", &sources), Vec::<String>::new());
    }
}
