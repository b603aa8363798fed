//! What users write is taken, to the last field: every golden case and every example.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::objects::{cluster, documents, folder, offer};

/// The cases with an object that the API server refuses, with its reason and ours.
const REFUSED: &[(&str, &str)] = &[
    // Mistakes, which are the point of these two: what the CRDs' own rules see of them is refused there.
    ("filter-left-out", "goes with context WAYPOINT"),
    ("locality-mistakes", "greater than or equal to 1"),
    // A misspelled field, which is the point of the case: kubectl says so before Meltemi can.
    ("not-supported-yet", "timeuot"),
];

/// The YAML files of a folder and those beneath it.
fn files(path: PathBuf) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&path).with_context(|| path.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(path)?);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_istios(object: &Value) -> bool {
    object["apiVersion"].as_str().is_some_and(|version| version.contains(".istio.io/"))
}

#[tokio::test]
async fn every_golden_case_and_every_example_is_taken_with_strict_validation() -> Result<()> {
    let cluster = cluster().await?;
    let inputs = files(folder("tests/golden"))?.into_iter().filter(|file| file.ends_with("input.yaml"));
    let (mut offered, mut refused) = (0, BTreeMap::new());
    for file in inputs.chain(files(folder("examples"))?) {
        let case = file.parent().and_then(|folder| folder.file_name()).context("a folder")?;
        let case = case.to_string_lossy().into_owned();
        for object in documents(&std::fs::read_to_string(&file)?)?.iter().filter(|object| is_istios(object)) {
            offered += 1;
            if let Err(error) = offer(&cluster, object).await {
                refused.insert(case.clone(), format!("{error:#}"));
            }
        }
    }
    assert!(offered > 150, "only {offered} objects");
    let expected: Vec<&str> = REFUSED.iter().map(|(case, _)| *case).collect();
    assert_eq!(refused.keys().map(String::as_str).collect::<Vec<_>>(), expected, "{refused:#?}");
    for (case, reason) in REFUSED {
        assert!(refused[*case].contains(reason), "{case}: {}", refused[*case]);
    }
    Ok(())
}

/// What an API server does not know it drops without a word: so that what comes back is what was sent shows that nothing is lost.
#[tokio::test]
async fn what_is_written_comes_back_whole_at_every_version() -> Result<()> {
    let cluster = cluster().await?;
    let spec = json!({
        "hosts": ["reviews"], "gateways": ["mesh"], "exportTo": ["."],
        "http": [{
            "name": "canary",
            "match": [{"headers": {"cookie": {"regex": ".*beta.*"}}, "uri": {}, "queryParams": {"a": {"exact": "b"}}}],
            "route": [{"destination": {"host": "reviews", "subset": "v2", "port": {"number": 9080}}, "weight": 0}],
            "retries": {"attempts": 0, "perTryTimeout": "1m30.5s", "retryRemoteLocalities": null},
            "timeout": "100ms", "mirror_percent": 10, "mirrors": [{"destination": {"host": "c"}, "percentage": {"value": 0.5}}],
            "corsPolicy": {"allowOrigins": [{"prefix": "https://"}], "maxAge": "24h", "unmatchedPreflights": "IGNORE"},
            "fault": {"abort": {"http2Error": "REFUSED_STREAM", "percentage": {"value": 2.5}}}
        }]
    });
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let object = json!({
            "apiVersion": format!("networking.istio.io/{version}"), "kind": "VirtualService",
            "metadata": {"name": "whole"}, "spec": spec
        });
        assert_eq!(offer(&cluster, &object).await?["spec"], spec, "{version}");
    }
    Ok(())
}

/// `PeerAuthentication {}` means something: the default of the namespace.
#[tokio::test]
async fn only_kinds_that_are_nothing_without_a_spec_need_one() -> Result<()> {
    let cluster = cluster().await?;
    let mut need = Vec::new();
    for crd in meltemi_api::crd::all() {
        let object = json!({
            "apiVersion": format!("{}/{}", crd.group(), crd.served()[0]), "kind": crd.kind().as_str(),
            "metadata": {"name": "empty"}
        });
        if let Err(error) = offer(&cluster, &object).await {
            assert!(format!("{error:#}").contains("spec: Required value"), "{error:#}");
            need.push(crd.kind().as_str());
        }
    }
    assert_eq!(need, ["ServiceEntry", "WorkloadEntry", "WorkloadGroup"]);
    Ok(())
}
