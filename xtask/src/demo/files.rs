//! The folder of YAML that the demo's user edits: a copy of `examples/canary`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::script::Edit;
use crate::workspace::Workspace;

/// The copy; dropping it removes it.
pub(super) struct Files {
    folder: TempDir,
    examples: PathBuf,
}

impl Files {
    /// Copies the example to a folder of its own.
    pub(super) fn copy(workspace: &Workspace) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("meltemi-demo-").tempdir()?;
        let examples = workspace.root().join("examples");
        for entry in fs::read_dir(examples.join("canary")).context("reading examples/canary")? {
            let path = entry?.path();
            if let Some(name) = path.file_name() {
                fs::copy(&path, folder.path().join(name))
                    .with_context(|| format!("copying {}", path.display()))?;
            }
        }
        Ok(Self { folder, examples })
    }

    /// Where the copy is.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Changes `routing.yaml`, and saves it as editors do: a new file takes the place of the old one.
    pub(super) fn edit(&self, edit: &Edit) -> Result<()> {
        let file = self.folder().join("routing.yaml");
        let text = match edit {
            Edit::None => return Ok(()),
            Edit::Use(example) => {
                let path = self.examples.join(example);
                fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?
            }
            Edit::Change(lines) => changed(&fs::read_to_string(&file)?, lines)?,
        };
        let draft = self.folder().join(".routing.yaml.draft");
        fs::write(&draft, text)?;
        fs::rename(&draft, &file).with_context(|| format!("saving {}", file.display()))
    }
}

/// Each change in turn, at the first place after the one before.
fn changed(text: &str, changes: &[(&str, &str)]) -> Result<String> {
    let (mut done, mut rest) = (String::new(), text);
    for (old, new) in changes {
        let Some((before, after)) = rest.split_once(old) else {
            bail!(
                "routing.yaml has no line `{old}` to change: was the example changed, and not xtask/src/demo/script.rs?"
            );
        };
        done.push_str(before);
        done.push_str(new);
        rest = after;
    }
    Ok(done + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_made_once_and_in_order() -> Result<()> {
        let changes = [("weight: 50", "weight: 0"), ("weight: 50", "weight: 100")];
        assert_eq!(changed("a\nweight: 50\nb\nweight: 50\n", &changes)?, "a\nweight: 0\nb\nweight: 100\n");
        assert!(changed("weight: 50\n", &changes).is_err());
        Ok(())
    }
}
