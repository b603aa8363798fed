//! What OpenSSL's own command line says of a certificate, or of a server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use meltemi_testkit::netns::Pod;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use super::LIMIT;
use crate::identity::Holder;

/// OpenSSL with a folder of its own.
pub struct Openssl {
    folder: TempDir,
}

impl Openssl {
    /// One that knows nothing yet.
    ///
    /// # Errors
    /// When there is no folder to be had.
    pub fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::Builder::new().prefix("meltemi-openssl-").tempdir()? })
    }

    /// Verifies the first certificate of `chain` to `roots` (both PEM), for a purpose such as `sslserver`; nothing of the machine's own is
    /// trusted.
    ///
    /// # Errors
    /// What OpenSSL says.
    pub async fn verify(&self, chain: &str, roots: &str, purpose: &str) -> Result<()> {
        let (chain, roots) = (self.file("chain.pem", chain)?, self.file("roots.pem", roots)?);
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-purpose", purpose, "-CAfile"]);
        command.arg(roots).arg("-untrusted").arg(&chain).arg(&chain);
        run(command).await.map(drop)
    }

    /// Extensions of a certificate, as OpenSSL prints them: `subjectAltName`, say.
    ///
    /// # Errors
    /// When it is no certificate.
    pub async fn extensions(&self, certificate: &str, names: &str) -> Result<String> {
        let mut command = Command::new("openssl");
        command.args(["x509", "-noout", "-ext", names, "-in"]).arg(self.file("one.pem", certificate)?);
        run(command).await
    }

    /// A handshake with the server at `address` from within `pod`, that fails unless the server's certificate verifies to `roots`; what
    /// OpenSSL tells of it.
    ///
    /// # Errors
    /// What OpenSSL says.
    pub async fn client(
        &self,
        pod: &Pod,
        address: SocketAddr,
        shown: &Holder,
        roots: &str,
        name: &str,
    ) -> Result<String> {
        let mut command = pod.command("openssl");
        command.args([
            "s_client",
            "-connect",
            &address.to_string(),
            "-servername",
            name,
            "-alpn",
            "istio,http/1.1",
        ]);
        command.args(["-verify_return_error", "-no-CApath", "-no-CAstore", "-CAfile"]);
        command.arg(self.file("roots.pem", roots)?);
        command.arg("-cert").arg(self.file("shown.pem", &shown.chain)?);
        command.arg("-key").arg(self.file("shown-key.pem", &shown.key.serialize_pem())?);
        run(command).await
    }

    fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

async fn run(mut command: Command) -> Result<String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output =
        timeout(LIMIT, command.output()).await.context("openssl does not end")?.context("openssl")?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if !output.status.success() {
        bail!("openssl: {text}");
    }
    Ok(text)
}
