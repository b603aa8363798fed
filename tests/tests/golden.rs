//! Golden cases, named for what a user wants: what a proxy is served, and whether Envoy takes it.
//!
//! `CASE=canary` runs only those with that in their names; `UPDATE=1` rewrites the expected files, which a person then reads.

use anyhow::Context;
use meltemi_testkit::envoy::{bootstrap_of, validate};
use meltemi_testkit::sds::{self, Authority};
use meltemi_tests::golden::{Case, cases};
use serde_json::Value;
use tempfile::TempDir;

/// Files of certificates that are there, in the place of those that a case names.
struct Files(TempDir);

impl Files {
    fn new() -> anyhow::Result<Self> {
        let files = Self(tempfile::tempdir()?);
        let authority = Authority::new()?;
        let identity = authority.server(&["a.example"])?;
        for (name, text) in [
            ("certificate_chain", &*identity.certificate),
            ("private_key", &*identity.key),
            ("trusted_ca", authority.root()),
            ("crl", &*authority.revocations()?),
        ] {
            std::fs::write(files.0.path().join(name), text)?;
        }
        Ok(files)
    }

    fn put(&self, value: &mut Value) {
        match value {
            Value::Array(list) => list.iter_mut().for_each(|value| self.put(value)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    let file = self.0.path().join(name);
                    match value.get_mut("filename") {
                        Some(written) if file.exists() => *written = file.display().to_string().into(),
                        _ => self.put(value),
                    }
                }
            }
            _ => {}
        }
    }
}

fn chosen() -> anyhow::Result<Vec<Case>> {
    cases(std::env::var("CASE").ok().as_deref())
}

#[test]
fn every_case_is_served_as_expected() -> anyhow::Result<()> {
    let update = std::env::var_os("UPDATE").is_some_and(|value| value == "1");
    let mut failed = Vec::new();
    for case in chosen()? {
        match case.compare(update) {
            Ok(differences) if differences.is_empty() => {}
            Ok(differences) => failed.push(differences),
            Err(error) => failed.push(format!("\n{error:#}\n")),
        }
    }
    assert!(
        failed.is_empty(),
        "{}\ncases that differ: {}; if the new text is right, this rewrites them:\n\n    UPDATE=1 cargo xtask test -p meltemi-tests --test golden\n",
        failed.concat(),
        failed.len()
    );
    Ok(())
}

#[tokio::test]
async fn envoy_takes_every_case() -> anyhow::Result<()> {
    let files = Files::new()?;
    let mut refused = Vec::new();
    for case in chosen()? {
        let mut bootstrap = bootstrap_of(&case.run()?.resources);
        if let Some(clusters) = bootstrap.pointer_mut("/static_resources/clusters") {
            // Where a proxy's own certificates come from is in its bootstrap.
            clusters.as_array_mut().context("clusters")?.push(sds::cluster("/nowhere/socket"));
        }
        files.put(&mut bootstrap);
        if let Err(error) = validate(&bootstrap.to_string()).await {
            refused.push(format!("\ntests/golden/{}: {error:#}", case.name));
        }
    }
    assert!(refused.is_empty(), "{}", refused.concat());
    Ok(())
}
