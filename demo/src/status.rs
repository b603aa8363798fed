//! What the object says of itself: the conditions in its status.

use std::time::Duration;

use anyhow::{Context, Result};
use meltemi_testkit::kube::Cluster;
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often the object is read until its status is that of its latest generation.
const POLL: Duration = Duration::from_millis(50);

/// What kubectl prints of the conditions.
const SHOWN: &str =
    r#"jsonpath={range .status.conditions[*]}{.type}={.status} {.reason}: {.message}{"\n"}{end}"#;

/// The condition that says whether every proxy has it.
const IN_FORCE: &str = "meltemi.io/InForce";

/// The generation of the VirtualService, and what the condition in force is for it; none while there is none for it.
pub(crate) struct Status {
    pub(crate) in_force: Option<bool>,
    pub(crate) has_conditions: bool,
}

/// The status, once it says of that generation whether it is in force, or after `limit`.
pub(crate) async fn of_generation(
    cluster: &Cluster,
    generation: i64,
    wanted: bool,
    limit: Duration,
) -> Result<Status> {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let start = Instant::now();
    loop {
        ticks.tick().await;
        let object = cluster.get("networking.istio.io/v1", "VirtualService", "default", "myapp").await?;
        let status = read(&object.context("the VirtualService is gone")?.data["status"], generation);
        if status.in_force == Some(wanted) || start.elapsed() > limit {
            return Ok(status);
        }
    }
}

/// The conditions, as kubectl prints them.
pub(crate) async fn shown(cluster: &Cluster) -> Result<String> {
    let format = format!("jsonpath={CONDITIONS}");
    cluster.kubectl(&["get", "virtualservice", "myapp", "-o", &format]).await
}

fn read(status: &Value, generation: i64) -> Status {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_generation = |condition: &&Value| {
        condition["type"] == IN_FORCE
            && condition["observedGeneration"].as_i64().is_some_and(|observed| observed >= generation)
    };
    Status {
        in_force: conditions.iter().find(of_generation).map(|condition| condition["status"] == "True"),
        has_conditions: !conditions.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_of_an_older_generation_says_nothing_of_this_one() {
        let status = |generation| json!({"conditions": [{"type": IN_FORCE, "status": "True", "observedGeneration": generation}]});
        assert_eq!(read(&status(2), 2).in_force, Some(true));
        assert_eq!(read(&status(1), 2).in_force, None);
        assert!(!read(&json!({}), 2).has_conditions);
    }
}
