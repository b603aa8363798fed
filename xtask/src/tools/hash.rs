//! SHA-256 of files, in lower-case hexadecimal.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// That of a file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn of_file(path: &Path) -> Result<String> {
    let place = || format!("reading {}", path.display());
    let mut file = File::open(path).with_context(place)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer).with_context(place)?;
        let Some(read) = buffer.get(..length).filter(|read| !read.is_empty()) else { break };
        hasher.update(read);
    }
    Ok(hex(hasher))
}

/// That of what the hasher was given.
pub(super) fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_the_standard() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("abc");
        std::fs::write(&file, "abc")?;
        // FIPS 180-2, appendix B.1.
        assert_eq!(of_file(&file)?, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        Ok(())
    }
}
