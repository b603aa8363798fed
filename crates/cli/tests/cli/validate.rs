//! `meltemi validate`: exit codes and both outputs, as a pipeline reads them.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::json;

use crate::program::{ended, text};
use crate::yaml::{APP, ROUTE, RULE, broken_route, folder, reviews};

#[tokio::test]
async fn a_clean_folder_exits_with_0() -> Result<()> {
    let folder = reviews()?;
    let ended = ended(&["validate", text(folder.path())?]).await?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "5 objects: 0 errors, 0 warnings, 0 notes\n");
    Ok(())
}

#[tokio::test]
async fn warnings_exit_with_0_and_have_a_line_each_with_their_place() -> Result<()> {
    let route = ROUTE.replace("subset: v2", "subset: v3");
    let folder = folder(&[("app.yaml", APP), ("route.yaml", &route), ("rule.yaml", RULE)])?;
    let path = text(folder.path())?;
    let ended = ended(&["validate", path]).await?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let line = ended.stdout.lines().find(|line| line.contains("`v3`")).context("a finding about v3")?;
    let place = format!("{path}/route.yaml:10:");
    assert!(
        line.starts_with(&place) && line.contains(": warning: VirtualService default/reviews, "),
        "{line}"
    );
    assert!(ended.stdout.lines().last().is_some_and(|last| last.contains("0 errors")), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn errors_exit_with_1_and_say_file_line_and_column() -> Result<()> {
    let folder = folder(&[("app.yaml", APP), ("route.yaml", &broken_route()), ("rule.yaml", RULE)])?;
    let path = text(folder.path())?;
    let ended = ended(&["validate", path]).await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let first = ended.stdout.lines().next().unwrap_or_default();
    let start = format!(
        "{path}/route.yaml:9:15: error: VirtualService default/reviews, spec.http[0].route[0].weight: "
    );
    assert!(first.starts_with(&start), "{first}");
    assert!(ended.stdout.lines().all(|line| !line.contains('\u{1b}')), "no colours on a pipe");
    Ok(())
}

#[tokio::test]
async fn json_items_have_exactly_the_promised_fields() -> Result<()> {
    let route = broken_route();
    let app = format!("{APP}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: reviews}}\n");
    let folder = folder(&[("app.yaml", &app), ("route.yaml", &route), ("half.yaml", "kind: [")])?;
    let path = text(folder.path())?;
    let ended = ended(&["validate", path, "-o", "json"]).await?;
    assert_eq!(ended.code, Some(1));
    let report = ended.json()?;
    assert_eq!(
        report.as_object().map(|report| report.keys().collect::<Vec<_>>()),
        Some(vec![&"items".to_owned()])
    );
    let items = report["items"].as_array().context("items")?;
    let fields: BTreeSet<&str> = [
        "severity",
        "code",
        "kind",
        "namespace",
        "name",
        "field",
        "message",
        "hint",
        "file",
        "line",
        "column",
    ]
    .into();
    for item in items {
        let has: BTreeSet<&str> = item.as_object().context("an object")?.keys().map(String::as_str).collect();
        assert_eq!(has, fields);
    }
    let severities: BTreeSet<&str> = items.iter().filter_map(|item| item["severity"].as_str()).collect();
    assert!(severities.is_subset(&["error", "warning", "info"].into()), "{severities:?}");
    assert!(severities.contains("error") && severities.contains("info"), "{severities:?}");
    let weight =
        items.iter().find(|item| item["field"] == "spec.http[0].route[0].weight").context("the weight")?;
    for (field, value) in [
        ("severity", json!("error")),
        ("kind", json!("VirtualService")),
        ("namespace", json!("default")),
        ("name", json!("reviews")),
        ("file", json!(format!("{path}/route.yaml"))),
        ("line", json!(9)),
        ("column", json!(15)),
    ] {
        assert_eq!(weight[field], value, "{weight}");
    }
    assert!(weight["message"].as_str().is_some_and(|message| message.contains("most")), "{weight}");
    Ok(())
}

#[tokio::test]
async fn an_object_that_is_there_twice_is_found_where_it_is_not_in_force() -> Result<()> {
    let folder = folder(&[("a.yaml", APP), ("b.yaml", ROUTE), ("c.yaml", ROUTE), ("d.yaml", RULE)])?;
    let path = text(folder.path())?;
    let ended = ended(&["validate", path]).await?;
    let line = ended
        .stdout
        .lines()
        .find(|line| line.contains("VirtualService default/reviews"))
        .context("a finding")?;
    assert!(line.starts_with(&format!("{path}/c.yaml:1:1: ")) && line.contains("b.yaml"), "{line}");
    Ok(())
}

#[tokio::test]
async fn objects_of_namespaces_that_do_not_count_are_counted() -> Result<()> {
    let settings = "apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'discoverySelectors: [{matchLabels: {mesh: \"on\"}}]'}
";
    let folder =
        folder(&[("app.yaml", APP), ("route.yaml", ROUTE), ("rule.yaml", RULE), ("mesh.yaml", settings)])?;
    let ended = ended(&["validate", text(folder.path())?]).await?;
    assert_eq!(
        ended.stdout,
        "info: 5 objects do not count, by discoverySelectors or istio.io/rev: default 5 [set-aside]; in force: they are passed over\n6 objects: 0 errors, 0 warnings, 1 notes\n"
    );
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_looked_at_exits_with_2() -> Result<()> {
    let folder = reviews()?;
    let gone = folder.path().join("gone");
    let gone = text(&gone)?;
    let missing = ended(&["validate", gone]).await?;
    assert_eq!(missing.code, Some(2), "not 1, which says that the YAML is wrong: {missing:?}");
    assert!(missing.stderr.contains(gone) && missing.stderr.contains("there is no such file"), "{missing:?}");
    assert_eq!(missing.stdout, "");
    Ok(())
}
