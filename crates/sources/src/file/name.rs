//! Which names in a folder count. Must not know: the disk.
//!
//! Invariant: what an editor, `sed -i`, `kubectl` or kubelet puts beside a file while it saves one is none of the names that count:
//! `.a.yaml.swp`, `.#a.yaml`, `#a.yaml#`, `a.yaml~`, `a.yaml.tmp`, `4913`, `sedAb12`, `..data`, `..2026_11_23`.

use std::ffi::OsStr;
use std::path::Path;

/// Neither read nor looked into, be it a file or a folder: it begins with a dot.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// The name of a file that is read.
pub(super) fn is_config(name: &OsStr) -> bool {
    !is_hidden(name)
        && Path::new(name).extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json")
}

#[cfg(test)]
mod tests {
    use super::{is_config, is_hidden};

    #[test]
    fn files_of_the_three_endings_are_read() {
        for name in ["a.yaml", "a.yml", "a.json", "a.b.yaml", "4913.yaml"] {
            assert!(is_config(name.as_ref()), "{name}");
        }
    }

    #[test]
    fn what_editors_and_kubelet_put_beside_a_file_is_not() {
        let names = [
            ".a.yaml.swp",
            ".#a.yaml",
            "#a.yaml#",
            "a.yaml~",
            "a.yaml.tmp",
            "a.yaml.bak",
            "4913",
            "sedAb12",
            "a.yaml___jb_tmp___",
            ".goutputstream-X.yaml",
            "..data",
            "yaml",
            ".yaml",
            "README.md",
        ];
        for name in names {
            assert!(!is_config(name.as_ref()), "{name}");
        }
        assert!(is_hidden("..2026_11_23_15_00".as_ref()) && is_hidden(".git".as_ref()));
        assert!(!is_hidden("sub".as_ref()));
    }
}
