//! Asks the API server what the election decides, and tells who leads.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use tokio::sync::watch;
use tokio::time::timeout;

use super::election::{Act, Election, LEASE, Seen};

/// A renewal that takes longer is as good as none.
const ANSWER: Duration = Duration::from_secs(4);

/// Who stands for election.
pub(crate) struct Candidate {
    pub(crate) client: kube::Client,
    pub(crate) namespace: String,
    /// The Lease: one for all who would write the same status.
    pub(crate) lease: String,
    /// What the one who is elected writes, in a word for the log.
    pub(crate) writes: &'static str,
    /// Different for each replica.
    pub(crate) identity: String,
}

/// Stands until `stop`, and releases the Lease then, so that another one need not wait. The value says until when
/// this replica leads if it does not renew; none: it does not lead.
pub(crate) fn spawn(
    candidate: Candidate,
    stop: impl Future<Output = ()> + Send + 'static,
) -> (watch::Receiver<Option<Instant>>, tokio::task::JoinHandle<()>) {
    let (leads, is_leader) = watch::channel(None);
    let task = tokio::spawn(async move {
        let mut office = Office {
            api: Api::namespaced(candidate.client, &candidate.namespace),
            lease: candidate.lease,
            writes: candidate.writes,
            election: Election::new(candidate.identity),
            acquired: None,
            told: None,
        };
        let mut stop = std::pin::pin!(stop);
        loop {
            office.turn().await;
            let now = now();
            let until = office.election.leads_until().filter(|until| now < *until);
            let led = leads.send_replace(until).is_some();
            if led != until.is_some() {
                let identity = office.election.identity();
                tracing::info!(
                    identity,
                    leads = until.is_some(),
                    lease = office.lease,
                    "it was decided who writes {}",
                    office.writes
                );
            }
            let next = office.election.next(now);
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = &mut stop => break,
            }
        }
        leads.send_replace(None);
        office.release().await;
    });
    (is_leader, task)
}

struct Office {
    api: Api<Lease>,
    lease: String,
    writes: &'static str,
    election: Election,
    acquired: Option<MicroTime>,
    /// The last failure that was told, so that each is told once.
    told: Option<String>,
}

impl Office {
    async fn turn(&mut self) {
        let began = now();
        let outcome = timeout(ANSWER, self.ask(began)).await;
        match outcome {
            Ok(Ok(())) => self.told = None,
            // Another replica was quicker.
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {}
            Ok(Err(error)) => self.complain(&error.to_string()),
            Err(_) => self.complain("no answer in time"),
        }
    }

    fn complain(&mut self, why: &str) {
        if self.told.as_deref() != Some(why) {
            tracing::warn!(
                lease = self.lease,
                "the Lease cannot be asked for; no {} is written meanwhile: {why}",
                self.writes
            );
            self.told = Some(why.to_owned());
        }
    }

    async fn ask(&mut self, began: Instant) -> Result<(), kube::Error> {
        let lease = self.api.get_opt(&self.lease).await?;
        let seen = lease.as_ref().map(seen);
        match self.election.on_seen(seen.as_ref(), now()) {
            Act::Create => {
                self.acquired = Some(MicroTime(Timestamp::now()));
                self.api.create(&PostParams::default(), &self.written(None, 0)).await?;
                self.election.on_held(began);
            }
            Act::Hold { version, transitions, is_new } => {
                if is_new || self.acquired.is_none() {
                    self.acquired = Some(MicroTime(Timestamp::now()));
                }
                let lease = self.written(Some(version), transitions);
                self.api.replace(&self.lease, &PostParams::default(), &lease).await?;
                self.election.on_held(began);
            }
            Act::Look => {}
        }
        Ok(())
    }

    /// Lets go of the Lease if it is ours.
    async fn release(&mut self) {
        let released = async {
            let Some(mut lease) = self.api.get_opt(&self.lease).await? else { return Ok(()) };
            if seen(&lease).holder != self.election.identity() {
                return Ok(());
            }
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = None;
            }
            self.api.replace(&self.lease, &PostParams::default(), &lease).await.map(drop)
        };
        match timeout(ANSWER, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the Lease was not released; it runs out"),
            Err(_) => tracing::debug!("the Lease was not released in time; it runs out"),
        }
    }

    fn written(&self, version: Option<String>, transitions: i32) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(self.lease.clone()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.election.identity().to_owned()),
                lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
                acquire_time: self.acquired.clone(),
                renew_time: Some(MicroTime(Timestamp::now())),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.as_ref();
    Seen {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.and_then(|spec| spec.holder_identity.clone()).unwrap_or_default(),
        transitions: spec.and_then(|spec| spec.lease_transitions).unwrap_or_default(),
    }
}

fn now() -> Instant {
    Instant::now()
}
