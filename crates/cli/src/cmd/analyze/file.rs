//! Reads the folders' files once more, for what is none of the mesh's kinds.

use std::path::{Path, PathBuf};

use meltemi_api::MAX_FILE;

/// The texts of all YAML and JSON files, with their names, sorted. What cannot be read was told when the objects were read.
pub(crate) fn texts(roots: &[PathBuf]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for root in roots {
        visit(root, 0, &mut found);
    }
    found.sort();
    found.dedup();
    found
        .into_iter()
        .filter_map(|path| {
            let size = std::fs::metadata(&path).ok()?.len();
            let text = (size <= MAX_FILE as u64).then(|| std::fs::read_to_string(&path).ok())??;
            Some((path.display().to_string(), text))
        })
        .collect()
}

/// How deep folders are followed: links may go in circles.
const DEPTH: usize = 32;

fn visit(path: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if path.is_file() {
        let is_ours =
            |extension: &std::ffi::OsStr| extension == "yaml" || extension == "yml" || extension == "json";
        if path.extension().is_some_and(is_ours) {
            found.push(path.to_path_buf());
        }
        return;
    }
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten().filter(|_| depth < DEPTH) {
        if !entry.file_name().to_string_lossy().starts_with('.') {
            visit(&entry.path(), depth + 1, found);
        }
    }
}
