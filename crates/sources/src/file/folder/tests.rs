//! What is read and when, over a disk in memory; both clocks are numbers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use meltemi_model::Event;

use super::{Folder, GRACE, Look, Root, YOUNG};
use crate::file::disk::memory::MemoryDisk;
use crate::file::gather::{QUIET, Work};

fn service(name: &str, v: u32) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, labels: {{v: \"{v}\"}}}}\nspec: {{ports: [{{port: 80, name: http}}]}}\n"
    )
}

struct World {
    folder: Folder<MemoryDisk>,
    start: Instant,
    passed: Duration,
    writing: BTreeSet<PathBuf>,
}

impl World {
    /// Root `/c` with these files, read an hour after they were written.
    #[allow(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn of(files: &[(&str, String)]) -> Self {
        let mut disk = MemoryDisk::of(&["/c/keep.txt"]);
        for (path, text) in files {
            disk.write(path, text, SystemTime::UNIX_EPOCH);
        }
        let roots = vec![Root { given: "c".into(), path: "/c".into(), is_settings: false }];
        let mut world = Self {
            folder: Folder::new(disk, roots, "default"),
            start: Instant::now(),
            passed: Duration::from_secs(3600),
            writing: BTreeSet::new(),
        };
        let look = world.look(&Work::first(world.now()));
        assert!(matches!(look, Look::Done { .. }));
        world
    }

    fn now(&self) -> Instant {
        self.start + self.passed
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.passed
    }

    fn pass(&mut self, time: Duration) {
        self.passed += time;
    }

    fn write(&mut self, path: &str, text: &str) {
        let wall = self.wall();
        self.folder.disk.write(path, text, wall);
    }

    fn look(&mut self, work: &Work) -> Look {
        let (now, wall) = (self.now(), self.wall());
        self.folder.look(work, &self.writing, now, wall, &mut |_| {})
    }

    /// Heard of now.
    fn heard(&self, paths: &[&str]) -> Work {
        let files = paths.iter().map(|path| (path.into(), self.now())).collect();
        Work { files, ..Work::default() }
    }

    fn everything(&self) -> Work {
        Work { tree: Some(self.now()), ..Work::default() }
    }

    /// The events of the batch, in short; none if there is none.
    fn events(&mut self) -> Option<Vec<String>> {
        let wall = self.wall();
        let batch = self.folder.batch(Vec::new(), wall)?;
        let told = |event: &Event| match event {
            Event::Upsert(object) => {
                format!("{}={}", object.meta.key.name, object.meta.labels.value("v").unwrap())
            }
            Event::Reject { key, .. } => format!("{} refused", key.name),
            Event::Delete(key) => format!("{} deleted", key.name),
            Event::Defaults(_) => "defaults".to_owned(),
        };
        Some(batch.events.iter().map(told).collect())
    }

    fn codes(&mut self) -> Vec<&'static str> {
        let wall = self.wall();
        let batch = self.folder.complete(Vec::new(), wall);
        batch.findings.iter().map(|finding| finding.code).collect()
    }
}

fn done(look: &Look) -> bool {
    matches!(look, Look::Done { torn, .. } if torn.is_empty())
}

#[test]
fn only_what_was_heard_of_is_read() {
    let mut world = World::of(&[("/c/a.yaml", service("a", 1)), ("/c/b.yaml", service("b", 1))]);
    assert_eq!(world.events(), Some(vec!["a=1".to_owned(), "b=1".to_owned()]));
    assert_eq!(world.events(), None);
    world.write("/c/a.yaml", &service("a", 2));
    world.write("/c/b.yaml", &service("b", 2));
    let work = world.heard(&["/c/a.yaml"]);
    world.pass(QUIET);
    assert!(done(&world.look(&work)));
    assert_eq!(world.events(), Some(vec!["a=2".to_owned()]));
}

#[test]
fn a_file_must_be_away_for_a_while_to_be_gone() {
    let mut world = World::of(&[("/c/a.yaml", service("a", 1))]);
    world.events();
    world.folder.disk.remove("/c/a.yaml");
    let (file, tree, start) = (world.heard(&["/c/a.yaml"]), world.everything(), world.now());
    world.pass(QUIET);
    assert_eq!(world.look(&file), Look::Wait(start + GRACE));
    assert_eq!(world.look(&tree), Look::Wait(start + GRACE));
    assert_eq!(world.events(), None);
    world.pass(GRACE);
    assert!(done(&world.look(&file)));
    assert_eq!(world.events(), Some(vec!["a deleted".to_owned()]));
    world.write("/c/a.yaml", &service("a", 1));
    world.pass(GRACE);
    assert!(done(&world.look(&tree)));
    assert_eq!(world.events(), Some(vec!["a=1".to_owned()]));
    world.folder.disk.remove("/c/a.yaml");
    // What was delayed long enough is believed at once.
    let due = Work { is_due: true, ..world.heard(&["/c/a.yaml"]) };
    assert!(done(&world.look(&due)));
    assert_eq!(world.events(), Some(vec!["a deleted".to_owned()]));
}

#[test]
fn a_file_that_is_written_to_is_not_read_in_a_walk_either() {
    let mut world = World::of(&[("/c/a.yaml", service("a", 1))]);
    world.events();
    world.write("/c/a.yaml", "");
    world.writing.insert("/c/a.yaml".into());
    world.pass(Duration::from_secs(9));
    let (file, tree) = (world.heard(&["/c/a.yaml"]), world.everything());
    assert!(done(&world.look(&file)));
    assert!(done(&world.look(&tree)));
    assert_eq!(world.events(), None);
    world.writing.clear();
    assert!(done(&world.look(&file)));
    assert_eq!(world.events(), Some(vec!["a deleted".to_owned()]));
}

#[test]
fn a_walk_waits_until_what_it_meets_is_not_young() {
    let mut world = World::of(&[]);
    world.write("/c/new/a.yaml", &service("a", 1));
    let work = world.everything();
    world.pass(QUIET);
    assert_eq!(world.look(&work), Look::Wait(world.now() + YOUNG - QUIET));
    world.pass(YOUNG);
    assert!(done(&world.look(&work)));
    assert_eq!(world.events(), Some(vec!["a=1".to_owned()]));
}

#[test]
fn a_file_that_was_emptied_after_the_quiet_is_looked_at_again() {
    let mut world = World::of(&[("/c/a.yaml", service("a", 1))]);
    world.events();
    let work = world.heard(&["/c/a.yaml"]);
    world.pass(QUIET);
    world.write("/c/a.yaml", "");
    assert!(matches!(world.look(&work), Look::Done { torn, .. } if torn == [PathBuf::from("/c/a.yaml")]));
    assert_eq!(world.events(), None);
    // Of a server whose clock is a minute ahead every file is read.
    world.pass(Duration::from_secs(60));
    world.write("/c/a.yaml", &service("a", 2));
    world.passed -= Duration::from_secs(60);
    assert!(done(&world.look(&work)));
    assert_eq!(world.events(), Some(vec!["a=2".to_owned()]));
}

#[test]
fn a_file_that_cannot_be_read_leaves_in_force_what_it_held() {
    let mut world = World::of(&[("/c/a.yaml", service("a", 1)), ("/c/b.yaml", service("b", 1))]);
    world.events();
    world.folder.disk.tear("/c/a.yaml", true);
    world.write("/c/b.yaml", &service("b", 2));
    let work = world.heard(&["/c/a.yaml", "/c/b.yaml"]);
    world.pass(QUIET);
    assert!(matches!(world.look(&work), Look::Done { torn, .. } if torn == [PathBuf::from("/c/a.yaml")]));
    assert_eq!(world.events(), Some(vec!["b=2".to_owned()]));
    world.folder.disk.tear("/c/a.yaml", false);
    world.folder.disk = world.folder.disk.clone().lock("/c/a.yaml");
    assert!(done(&world.look(&work)));
    assert_eq!(world.codes(), ["unreadable"]);
    let tree = world.everything();
    world.folder.disk = world.folder.disk.clone().lock("/c");
    assert!(done(&world.look(&tree)));
    assert_eq!(world.codes(), ["unreadable", "unreadable"]);
    assert_eq!(world.events(), None);
}

#[test]
fn a_walk_reads_only_what_changed() {
    let mut world = World::of(&[("/c/a.yaml", service("a", 1)), ("/c/b.yaml", service("b", 1))]);
    world.events();
    world.write("/c/b.yaml", &service("b", 2));
    // Would be found out if it were read.
    world.folder.disk.tear("/c/a.yaml", true);
    let work = world.everything();
    world.pass(GRACE);
    assert!(done(&world.look(&work)));
    assert_eq!(world.events(), Some(vec!["b=2".to_owned()]));
}

#[test]
fn a_file_of_others_objects_is_passed_over_while_it_is_nothing_else() {
    let deployment = |replicas: u32| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\nspec: {{replicas: {replicas}}}\n"
        )
    };
    let both = |v: u32| format!("{}---\n{}", deployment(v), service("a", v));
    let mut world = World::of(&[
        ("/c/app.yaml", deployment(1)),
        ("/c/both.yaml", both(1)),
        ("/c/s.yaml", service("s", 1)),
    ]);
    world.events();
    let mut passes = |path: &str, text: &str| {
        world.write(path, text);
        world.folder.passes_over(path.as_ref())
    };
    assert!(passes("/c/app.yaml", &deployment(2)));
    assert!(passes("/c/app.yaml", &format!("# three\n{}", deployment(3))));
    let others = [
        format!("{}---\n{}", deployment(3), deployment(4)),
        deployment(3).replace("Deployment", "StatefulSet"),
        both(2),
        service("b", 1),
        "kind: [".to_owned(),
        String::new(),
    ];
    for text in &others {
        assert!(!passes("/c/app.yaml", text), "{text}");
    }
    assert!(!passes("/c/both.yaml", &deployment(2)), "it held a Service");
    assert!(!passes("/c/s.yaml", &service("s", 1)), "it is the mesh's");
    assert!(!passes("/c/new.yaml", &deployment(1)), "it counts from now on");
    assert!(passes("/c/app.yaml", &deployment(5)), "what was not looked at is not what it held");
    // What was passed over is not read again when everything is looked at.
    world.write("/c/both.yaml", &both(3));
    world.write("/c/new.yaml", "");
    // Would be found out if it were read.
    world.folder.disk.tear("/c/app.yaml", true);
    let work = world.everything();
    world.pass(YOUNG);
    assert!(done(&world.look(&work)));
    assert_eq!(world.events(), Some(vec!["a=3".to_owned()]));
    // A link in its place leads elsewhere.
    world.folder.disk.remove("/c/app.yaml");
    world.folder.disk = world.folder.disk.clone().link("/c/app.yaml", "keep.txt");
    assert!(!world.folder.passes_over("/c/app.yaml".as_ref()));
}
