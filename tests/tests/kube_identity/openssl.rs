//! What an operator, or Istio, has: keys and certificates made by OpenSSL.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::process::Command;

/// A folder with what OpenSSL makes.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(TempDir::new()?))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    async fn run(&self, arguments: &str) -> Result<()> {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(self.path()).stdin(Stdio::null());
        let output = command.output().await.context("openssl")?;
        if !output.status.success() {
            bail!("openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    pub(crate) fn read(&self, name: &str) -> Result<String> {
        std::fs::read_to_string(self.path().join(name)).with_context(|| name.to_owned())
    }

    /// A root as Istiod makes it: RSA, named after the trust domain alone; `NAME-key.pem` and `NAME-cert.pem`.
    pub(crate) async fn root(&self, name: &str) -> Result<String> {
        self.run(&format!("genrsa -out {name}-key.pem 2048")).await?;
        self.renewed(name, name).await
    }

    /// A new certificate of the same key and name, as Istiod renews its root.
    pub(crate) async fn renewed(&self, name: &str, into: &str) -> Result<String> {
        self.run(&format!(
            "req -x509 -new -key {name}-key.pem -out {into}-cert.pem -days 3650 -subj /O=cluster.local -addext keyUsage=critical,keyCertSign"
        ))
        .await?;
        self.read(&format!("{into}-cert.pem"))
    }

    /// An intermediate of that root; the same files.
    pub(crate) async fn intermediate(&self, root: &str, name: &str) -> Result<String> {
        self.run(&format!(
            "req -new -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -keyout {name}-key.pem -out {name}.csr -subj /O=Shop/CN={name}"
        ))
        .await?;
        let extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n";
        std::fs::write(self.path().join("extensions"), extensions)?;
        self.run(&format!(
            "x509 -req -in {name}.csr -CA {root}-cert.pem -CAkey {root}-key.pem -CAcreateserial -days 300 -out {name}-cert.pem -extfile \
             extensions"
        ))
        .await?;
        self.read(&format!("{name}-cert.pem"))
    }
}
