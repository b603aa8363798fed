//! Golden cases, named for what a user wants: what a proxy is served, and whether Envoy takes it.
//!
//! `CASE=canary` runs only those with that in their names; `UPDATE=1` rewrites the expected files, which a person then reads.

use meltemi_testkit::envoy::{bootstrap_of, validate};
use meltemi_tests::golden::{Case, cases};

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
    let mut refused = Vec::new();
    for case in chosen()? {
        let bootstrap = bootstrap_of(&case.run()?.resources);
        if let Err(error) = validate(&bootstrap.to_string()).await {
            refused.push(format!("\ntests/golden/{}: {error:#}", case.name));
        }
    }
    assert!(refused.is_empty(), "{}", refused.concat());
    Ok(())
}
