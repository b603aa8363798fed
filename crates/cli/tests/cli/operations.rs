//! docs/operations.md has every flag, metric, finding, and value of the environment, so that the page cannot rot.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::program::{Serving, ended};
use crate::yaml::reviews;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What stands between backticks in the page, cut into words.
fn documented() -> Result<BTreeSet<String>> {
    let page = std::fs::read_to_string(checkout().join("docs/operations.md"))?;
    let code = page.split('`').skip(1).step_by(2);
    Ok(code.flat_map(|text| text.split([' ', '=', '\\', '|'])).map(str::to_owned).collect())
}

fn assert_documented(what: &str, names: &BTreeSet<String>) -> Result<()> {
    let documented = documented()?;
    let missing: Vec<&String> = names.iter().filter(|name| !documented.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/operations.md does not name {what} {missing:?}");
    Ok(())
}

/// The options of `serve`, and the variables behind them.
async fn options() -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let help = ended(&["serve", "--help"]).await?.stdout;
    let words = help.split(|c: char| c.is_whitespace() || ",:;.".contains(c));
    let flags = words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned);
    let mut flags: BTreeSet<String> = flags.collect();
    flags.remove("--help");
    let variables = help.split("[env: ").skip(1).filter_map(|after| after.split(['=', ']']).next());
    Ok((flags, variables.map(str::to_owned).collect()))
}

#[tokio::test]
async fn every_flag_of_serve_and_its_variable_is_documented() -> Result<()> {
    let (flags, variables) = options().await?;
    assert!(flags.len() > 12 && flags.contains("--holds"), "{flags:?}");
    assert!(variables.len() > 12 && variables.contains("POD_NAME"), "{variables:?}");
    assert_documented("the flags", &flags)?;
    assert_documented("the variables", &variables)
}

#[tokio::test]
async fn the_chart_sets_variables_that_the_program_reads() -> Result<()> {
    let (_, variables) = options().await?;
    let deployment =
        std::fs::read_to_string(checkout().join("deploy/helm/meltemi/templates/deployment.yaml"))?;
    let set = deployment.split("name: ").skip(1).filter_map(|after| after.split([',', '\n', '}']).next());
    let set: BTreeSet<&str> =
        set.filter(|name| name.starts_with("MELTEMI_") || name.starts_with("POD_")).collect();
    assert!(set.len() > 6, "{set:?}");
    let unread: Vec<&str> = set.into_iter().filter(|name| !variables.contains(*name)).collect();
    assert_eq!(unread, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn every_metric_that_is_served_is_documented() -> Result<()> {
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let text = serving.page(serving.monitoring, "/metrics").await?.text();
    let names: BTreeSet<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(|name| {
            let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            of_histogram.unwrap_or(name).to_owned()
        })
        .collect();
    assert!(names.contains("meltemi_serve_generation"), "{text}");
    assert_documented("the metrics", &names)
}

/// Those that have no value yet are not served: so the code is asked, too.
#[test]
fn every_metric_that_is_registered_is_documented() -> Result<()> {
    let documented = documented()?;
    let mut found = 0;
    for (_, text) in product()? {
        let Some((_, after)) = text.split_once("sub_registry_with_prefix(\"") else { continue };
        let prefix = after.split('"').next().context("a prefix")?;
        for registered in after.split(".register").skip(1) {
            let name = registered.split('"').nth(1).context("a name")?;
            let name = format!("{prefix}_{name}");
            found += 1;
            // A unit and `_total` follow by themselves.
            let is_it = |other: &String| {
                other.strip_prefix(&name).is_some_and(|rest| matches!(rest, "" | "_total" | "_seconds"))
            };
            assert!(documented.iter().any(is_it), "docs/operations.md does not name the metric {name}");
        }
    }
    assert!(found > 20, "{found}");
    Ok(())
}

/// Words with hyphens in the code that are no findings: Envoy's, Istio's and Kubernetes'.
const NO_FINDINGS: &[&str] = &[
    "connect-failure",
    "deadline-exceeded",
    "envoy-ratelimited",
    "gateway-error",
    "grpc-web",
    "http-monitoring",
    "http3-post-connect-failure",
    "in-force",
    "istio-envoy",
    "istio-h2",
    "istio-pilot",
    "istio-system",
    "istiod-remote",
    "pod-template-hash",
    "refused-stream",
    "reset-before-request",
    "resource-exhausted",
    "retriable-4xx",
    "retriable-headers",
    "retriable-status-codes",
    "rollouts-pod-template-hash",
    "sds-grpc",
    // Istio's control plane, as the API server knows it.
    "pilot-discovery",
    // Istio's name for what a proxy sees where no Sidecar says it.
    "default-sidecar",
    // How the metadata of Istio's routes and clusters names a kind.
    "destination-rule",
    "virtual-service",
];

#[test]
fn every_code_of_a_finding_is_documented() -> Result<()> {
    let mut codes = BTreeSet::new();
    for (file, text) in product()? {
        let knows_findings = ["api", "model", "sources", "translate", "serve"];
        if !knows_findings.iter().any(|name| file.starts_with(name)) || file.starts_with("api/src/crd") {
            continue;
        }
        // Every text of the form of a code; who means none says so above.
        for text in text.split('"') {
            let is_word = |word: &str| {
                !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
            };
            let is_code = text.starts_with(|c: char| c.is_ascii_lowercase())
                && text.contains('-')
                && text.split('-').all(is_word);
            if is_code {
                codes.insert(text.to_owned());
            }
        }
        for call in ["Finding::error(\"", "Finding::warning(\"", "Finding::info(\""] {
            let codes_of_one_word = text.split(call).skip(1).filter_map(|after| after.split('"').next());
            codes.extend(codes_of_one_word.map(str::to_owned));
        }
    }
    codes.retain(|code| !NO_FINDINGS.contains(&code.as_str()));
    assert!(codes.len() > 90 && codes.contains("duplicate"), "{codes:?}");
    assert_documented("the findings (those that are none stand in NO_FINDINGS)", &codes)
}

/// The sources of the product without their tests, by their place beneath `crates`.
fn product() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    collect(&checkout().join("crates"), &mut found)?;
    Ok(found)
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" && name != "testkit" {
                collect(&path, found)?;
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            let text = std::fs::read_to_string(&path)?;
            // Its attributes may stand between `cfg(test)` and the module.
            let product = text.split("\nmod tests {").next().unwrap_or_default();
            // A comment may hold a lone quote.
            let lines = product.lines().filter(|line| !line.trim_start().starts_with("//"));
            let place = path.strip_prefix(checkout().join("crates"))?.display().to_string();
            found.push((place, lines.collect::<Vec<_>>().join("\n")));
        }
    }
    Ok(())
}

#[test]
fn the_alerts_ask_for_metrics_that_there_are() -> Result<()> {
    let page = std::fs::read_to_string(checkout().join("docs/operations.md"))?;
    let block =
        page.split("```yaml\n").nth(1).and_then(|after| after.split("```").next()).context("a block")?;
    let rules: serde_json::Value = serde_norway::from_str(block)?;
    let rules = rules["groups"][0]["rules"].as_array().context("rules")?;
    assert!(rules.len() > 3);
    let documented = documented()?;
    for rule in rules {
        for field in ["alert", "expr"] {
            assert!(rule[field].is_string(), "{rule}");
        }
        assert!(rule["annotations"]["action"].is_string(), "an alert says what to do: {rule}");
        let expression = rule["expr"].as_str().unwrap_or_default();
        let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for metric in words.filter(|word| word.starts_with("meltemi_")) {
            let metric = metric.strip_suffix("_bucket").unwrap_or(metric);
            assert!(documented.contains(metric), "{metric}");
        }
    }
    Ok(())
}
