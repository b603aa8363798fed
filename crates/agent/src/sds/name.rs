//! Names of secrets, as Istio's control planes write them (Istio: pkg/security/security.go).

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// `default`: the workload's certificate and key.
    Default,
    /// `ROOTCA`: what the mesh trusts.
    RootCa,
    /// `file-cert:<certificate>~<key>`: from these files.
    FileCert {
        /// The certificate's file, and what leads towards a root.
        chain: String,
        /// The key's file.
        key: String,
    },
    /// `file-root:<roots>`: from that file.
    FileRoot(String),
    /// `file-root:system`: what this machine trusts.
    SystemRoots,
}

impl Name {
    /// Reads a name; none for one that nobody serves here.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "default" => Some(Self::Default),
            "ROOTCA" => Some(Self::RootCa),
            "file-root:system" => Some(Self::SystemRoots),
            _ => {
                if let Some(file) = text.strip_prefix("file-root:") {
                    return is_path(file).then(|| Self::FileRoot(file.to_owned()));
                }
                let (chain, key) = text.strip_prefix("file-cert:")?.split_once('~')?;
                (is_path(chain) && is_path(key))
                    .then(|| Self::FileCert { chain: chain.to_owned(), key: key.to_owned() })
            }
        }
    }

    /// Whether it comes from files of the user's.
    pub fn is_of_files(&self) -> bool {
        !matches!(self, Self::Default | Self::RootCa)
    }
}

/// What the system takes for a path; Istio's names hold no second `~`.
fn is_path(text: &str) -> bool {
    !text.is_empty() && !text.contains(['\0', '~'])
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::RootCa => f.write_str("ROOTCA"),
            Self::FileCert { chain, key } => write!(f, "file-cert:{chain}~{key}"),
            Self::FileRoot(file) => write!(f, "file-root:{file}"),
            Self::SystemRoots => f.write_str("file-root:system"),
        }
    }
}
