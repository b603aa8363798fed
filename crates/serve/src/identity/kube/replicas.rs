//! What replicas report of the authority to each other, so that a change of signers waits for all of them.
//!
//! Knows: the page, and how it is read. Must not know: what a report leads to (`meltemi_ca::rotate` does).   Start at
//! [`client::PeerReplicas`]; [`Report`] is the page.
//! Invariant: who cannot be reached reports nothing, which is no consent.

pub(super) mod client;

use meltemi_ca::rotate;
use serde::{Deserialize, Serialize};

/// The page of the monitoring address.
pub const PATH: &str = "/api/v1/ca";

/// What a replica says of its authority: nothing of it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The epoch of the state that it answers by; 0: by none yet.
    pub epoch: u64,
}

impl From<Report> for rotate::Report {
    fn from(report: Report) -> Self {
        // Which workloads there are that live and have not asked is not known: their certificates' own end decides.
        Self { epoch: report.epoch, behind: None }
    }
}

/// Reads the page; none where it is no such page.
fn parse(body: &[u8]) -> Option<Report> {
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::{Report, parse};

    #[test]
    fn what_is_no_report_is_no_consent() {
        assert_eq!(parse(br#"{"epoch": 7, "later": true}"#), Some(Report { epoch: 7 }));
        for bad in ["", "{}", "[]", r#"{"epoch": "7"}"#, r#"{"epoch": -1}"#] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
