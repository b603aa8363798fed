//! What is acted on, and when; time is a number.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Gather, LIMIT, Meaning, NOTICES, Notice, QUIET, Work};

/// `/d` is a folder of ours.
fn meaning(path: &Path) -> Meaning {
    if path == Path::new("/d") {
        Meaning::Tree
    } else if !path.starts_with("/d") {
        Meaning::Nothing
    } else if path.to_string_lossy().contains("/.") {
        Meaning::Beside
    } else {
        Meaning::File
    }
}

struct Clock {
    gather: Gather,
    start: Instant,
    now: Instant,
}

impl Clock {
    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn new() -> Self {
        let start = Instant::now();
        Self { gather: Gather::default(), start, now: start }
    }

    fn on(&mut self, notice: Notice) {
        self.gather.on(notice, meaning, self.now);
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    fn take(&mut self) -> Option<Work> {
        let work = self.gather.take(self.now);
        if work.is_some() {
            self.gather.done();
        }
        work
    }

    /// Milliseconds from the start to the deadline.
    fn deadline(&self) -> Option<u128> {
        self.gather.deadline().map(|deadline| (deadline - self.start).as_millis())
    }
}

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

fn files(work: &Work) -> Vec<&Path> {
    work.files.keys().map(PathBuf::as_path).collect()
}

#[test]
fn what_is_heard_together_is_acted_on_together_after_a_quiet() {
    let mut clock = Clock::new();
    assert_eq!(clock.deadline(), None);
    clock.on(Notice::Closed(path("a.yaml")));
    clock.pass(4);
    assert_eq!(clock.take(), None);
    clock.on(Notice::Arrived(path("b.yaml")));
    assert_eq!(clock.deadline(), Some(4 + QUIET.as_millis()));
    clock.pass(5);
    let work = clock.take().unwrap();
    assert_eq!(files(&work), [path("a.yaml"), path("b.yaml")]);
    assert!(!work.is_due && work.tree.is_none());
    assert_eq!((clock.deadline(), clock.take()), (None, None));
}

#[test]
fn a_burst_without_end_is_acted_on_at_the_limit() {
    let mut clock = Clock::new();
    let work = loop {
        clock.on(Notice::Closed(path("a.yaml")));
        if let Some(work) = clock.take() {
            break work;
        }
        clock.pass(5);
        assert!(clock.now <= clock.start + LIMIT, "too late");
    };
    assert_eq!(clock.now, clock.start + LIMIT);
    assert!(work.is_due);
}

#[test]
fn what_is_not_ours_wakes_nobody() {
    let mut clock = Clock::new();
    clock.on(Notice::Closed("/tmp/other.yaml".into()));
    clock.on(Notice::Closed(path(".a.yaml.swp")));
    clock.on(Notice::Written(path("a.yaml")));
    assert_eq!(clock.deadline(), None);
    assert_eq!(clock.gather.writing(), &BTreeSet::from([path("a.yaml")]));
}

#[test]
fn a_file_is_written_to_until_it_is_closed_under_whatever_name() {
    let mut clock = Clock::new();
    clock.on(Notice::Created(path(".new")));
    clock.on(Notice::Written(path(".new")));
    clock.on(Notice::Gone(path(".new")));
    clock.on(Notice::Arrived(path("a.yaml")));
    clock.on(Notice::Renamed(path(".new"), path("a.yaml")));
    assert_eq!(clock.gather.writing(), &BTreeSet::from([path("a.yaml")]));
    clock.on(Notice::Closed(path("a.yaml")));
    assert!(clock.gather.writing().is_empty());
    // One that was closed before is whole at once.
    clock.on(Notice::Closed(path(".new")));
    clock.on(Notice::Gone(path(".new")));
    clock.on(Notice::Arrived(path("b.yaml")));
    clock.on(Notice::Renamed(path(".new"), path("b.yaml")));
    assert!(clock.gather.writing().is_empty());
}

#[test]
fn lost_notices_make_everything_be_looked_at() {
    let mut clock = Clock::new();
    clock.on(Notice::Written(path("a.yaml")));
    clock.on(Notice::Lost);
    assert!(clock.gather.writing().is_empty(), "its close may be what was lost");
    clock.pass(10);
    assert_eq!(clock.take().and_then(|work| work.tree), Some(clock.start));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut clock = Clock::new();
    for number in 0..=NOTICES {
        clock.on(Notice::Closed(path(&number.to_string())));
    }
    clock.pass(10);
    let work = clock.take().unwrap();
    assert!(work.tree.is_some() && work.files.is_empty());
    for number in 0..=NOTICES {
        clock.on(Notice::Written(path(&number.to_string())));
    }
    assert!(clock.gather.writing().is_empty());
    clock.pass(10);
    assert!(clock.take().unwrap().tree.is_some());
}

#[test]
fn what_is_put_back_waits_with_what_comes_meanwhile_but_not_beyond_the_limit() {
    let mut clock = Clock::new();
    clock.on(Notice::Gone(path("a.yaml")));
    clock.pass(10);
    let work = clock.gather.take(clock.now).unwrap();
    clock.gather.put_back(work, clock.start + Duration::from_millis(100), clock.now);
    assert_eq!(clock.deadline(), Some(100));
    clock.pass(20);
    clock.on(Notice::Closed(path("b.yaml")));
    assert_eq!(clock.deadline(), Some(100));
    clock.pass(70);
    let work = clock.gather.take(clock.now).unwrap();
    assert_eq!(files(&work), [path("a.yaml"), path("b.yaml")]);
    assert_eq!(work.files[&path("a.yaml")], clock.start, "it is gone since it was first heard");
    clock.gather.put_back(work, clock.start + Duration::from_secs(60), clock.now);
    assert_eq!(clock.deadline(), Some(LIMIT.as_millis()));
    clock.pass(400);
    assert!(clock.take().unwrap().is_due);
}
