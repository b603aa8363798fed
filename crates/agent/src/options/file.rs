//! Reads what is around the process.

use std::path::Path;

use super::flags::Surroundings;

/// The longest file that is read: Kubernetes' own bound of all annotations is a quarter of it.
const MOST_BYTES: u64 = 1 << 20;

impl Surroundings {
    /// With the files that an injected pod has. What is missing is no trouble: outside of Kubernetes there are none.
    #[must_use]
    pub fn with_files(mut self) -> Self {
        self.labels = read("./etc/istio/pod/labels");
        self.annotations = read("./etc/istio/pod/annotations");
        self.mesh = read("./etc/istio/config/mesh");
        self
    }
}

fn read(path: &str) -> Option<String> {
    use std::io::Read as _;
    let path = Path::new(path);
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES).read_to_string(&mut text));
    match read {
        Ok(_) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "it is there and cannot be read; it is as if it were not there");
            None
        }
    }
}
