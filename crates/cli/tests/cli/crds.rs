//! `meltemi crds`: what an API server is given, and what the chart carries along.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::program::ended;

/// The stream of documents that it prints.
async fn printed(arguments: &[&str]) -> Result<(String, Vec<Value>)> {
    let ended = ended(&[&["crds"], arguments].concat()).await?;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let documents: Result<Vec<Value>, _> =
        serde_norway::Deserializer::from_str(&ended.stdout).map(Value::deserialize).collect();
    let documents = documents.with_context(|| format!("crds {arguments:?}"))?;
    Ok((ended.stdout, documents))
}

fn names(crds: &[Value]) -> Vec<&str> {
    crds.iter().filter_map(|crd| crd["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn it_prints_a_stream_of_definitions_that_kubectl_takes() -> Result<()> {
    let (text, crds) = printed(&[]).await?;
    assert_eq!(crds.len(), 13, "{:?}", names(&crds));
    for crd in &crds {
        assert_eq!(crd["apiVersion"], "apiextensions.k8s.io/v1");
        assert_eq!(crd["kind"], "CustomResourceDefinition");
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert!(schema["properties"]["spec"]["properties"].is_object(), "{crd}");
    }
    assert!(text.ends_with('\n') && !text.starts_with("---"));
    assert_eq!(text, printed(&["-o", "yaml"]).await?.0, "the same from every process");
    Ok(())
}

#[tokio::test]
async fn json_is_a_list_of_the_same() -> Result<()> {
    let list = ended(&["crds", "-o", "json"]).await?.json()?;
    assert_eq!((list["apiVersion"].as_str(), list["kind"].as_str()), (Some("v1"), Some("List")));
    assert_eq!(list["items"].as_array().context("items")?, &printed(&[]).await?.1);
    Ok(())
}

#[tokio::test]
async fn what_is_excluded_is_left_out_and_a_mistyped_name_is_an_error() -> Result<()> {
    let (_, crds) =
        printed(&["--exclude", "gateways.networking.istio.io", "--exclude", "sidecars.networking.istio.io"])
            .await?;
    let names = names(&crds);
    assert_eq!(names.len(), 11);
    assert!(
        !names.iter().any(|name| name.starts_with("gateways") || name.starts_with("sidecars")),
        "{names:?}"
    );
    let ended = ended(&["crds", "--exclude", "gateways"]).await?;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("gateways.networking.istio.io"), "{}", ended.stderr);
    Ok(())
}

fn folder_of_the_chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/helm/meltemi/files/crds")
}

/// One file for each definition, so that each can be left out. `UPDATE=1` writes them.
#[tokio::test]
async fn the_chart_carries_what_the_program_prints() -> Result<()> {
    let (text, crds) = printed(&[]).await?;
    let folder = folder_of_the_chart();
    let mut present: Vec<String> = std::fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    present.sort();
    let expected: Vec<String> = names(&crds).iter().map(|name| format!("{name}.yaml")).collect();
    let update = std::env::var_os("UPDATE").is_some();
    if update {
        for stale in present.iter().filter(|name| !expected.contains(name)) {
            std::fs::remove_file(folder.join(stale))?;
        }
    } else {
        assert_eq!(present, expected, "UPDATE=1 writes them");
    }
    for (name, document) in expected.iter().zip(text.split("---\n")) {
        let file = folder.join(name);
        if update {
            std::fs::write(&file, document)?;
        }
        let carried = std::fs::read_to_string(&file)?;
        assert!(
            carried == document,
            "{} is not what `meltemi crds` prints: UPDATE=1 writes it",
            file.display()
        );
    }
    Ok(())
}
