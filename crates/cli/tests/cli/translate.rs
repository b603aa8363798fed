//! `meltemi translate`: what Envoy would be sent, as protobuf JSON, the same from every process.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::program::{Ended, ended, text};
use crate::yaml::{APP, ROUTE, RULE, folder, reviews};

async fn translated(folder: &std::path::Path, more: &[&str]) -> Result<Ended> {
    let arguments = ["translate", "--config", text(folder)?, "--proxy", "client.default", "-o", "json"];
    let ended = ended(&[arguments.as_slice(), more].concat()).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    Ok(ended)
}

fn names(all: &Value, kind: &str, field: &str) -> Vec<String> {
    let all = all[kind].as_array().into_iter().flatten();
    all.filter_map(|one| one[field].as_str()).map(str::to_owned).collect()
}

#[tokio::test]
async fn json_is_clusters_listeners_routes_and_endpoints() -> Result<()> {
    let folder = reviews()?;
    let all = translated(folder.path(), &[]).await?.json()?;
    let keys: Vec<&String> = all.as_object().context("an object")?.keys().collect();
    assert_eq!(keys, ["clusters", "listeners", "routes", "endpoints"]);
    let of_subset = |subset| format!("outbound|9080|{subset}|reviews.default.svc.cluster.local");
    let clusters = names(&all, "clusters", "name");
    let assignments = names(&all, "endpoints", "cluster_name");
    for subset in ["", "v1", "v2"] {
        assert!(clusters.contains(&of_subset(subset)), "{clusters:?}");
        assert!(assignments.contains(&of_subset(subset)), "{assignments:?}");
    }
    assert!(names(&all, "routes", "name").contains(&"9080".to_owned()), "{}", all["routes"]);
    assert!(names(&all, "listeners", "name").contains(&"virtualOutbound".to_owned()));
    let hosts = all["routes"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|route| route["virtual_hosts"].as_array().cloned().unwrap_or_default());
    let reviews: Vec<Value> =
        hosts.filter(|host| host["domains"].to_string().contains("\"reviews\"")).collect();
    let weighted = &reviews[0]["routes"][0]["route"]["weighted_clusters"]["clusters"];
    assert_eq!((weighted[0]["weight"].as_u64(), weighted[1]["weight"].as_u64()), (Some(90), Some(10)));
    Ok(())
}

#[tokio::test]
async fn two_processes_print_the_same_bytes_however_the_files_are_cut() -> Result<()> {
    let documents: Vec<String> = (0..40)
        .flat_map(|index| {
            let named = |text: &str| text.replace("reviews", &format!("app{index}"));
            [named(APP), named(RULE), named(ROUTE)]
        })
        .collect();
    let one = folder(&[("all.yaml", &documents.join("---\n"))])?;
    let many = folder(&[])?;
    for (index, document) in documents.iter().enumerate() {
        std::fs::write(many.path().join(format!("{}.yaml", documents.len() - index)), document)?;
    }
    for more in [&[][..], &["--label", "app=app7", "--ip", "10.0.0.1", "--interception", "NONE"]] {
        let first = translated(one.path(), more).await?.stdout;
        assert!(first.len() > 100_000, "{} bytes", first.len());
        assert!(first == translated(one.path(), more).await?.stdout);
        assert!(first == translated(many.path(), more).await?.stdout);
    }
    Ok(())
}

#[tokio::test]
async fn the_proxy_that_is_described_decides_what_it_gets() -> Result<()> {
    let folder = reviews()?;
    let redirected = translated(folder.path(), &[]).await?.json()?;
    let bound = translated(folder.path(), &["--interception", "NONE"]).await?.json()?;
    let addresses = |all: &Value| all["listeners"].to_string();
    assert!(addresses(&redirected).contains("15001"));
    assert!(!addresses(&bound).contains("15001") && addresses(&bound).contains("\"127.0.0.1\""));
    let server = translated(folder.path(), &["--label", "app=reviews", "--ip", "10.0.0.1"]).await?.json()?;
    let inbound = |all: &Value| names(all, "clusters", "name").iter().any(|name| name == "inbound|9080||");
    assert!(inbound(&server) && !inbound(&redirected), "{:?}", names(&server, "clusters", "name"));
    Ok(())
}

#[tokio::test]
async fn yaml_is_the_default() -> Result<()> {
    let folder = reviews()?;
    let ended = ended(&["translate", "--config", text(folder.path())?, "--proxy", "client.default"]).await?;
    assert_eq!(ended.code, Some(0));
    let keys: Vec<&str> = ended.stdout.lines().filter(|line| line.starts_with(char::is_alphabetic)).collect();
    assert_eq!(keys, ["clusters:", "listeners:", "routes:", "endpoints:"]);
    Ok(())
}
