//! The keeper over a real state folder, and two of them over one state, with a clock that the test turns.

use std::sync::Mutex;
use std::time::Duration;

use meltemi_ca::entitlement::Rules;
use meltemi_ca::rotate::{Report, World};
use meltemi_ca::{CLOCK_SKEW, Keep, KeepError, Kept, Replicas};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::identity::clock::Clock;
use crate::identity::metrics::IdentityMetrics;
use crate::identity::state::State;

const HOUR: Duration = Duration::from_secs(3600);

/// Only ends a test that has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// Turned by the test.
#[derive(Clone)]
struct Hand(Arc<watch::Sender<Time>>);

impl Hand {
    fn new() -> Self {
        Self(Arc::new(watch::channel(Time::from(std::time::SystemTime::now())).0))
    }

    fn turn(&self, to: Time) {
        self.0.send_replace(to);
    }
}

impl Clock for Hand {
    fn now(&self) -> Time {
        *self.0.borrow()
    }

    fn at(&self, time: Time) -> BoxFuture<'static, ()> {
        let mut hand = self.0.subscribe();
        async move {
            if hand.wait_for(|now| *now >= time).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

/// A state that several share, as a Secret is.
#[derive(Default)]
struct Memory {
    kept: Mutex<Option<Kept>>,
    /// Answers nobody as long as it is true.
    away: Mutex<bool>,
    changed: Notify,
    /// How often it was read.
    reads: watch::Sender<u64>,
    epochs: Mutex<Vec<watch::Receiver<u64>>>,
}

impl Memory {
    fn there(&self) -> Result<(), KeepError> {
        if *self.away.lock().unwrap() { Err(KeepError::Unavailable("away".to_owned())) } else { Ok(()) }
    }
}

struct Part(Arc<Memory>);

impl Keep for Part {
    fn load(&self) -> BoxFuture<'_, Result<Option<Kept>, KeepError>> {
        let kept = self.0.there().map(|()| self.0.kept.lock().unwrap().clone());
        self.0.reads.send_modify(|reads| *reads += 1);
        std::future::ready(kept).boxed()
    }

    fn swap<'a>(&'a self, from: Option<u64>, kept: &'a Kept) -> BoxFuture<'a, Result<(), KeepError>> {
        let swap = || {
            self.0.there()?;
            let mut now = self.0.kept.lock().unwrap();
            if now.as_ref().map(|now| now.rotation.revision()) != from {
                return Err(KeepError::Conflict);
            }
            *now = Some(kept.clone());
            self.0.changed.notify_waiters();
            Ok(())
        };
        std::future::ready(swap()).boxed()
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        self.0.changed.notified().boxed()
    }
}

impl Replicas for Part {
    fn world(&self) -> BoxFuture<'_, World> {
        let epochs = self.0.epochs.lock().unwrap();
        let report = |epoch: &watch::Receiver<u64>| Report { epoch: *epoch.borrow(), behind: None };
        let world = epochs.iter().enumerate().map(|(n, epoch)| (n.to_string(), Some(report(epoch))));
        std::future::ready(world.collect()).boxed()
    }
}

struct Run {
    keeper: Arc<Keeper>,
    epoch: watch::Receiver<u64>,
    tasks: JoinSet<Result<(), Failure>>,
    _held: (watch::Sender<bool>, watch::Sender<bool>, watch::Sender<Arc<Rules>>),
}

fn run(hand: &Hand, parts: impl FnOnce(watch::Receiver<u64>) -> (Arc<dyn Keep>, Arc<dyn Replicas>)) -> Run {
    let (epoch_sender, epoch) = watch::channel(0);
    let (keep, replicas) = parts(epoch.clone());
    let (ready_sender, ready) = watch::channel(true);
    let (stop, stopped) = watch::channel(false);
    let (rules, domains) = watch::channel(Arc::new(Rules::new("cluster.local", [], [])));
    let mut tasks = JoinSet::new();
    let task = Task {
        keep,
        replicas,
        clock: Arc::new(hand.clone()),
        domains,
        ready,
        ahead: Duration::from_secs(60),
        epoch: epoch_sender,
        metrics: IdentityMetrics::new(&mut Registry::default()),
    };
    let keeper = Keeper::start(task, stopped, &mut tasks);
    Run { keeper, epoch, tasks, _held: (ready_sender, stop, rules) }
}

async fn over_folder(hand: &Hand, folder: &TempDir) -> Run {
    let state = State::open(folder.path().to_owned()).await.unwrap();
    run(hand, |epoch| (state.keep(), state.replicas(epoch)))
}

fn over_memory(hand: &Hand, memory: &Arc<Memory>) -> Run {
    run(hand, |epoch| {
        memory.epochs.lock().unwrap().push(epoch);
        (Arc::new(Part(Arc::clone(memory))), Arc::new(Part(Arc::clone(memory))))
    })
}

impl Run {
    async fn phase(&self, wanted: &str) -> Arc<Standing> {
        let mut standing = self.keeper.standing();
        let is = |now: &Option<Arc<Standing>>| {
            now.as_ref().is_some_and(|now| now.kept.rotation.phase().name() == wanted)
        };
        let found = tokio::time::timeout(LIMIT, standing.wait_for(is)).await.expect(wanted).unwrap();
        found.clone().unwrap()
    }

    async fn authority(&self) -> Arc<Authority> {
        self.phase("steady").await;
        self.keeper.authority().borrow().clone().unwrap()
    }

    /// As a crash does: nothing more is done.
    async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

fn files(folder: &TempDir, end: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(end) && name != "token-key.pem");
    names.sort();
    names
}

#[tokio::test]
async fn a_change_goes_on_when_the_certificates_have_ended_across_crashes_at_each_step() {
    let (hand, folder) = (Hand::new(), TempDir::new().unwrap());
    let run = over_folder(&hand, &folder).await;
    let old = run.authority().await;
    let start = hand.now();
    run.keeper.reserve(&old, start.after(HOUR)).await.unwrap();
    run.keeper.begin().await.unwrap();
    let standing = run.phase("renewing").await;
    let until = start.after(HOUR + Duration::from_secs(60));
    assert_eq!(standing.waiting, Waiting::Workloads { behind: None, until });
    let signs = run.keeper.authority().borrow().clone().unwrap();
    assert_eq!(
        (signs.id(), signs.bundle().roots().len()),
        (old.id(), 2),
        "the old one signs, both are trusted"
    );
    // What is signed meanwhile is known to be so, too.
    run.keeper.reserve(&signs, start.after(3 * HOUR)).await.unwrap();
    assert!(run.keeper.begin().await.is_err(), "one at a time");

    // A crash; the time passes, but for a second.
    run.end().await;
    hand.turn(until.after(CLOCK_SKEW));
    let run = over_folder(&hand, &folder).await;
    run.phase("renewing").await;
    run.keeper.preview().await.unwrap();
    run.phase("renewing").await;
    hand.turn(until.after(CLOCK_SKEW + Duration::from_secs(1)));
    let standing = run.phase("retiring").await;
    let until = start.after(3 * HOUR + Duration::from_secs(60));
    let new = run.keeper.authority().borrow().clone().unwrap();
    assert_ne!(new.id(), old.id());
    assert_eq!(new.bundle().roots().len(), 2);
    assert_eq!(standing.kept.rotation.signed_until(old.id()), Some(until));
    assert!(run.keeper.reserve(&old, until.after(HOUR)).await.is_err(), "the old one signs no longer");

    run.end().await;
    hand.turn(until.after(CLOCK_SKEW));
    let run = over_folder(&hand, &folder).await;
    run.phase("retiring").await;
    assert_eq!(files(&folder, "-key.pem").len(), 2);
    hand.turn(until.after(CLOCK_SKEW + Duration::from_secs(1)));
    let last = run.authority().await;
    assert_eq!((last.id(), last.bundle().roots().len()), (new.id(), 1));
    run.end().await;
    let run = over_folder(&hand, &folder).await;
    assert_eq!(run.authority().await.id(), new.id());
    assert_eq!(files(&folder, "-key.pem"), [format!("{}-key.pem", new.id())]);
}

#[tokio::test]
async fn what_a_crash_left_between_two_files_is_taken_up_or_cleared_away() {
    let (hand, folder) = (Hand::new(), TempDir::new().unwrap());
    let run = over_folder(&hand, &folder).await;
    let signer = run.authority().await.id().to_string();
    run.end().await;
    let copy = |from: &str, to: &str| {
        std::fs::copy(folder.path().join(from), folder.path().join(to)).unwrap();
    };
    // A change was about to begin: its key is there, and the state does not name it. And a file half written.
    copy(&format!("{signer}-key.pem"), "00112233aabbccdd-key.pem");
    copy("rotation.json", "rotation.json.unfinished");
    let run = over_folder(&hand, &folder).await;
    assert_eq!(run.authority().await.id().as_str(), signer);
    assert_eq!(files(&folder, "-key.pem"), [format!("{signer}-key.pem")]);
    assert_eq!(files(&folder, ".unfinished"), [""; 0]);
    run.end().await;
    // The very first start: a key, and no state yet. A key that nobody names signs nothing; a new one is made.
    std::fs::remove_file(folder.path().join("rotation.json")).unwrap();
    let run = over_folder(&hand, &folder).await;
    assert_ne!(run.authority().await.id().as_str(), signer);
    run.end().await;
    // A key that is named and is gone is not made up for: nobody would be trusted.
    let [key] = &files(&folder, "-key.pem")[..] else { panic!("one key") };
    std::fs::remove_file(folder.path().join(key)).unwrap();
    let error = State::open(folder.path().to_owned()).await.err().unwrap().to_string();
    assert!(error.contains(key) && error.contains("put it back"), "{error}");
}

#[tokio::test]
async fn replicas_that_start_together_have_one_root_and_step_on_together() {
    let (hand, memory) = (Hand::new(), Arc::<Memory>::default());
    let (a, b) = (over_memory(&hand, &memory), over_memory(&hand, &memory));
    // One of them lost the race for the first root, and looks again a second later.
    hand.turn(hand.now().after(Duration::from_secs(1)));
    let signer = a.authority().await;
    assert_eq!(b.authority().await.id(), signer.id());

    // A third that does not answer by the new state holds the change up.
    let (late_sender, late) = watch::channel(1);
    memory.epochs.lock().unwrap().push(late);
    a.keeper.begin().await.unwrap();
    a.phase("distributing").await;
    b.phase("distributing").await;
    let (_, waiting) = a.keeper.preview().await.unwrap();
    assert_eq!(waiting, Waiting::Replicas(vec!["2".to_owned()]));
    for run in [&a, &b] {
        let authority = run.keeper.authority().borrow().clone().unwrap();
        assert_eq!((authority.id(), authority.bundle().roots().len()), (signer.id(), 2));
    }
    // It does now; it is asked again after two seconds. Whichever of the two is first, both go by it.
    late_sender.send_replace(u64::MAX);
    hand.turn(hand.now().after(Duration::from_secs(2)));
    a.phase("renewing").await;
    b.phase("renewing").await;
    assert_eq!(*a.epoch.borrow(), a.phase("renewing").await.kept.rotation.epoch());

    // Both reserve at once, on states that the other one replaces: both are kept.
    let (first, second) = (hand.now().after(5 * HOUR), hand.now().after(6 * HOUR));
    let (one, other) = tokio::join!(a.keeper.reserve(&signer, first), b.keeper.reserve(&signer, second));
    assert_eq!((one, other), (Ok(()), Ok(())));
    let kept = memory.kept.lock().unwrap().clone().unwrap();
    assert!(kept.rotation.signed_until(signer.id()) >= Some(second));
}

#[tokio::test]
async fn nothing_is_signed_that_cannot_be_kept_and_what_was_kept_goes_on() {
    let (hand, memory) = (Hand::new(), Arc::<Memory>::default());
    let run = over_memory(&hand, &memory);
    let signer = run.authority().await;
    let now = hand.now();
    run.keeper.reserve(&signer, now.after(HOUR)).await.unwrap();
    *memory.away.lock().unwrap() = true;
    assert_eq!(run.keeper.reserve(&signer, now.after(HOUR)).await, Ok(()), "reserved before");
    assert_eq!(run.keeper.reserve(&signer, now.after(2 * HOUR)).await, Err("away".to_owned()));
    assert!(run.keeper.begin().await.is_err());
    assert_eq!(run.authority().await.id(), signer.id());
    *memory.away.lock().unwrap() = false;
    run.keeper.reserve(&signer, now.after(2 * HOUR)).await.unwrap();
}

#[tokio::test]
async fn wrong_material_is_refused_and_the_old_stays_in_force() {
    let (hand, memory) = (Hand::new(), Arc::<Memory>::default());
    let run = over_memory(&hand, &memory);
    let signer = run.authority().await;
    let kept = memory.kept.lock().unwrap().clone().unwrap();
    let mut broken = kept.clone();
    broken.signers.values_mut().for_each(|material| material.certificate = b"nothing".to_vec());
    let standing = run.keeper.standing();
    let mut reads = memory.reads.subscribe();
    reads.mark_unchanged();
    *memory.kept.lock().unwrap() = Some(broken);
    memory.changed.notify_waiters();
    reads.changed().await.unwrap();
    // Answered when what was read has been judged.
    run.keeper.preview().await.unwrap();
    assert_eq!(standing.borrow().as_ref().unwrap().authority.id(), signer.id());
    *memory.kept.lock().unwrap() = Some(kept);
    memory.changed.notify_waiters();
    run.keeper.reserve(&signer, hand.now().after(HOUR)).await.unwrap();
}
