//! What a load met, and how a share is judged.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Answer;

/// The standard deviations that a share may be off before it is called wrong. By chance alone a right split is called
/// wrong once in 150,000 checks at 4.5.
pub const SIGMAS: f64 = 4.5;

/// Failures whose text is kept.
const KEPT: usize = 20;

/// How far the share of `count` requests may be from `share` (0 to 1) by chance: [`SIGMAS`] standard deviations of the
/// binomial distribution, and at least one request; exactly 0 for a share of 0 or 1, which knows no chance.
pub fn share_bound(share: f64, count: u64) -> f64 {
    if count == 0 || share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    #[allow(clippy::cast_precision_loss, reason = "no test sends 2^52 requests")]
    let count = count as f64;
    (SIGMAS * (share * (1.0 - share) / count).sqrt()).max(1.0 / count)
}

/// The answers of a load.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answers by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// Answers by the version of the app that gave them; those that no app gave are not here.
    pub versions: BTreeMap<String, u64>,
    /// Requests without an answer.
    pub failed: u64,
    /// What the first of those met.
    pub failures: Vec<String>,
    took: Vec<Duration>,
}

impl Tally {
    /// Notes an answer.
    pub fn answer(&mut self, answer: &Answer) {
        *self.statuses.entry(answer.status).or_default() += 1;
        if let Some(version) = answer.version() {
            *self.versions.entry(version.to_owned()).or_default() += 1;
        }
        self.took.push(answer.took);
    }

    /// Notes a request without an answer.
    pub fn failure(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        if self.failures.len() < KEPT {
            self.failures.push(format!("{error:#}"));
        }
    }

    /// Requests, with and without an answer.
    pub fn total(&self) -> u64 {
        self.statuses.values().sum::<u64>() + self.failed
    }

    /// Answers of that version.
    pub fn version(&self, version: &str) -> u64 {
        self.versions.get(version).copied().unwrap_or_default()
    }

    /// The share (0 to 1) of a version in all requests.
    pub fn share(&self, version: &str) -> f64 {
        let total = self.total();
        if total == 0 {
            return 0.0;
        }
        #[allow(clippy::cast_precision_loss, reason = "no test sends 2^52 requests")]
        let share = self.version(version) as f64 / total as f64;
        share
    }

    /// The time within which that part (0 to 1) of the answers came; zero without answers.
    pub fn percentile(&self, part: f64) -> Duration {
        let mut took = self.took.clone();
        took.sort_unstable();
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into a list in memory"
        )]
        let index = (took.len().saturating_sub(1) as f64 * part.clamp(0.0, 1.0)).round() as usize;
        took.get(index).copied().unwrap_or_default()
    }

    /// Fails unless every request was answered with `status`.
    ///
    /// # Errors
    /// Names what else came.
    pub fn expect_all(&self, status: u16) -> Result<()> {
        let good = self.statuses.get(&status).copied().unwrap_or_default();
        if good == 0 || good != self.total() {
            bail!("of {} requests {good} were answered with {status}: {self}", self.total());
        }
        Ok(())
    }

    /// Fails unless the share of `version` is `share` (0 to 1), within [`share_bound`].
    ///
    /// # Errors
    /// Names the share that was found, and the bound.
    pub fn expect_share(&self, version: &str, share: f64) -> Result<()> {
        let bound = share_bound(share, self.total());
        let found = self.share(version);
        // Shares are quotients of whole numbers: equal ones may differ in the last bit.
        if self.total() == 0 || (found - share).abs() > bound + f64::EPSILON {
            bail!(
                "{version} has {:.1} % of {} requests, not {:.1} % ± {:.1}: {self}",
                found * 100.0,
                self.total(),
                share * 100.0,
                bound * 100.0
            );
        }
        Ok(())
    }

    /// Adds what another met.
    pub fn merge(&mut self, other: &Self) {
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (version, count) in &other.versions {
            *self.versions.entry(version.clone()).or_default() += count;
        }
        self.failed += other.failed;
        let room = KEPT.saturating_sub(self.failures.len());
        self.failures.extend(other.failures.iter().take(room).cloned());
        self.took.extend_from_slice(&other.took);
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} requests, codes {:?}, versions {:?}", self.total(), self.statuses, self.versions)?;
        if let Some(first) = self.failures.first() {
            write!(f, ", {} without an answer, the first: {first}", self.failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(v1: u64, v2: u64) -> Tally {
        let versions = BTreeMap::from([("v1".to_owned(), v1), ("v2".to_owned(), v2)]);
        Tally { statuses: BTreeMap::from([(200, v1 + v2)]), versions, ..Tally::default() }
    }

    #[test]
    fn a_share_within_chance_passes_and_one_beyond_does_not() {
        // sqrt(0.1 × 0.9 / 1000) is 0.00949: the bound is 4.27 %.
        assert!(tally(900, 100).expect_share("v2", 0.1).is_ok());
        assert!(tally(858, 142).expect_share("v2", 0.1).is_ok());
        assert!(tally(856, 144).expect_share("v2", 0.1).is_err());
    }

    #[test]
    fn a_share_of_nothing_allows_no_request() {
        assert!(tally(1000, 0).expect_share("v2", 0.0).is_ok());
        assert!(tally(999, 1).expect_share("v2", 0.0).is_err());
        assert!(tally(999, 1).expect_share("v1", 1.0).is_err());
        assert!(Tally::default().expect_share("v2", 0.0).is_err());
    }

    #[test]
    fn one_request_without_an_answer_is_not_all_answered() {
        let mut tally = tally(5, 5);
        assert!(tally.expect_all(200).is_ok());
        tally.failure(&anyhow::anyhow!("reset"));
        assert!(tally.expect_all(200).is_err());
    }

    #[test]
    fn the_median_is_the_middle_answer() {
        let took = [5, 1, 3].map(Duration::from_millis).to_vec();
        assert_eq!(Tally { took, ..Tally::default() }.percentile(0.5), Duration::from_millis(3));
    }
}
