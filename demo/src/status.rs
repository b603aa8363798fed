//! What the object says of itself: the conditions in its status.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use meltemi_testkit::kube::Cluster;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often the object is read until its status is that of its latest generation.
const POLL: Duration = Duration::from_millis(50);

/// The condition that says whether every proxy has it.
const IN_FORCE: &str = "meltemi.io/InForce";

/// The condition that says whether all that it refers to is there.
const RESOLVED: &str = "meltemi.io/ResolvedRefs";

/// What kubectl is to print of the conditions.
pub(crate) const CONDITIONS: &str =
    r#"{range .status.conditions[*]}{.type}={.status} {.reason} {.message}{"\n"}{end}"#;

/// What the conditions must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Every proxy has it.
    InForce,
    /// The last good state is kept, since something that it refers to is not there.
    Held,
}

/// The conditions as kubectl prints them, once they say of that generation what is wanted.
///
/// # Errors
/// When they do not within `limit`; with what they say.
pub(crate) async fn says(
    cluster: &Cluster,
    generation: i64,
    wanted: Wanted,
    limit: Duration,
) -> Result<String> {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Value::Null;
    let reading = async {
        loop {
            ticks.tick().await;
            let object = cluster.get("networking.istio.io/v1", "VirtualService", "default", "myapp").await?;
            last = object.context("the VirtualService is gone")?.data["status"].take();
            if is_as_wanted(&last, generation, wanted) {
                return Ok(());
            }
        }
    };
    timeout(limit, reading).await.unwrap_or_else(|_| {
        bail!("after {limit:?} the status says of generation {generation} something else than {wanted:?}: {last}")
    })?;
    let format = format!("jsonpath={CONDITIONS}");
    cluster.kubectl(&["get", "virtualservice", "myapp", "-o", &format]).await
}

fn is_as_wanted(status: &Value, generation: i64, wanted: Wanted) -> bool {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let holds = |kind: &str, state: &str| {
        conditions.iter().any(|condition| {
            condition["type"] == kind
                && condition["status"] == state
                && condition["observedGeneration"] == generation
                // Why it is not in force, among several reasons.
                && (kind != IN_FORCE || state == "True" || condition["reason"] == "Held")
        })
    };
    match wanted {
        Wanted::InForce => holds(IN_FORCE, "True") && holds(RESOLVED, "True"),
        Wanted::Held => holds(IN_FORCE, "False") && holds(RESOLVED, "False"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(in_force: &str, reason: &str, resolved: &str) -> Value {
        json!({"conditions": [
            {"type": IN_FORCE, "status": in_force, "reason": reason, "observedGeneration": 2},
            {"type": RESOLVED, "status": resolved, "reason": "any", "observedGeneration": 2},
        ]})
    }

    #[test]
    fn conditions_of_another_generation_say_nothing_of_this_one() {
        let status = status("True", "InForce", "True");
        assert!(is_as_wanted(&status, 2, Wanted::InForce));
        assert!(!is_as_wanted(&status, 3, Wanted::InForce));
        assert!(!is_as_wanted(&json!({}), 2, Wanted::InForce));
    }

    #[test]
    fn what_is_only_late_is_not_held() {
        assert!(is_as_wanted(&status("False", "Held", "False"), 2, Wanted::Held));
        assert!(!is_as_wanted(&status("False", "Propagating", "False"), 2, Wanted::Held));
        assert!(!is_as_wanted(&status("False", "Held", "True"), 2, Wanted::Held));
        assert!(!is_as_wanted(&status("True", "InForce", "True"), 2, Wanted::Held));
    }
}
