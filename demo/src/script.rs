//! What the demo does: patches of the VirtualService, and what the traffic must do after each.

use anyhow::Result;
use meltemi_testkit::http::{Tally, share_bound};
use serde_json::{Value, json};

use crate::traffic::MARK;

/// Requests on which a share is judged: of 2,000 the share of 10 % may be off by 3.0 % by chance (4.5 standard deviations).
pub(crate) const SAMPLE: u64 = 2_000;

/// One step, and what must follow.
pub(crate) struct Act {
    pub(crate) title: &'static str,
    pub(crate) change: Change,
    /// Whether it comes into force. What does not is held: the traffic stays as it was, and the object says why.
    pub(crate) is_held: bool,
    /// The share of v2 (0 to 1); the rest is v1's.
    pub(crate) share_of_v2: f64,
}

/// What is changed in the VirtualService of `examples/canary/routing.yaml`.
#[derive(Clone, Copy)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// The weights of v1 and v2.
    Weights(u8, u8),
    /// The subset of the second destination.
    Subset(&'static str),
    /// The same, and the weights.
    Both(&'static str, u8, u8),
}

pub(crate) const SCRIPT: &[Act] = &[
    Act { title: "canary 90/10", change: Change::None, is_held: false, share_of_v2: 0.1 },
    Act { title: "canary 50/50", change: Change::Weights(50, 50), is_held: false, share_of_v2: 0.5 },
    Act { title: "canary 0/100", change: Change::Weights(0, 100), is_held: false, share_of_v2: 1.0 },
    Act {
        title: "a subset that is not there",
        change: Change::Subset("v3"),
        is_held: true,
        share_of_v2: 1.0,
    },
    Act {
        title: "mended, and 90/10 again",
        change: Change::Both("v2", 90, 10),
        is_held: false,
        share_of_v2: 0.1,
    },
];

impl Change {
    /// As a JSON patch, which has each answer carry `mark` as well; none where nothing is changed.
    pub(crate) fn patch(self, mark: &str) -> Option<Value> {
        let replace = |path: &str, value: Value| json!({"op": "replace", "path": format!("/spec/http/0/route/{path}"), "value": value});
        let weights = |v1: u8, v2: u8| [replace("0/weight", json!(v1)), replace("1/weight", json!(v2))];
        let subset = |name: &str| replace("1/destination/subset", json!(name));
        let mut all = match self {
            Self::None => return None,
            Self::Weights(v1, v2) => weights(v1, v2).to_vec(),
            Self::Subset(name) => vec![subset(name)],
            Self::Both(name, v1, v2) => {
                let mut all = vec![subset(name)];
                all.extend(weights(v1, v2));
                all
            }
        };
        all.push(json!({"op": "add", "path": "/spec/http/0/headers", "value": {"response": {"set": {MARK: mark}}}}));
        Some(Value::Array(all))
    }
}

/// The command by which a person sends that patch.
pub(crate) fn command(patch: &Value) -> String {
    let lines: Vec<String> = patch.as_array().into_iter().flatten().map(Value::to_string).collect();
    format!("kubectl patch virtualservice myapp --type json -p '[\n    {}]'", lines.join(",\n    "))
}

impl Act {
    /// Whether the requests went as they should.
    pub(crate) fn judge(&self, tally: &Tally) -> Result<()> {
        tally.expect_all(200)?;
        tally.expect_share("v2", self.share_of_v2)?;
        // What v2 does not answer, v1 must.
        tally.expect_share("v1", 1.0 - self.share_of_v2)
    }

    /// What must be seen, for people.
    pub(crate) fn wanted(&self) -> String {
        let bound = share_bound(self.share_of_v2, SAMPLE) * 100.0;
        let percent = self.share_of_v2 * 100.0;
        if bound == 0.0 { format!("v2 {percent:.0} %") } else { format!("v2 {percent:.0} % ± {bound:.1}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_shown_as_a_command_that_a_shell_takes() {
        let patch = Change::Subset("v3").patch("broken").unwrap_or_default();
        assert_eq!(
            command(&patch),
            "kubectl patch virtualservice myapp --type json -p '[
    {\"op\":\"replace\",\"path\":\"/spec/http/0/route/1/destination/subset\",\"value\":\"v3\"},
    {\"op\":\"add\",\"path\":\"/spec/http/0/headers\",\"value\":{\"response\":{\"set\":{\"x-step\":\"broken\"}}}}]'"
        );
        assert_eq!(Change::None.patch("x"), None);
    }
}
