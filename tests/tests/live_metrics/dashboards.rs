//! Every query of every dashboard of deploy/grafana, asked of a Prometheus that has a mesh under load. Must not know what they show.

use anyhow::{Context, Result, ensure};
use meltemi_tests::live::eventually;
use meltemi_tests::live::prometheus::Prometheus;
use serde_json::Value;

/// The dashboards that there are: one that goes missing is seen.
const DASHBOARDS: [&str; 4] = ["control-plane", "mesh", "service", "workload"];

/// Each query is right, and has an answer.
pub(crate) async fn answer(prometheus: &Prometheus) -> Result<()> {
    for name in DASHBOARDS {
        let path = format!("{}/../deploy/grafana/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let dashboard: Value =
            serde_json::from_str(&std::fs::read_to_string(&path)?).with_context(|| path.clone())?;
        let variables = dashboard["templating"]["list"].as_array().into_iter().flatten();
        let variables: Vec<&str> = variables.filter_map(|variable| variable["name"].as_str()).collect();
        let mut asked = 0;
        for panel in dashboard["panels"].as_array().into_iter().flatten() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().with_context(|| format!("{path}: {target}"))?;
                let mut query = query.replace("$__rate_interval", "5m");
                for variable in &variables {
                    query = query.replace(&format!("${variable}"), ".*");
                }
                ensure!(!query.contains('$'), "{name}, {}: {query} has a variable of nobody", panel["title"]);
                // A rate wants two scrapes of a series; it may just have had its first.
                let asking = async || {
                    let found = prometheus.query(&query).await?;
                    ensure!(!found.is_empty(), "nothing answers {query}");
                    Ok(())
                };
                eventually(asking).await.with_context(|| format!("{name}, {}", panel["title"]))?;
                asked += 1;
            }
        }
        ensure!(asked >= 5, "{name}: {asked} queries");
    }
    Ok(())
}
