//! Contents to changes. The reference for sequences is a merge from scratch and a list of last goods kept beside it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use meltemi_api::Severity;
use meltemi_model::{Event, Store};
use meltemi_names::{Kind, ObjectKey};
use proptest::prelude::*;

use super::{Batch, FileId, Merge, Text};

fn service(name: &str, v: u32) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, labels: {{v: \"{v}\"}}}}\nspec: {{ports: [{{port: 80, name: http}}]}}\n"
    )
}

fn refused(name: &str) -> String {
    service(name, 0).replace("80", "\"x\"")
}

fn id(path: &str) -> FileId {
    FileId { root: 0, path: path.into() }
}

fn put(merge: &mut Merge, path: &str, text: &str) {
    merge.put(vec![Text { id: id(path), shown: path.to_owned(), bytes: text.as_bytes().to_vec() }]);
}

fn batch(merge: &mut Merge) -> Option<Batch> {
    merge.batch(Vec::new(), SystemTime::UNIX_EPOCH)
}

fn told(events: &[Event]) -> Vec<String> {
    let of = |event: &Event| match event {
        Event::Upsert(object) => {
            format!("{}={}", object.meta.key.name, object.meta.labels.value("v").unwrap())
        }
        Event::Reject { key, reason } => format!("{} refused: {reason}", key.name),
        Event::Delete(key) => format!("{} deleted", key.name),
        Event::Defaults(_) => "defaults".to_owned(),
    };
    events.iter().map(of).collect()
}

fn findings(batch: &Batch) -> Vec<String> {
    let of = |finding: &meltemi_api::Finding| {
        let place = finding.place.as_ref().map(ToString::to_string).unwrap_or_default();
        let key = finding.key.as_ref().map(|key| key.name.to_string()).unwrap_or_default();
        format!("{place} {} {key}: {}", finding.code, finding.in_force.as_deref().unwrap_or_default())
    };
    batch.findings.iter().map(of).collect()
}

#[test]
fn an_equal_text_is_nothing_and_a_moved_line_no_event() {
    let mut merge = Merge::new("default");
    assert!(batch(&mut merge).is_none());
    put(&mut merge, "a.yaml", &service("a", 1));
    assert_eq!(told(&batch(&mut merge).unwrap().events), ["a=1"]);
    put(&mut merge, "a.yaml", &service("a", 1));
    assert!(batch(&mut merge).is_none());
    put(&mut merge, "a.yaml", &format!("# new\n{}", service("a", 1)));
    let moved = batch(&mut merge).unwrap();
    assert!(moved.events.is_empty());
    let key = ObjectKey::new(Kind::Service, "default", "a");
    assert_eq!(moved.places.of(&key).unwrap().start().unwrap().line, 2);
    put(&mut merge, "a.yaml", &refused("a"));
    assert_eq!(batch(&mut merge).unwrap().events.len(), 1);
    put(&mut merge, "a.yaml", &format!("# new\n{}", refused("a")));
    assert!(batch(&mut merge).unwrap().events.is_empty(), "nor that of a refused object");
}

#[test]
fn the_first_in_path_order_wins_even_if_it_is_refused() {
    let mut merge = Merge::new("default");
    put(&mut merge, "b.yaml", &service("x", 2));
    assert_eq!(told(&batch(&mut merge).unwrap().events), ["x=2"]);
    put(&mut merge, "a.yaml", &refused("x"));
    put(&mut merge, "c.yaml", &format!("{}---\n{}", service("x", 2), service("x", 3)));
    let both = batch(&mut merge).unwrap();
    assert_eq!(both.events.len(), 1);
    assert!(matches!(&both.events[0], Event::Reject { .. }));
    assert_eq!(
        findings(&both),
        [
            "a.yaml:4:23 bad-value x: its last good version",
            "b.yaml:1:1 duplicate x: the one there, which is first in path order",
            "c.yaml:1:1 duplicate x: the one there, which is first in path order",
            "c.yaml:6:1 duplicate x: the one there, which is first in path order",
        ]
    );
    put(&mut merge, "a.yaml", "");
    let uncovered = batch(&mut merge).unwrap();
    assert_eq!(told(&uncovered.events), ["x=2"]);
    let severities: Vec<Severity> = uncovered.findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Info, Severity::Error], "an equal one is harmless");
}

#[test]
fn an_object_that_was_never_good_is_left_out_and_its_going_is_told() {
    let mut merge = Merge::new("default");
    put(&mut merge, "a.yaml", &refused("a"));
    let first = batch(&mut merge).unwrap();
    assert_eq!(findings(&first), ["a.yaml:4:23 bad-value a: nothing: the object is left out"]);
    assert_eq!((first.status.objects, first.status.rejected), (0, 1));
    merge.remove(&id("a.yaml"));
    assert_eq!(told(&batch(&mut merge).unwrap().events), ["a deleted"]);
}

#[test]
fn what_may_be_in_a_part_that_cannot_be_read_is_kept() {
    let mut merge = Merge::new("default");
    put(&mut merge, "f.yaml", &format!("{}---\n{}", service("a", 1), service("b", 1)));
    put(&mut merge, "g.yaml", &service("c", 1));
    batch(&mut merge);
    put(&mut merge, "f.yaml", &format!("kind: [\n---\n{}", service("b", 2)));
    let broken = batch(&mut merge).unwrap();
    assert_eq!(
        told(&broken.events),
        ["a refused: a part of its file cannot be read, which may be this object", "b=2"]
    );
    assert_eq!((broken.status.objects, broken.status.rejected), (3, 1));
    assert!(
        findings(&broken).iter().any(|line| line.ends_with("kept a: its last good version")),
        "{:?}",
        findings(&broken)
    );
    // Another file says what it is: no doubt is left.
    put(&mut merge, "g.yaml", &format!("{}---\n{}", service("c", 1), service("a", 5)));
    assert_eq!(told(&batch(&mut merge).unwrap().events), ["a=5"]);
    put(&mut merge, "g.yaml", &service("c", 1));
    assert_eq!(batch(&mut merge).unwrap().events.len(), 1);
    // The file can be read, and does not have it.
    put(&mut merge, "f.yaml", &service("b", 2));
    let repaired = batch(&mut merge).unwrap();
    assert_eq!(told(&repaired.events), ["a deleted"]);
    assert_eq!(repaired.findings.len(), 0);
    // No text at all.
    let bytes = b"a: b\n\xff".to_vec();
    merge.put(vec![Text { id: id("f.yaml"), shown: "f.yaml".to_owned(), bytes }]);
    let binary = batch(&mut merge).unwrap();
    assert_eq!(binary.status.objects, 2);
    assert!(findings(&binary)[0].starts_with("f.yaml:2:1 "), "{:?}", findings(&binary));
    merge.remove(&id("f.yaml"));
    assert_eq!(told(&batch(&mut merge).unwrap().events), ["b deleted"]);
}

#[test]
fn what_holds_nothing_of_the_mesh_s_wakes_nobody() {
    let mut merge = Merge::new("default");
    let deployment = |replicas: u32| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\nspec: {{replicas: {replicas}}}\n"
        )
    };
    put(&mut merge, "a.yaml", &deployment(1));
    assert_eq!(findings(&batch(&mut merge).unwrap()).len(), 1, "that it is skipped is told once");
    put(&mut merge, "a.yaml", &deployment(2));
    assert!(batch(&mut merge).is_none());
    merge.remove(&id("a.yaml"));
    assert!(batch(&mut merge).unwrap().findings.is_empty());
}

#[test]
fn the_findings_are_the_same_pointer_as_long_as_they_are_the_same() {
    let mut merge = Merge::new("default");
    put(&mut merge, "a.yaml", &refused("a"));
    let before = batch(&mut merge).unwrap().findings;
    put(&mut merge, "b.yaml", &service("b", 1));
    assert!(std::sync::Arc::ptr_eq(&before, &batch(&mut merge).unwrap().findings));
    put(&mut merge, "c.yaml", &refused("c"));
    assert!(!std::sync::Arc::ptr_eq(&before, &batch(&mut merge).unwrap().findings));
}

#[test]
fn broken_settings_leave_the_last_good_ones() {
    let mut merge = Merge::new("default");
    merge.put_settings("m.yaml", b"accessLogFile: /a\n");
    assert_eq!(told(&batch(&mut merge).unwrap().events), ["defaults"]);
    merge.put_settings("m.yaml", b"accessLogFile: /a # the same\n");
    assert!(batch(&mut merge).is_none(), "nothing differs");
    merge.put_settings("m.yaml", b"accessLogFile: [\n");
    let broken = batch(&mut merge).unwrap();
    assert!(broken.events.is_empty());
    assert_eq!(findings(&broken), ["m.yaml:2:1 yaml-syntax : the settings as they were before"]);
}

/// A document of a few names and states, so that they meet.
fn document() -> impl Strategy<Value = (String, Option<u32>)> {
    (
        proptest::sample::select(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]),
        prop_oneof![4 => (0..3_u32).prop_map(Some), 1 => Just(None)],
    )
}

fn text(documents: &[(String, Option<u32>)]) -> String {
    let of = |(name, v): &(String, Option<u32>)| match v {
        Some(v) => service(name, *v),
        None => refused(name),
    };
    documents.iter().map(of).collect::<Vec<_>>().join("---\n")
}

/// In path order: the folder `f` comes before the file `f.yaml`.
const FILES: [&str; 3] = ["f/1.yaml", "f.yaml", "g.yaml"];

/// A file and what becomes of it: none is gone.
type Step = (String, Option<Vec<(String, Option<u32>)>>);

fn step() -> impl Strategy<Value = Step> {
    let files = proptest::sample::select(FILES.map(str::to_owned).to_vec());
    (files, proptest::option::weighted(0.8, proptest::collection::vec(document(), 0..4)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_sequence_of_changes_ends_as_from_scratch_but_for_last_goods(
        batches in proptest::collection::vec(proptest::collection::vec(step(), 1..4), 1..8)
    ) {
        let (mut merge, mut store) = (Merge::new("default"), Store::new());
        let mut now: BTreeMap<String, Vec<(String, Option<u32>)>> = BTreeMap::new();
        let mut good: BTreeMap<String, u32> = BTreeMap::new();
        for steps in batches {
            for (path, documents) in steps {
                match documents {
                    Some(documents) => {
                        put(&mut merge, &path, &text(&documents));
                        now.insert(path, documents);
                    }
                    None => {
                        merge.remove(&id(&path));
                        now.remove(&path);
                    }
                }
            }
            let changed = batch(&mut merge);
            store.apply(changed.iter().flat_map(|batch| batch.events.clone()));

            // Who counts: the first of each name.
            let mut says: BTreeMap<&str, Option<u32>> = BTreeMap::new();
            for (name, v) in FILES.iter().filter_map(|path| now.get(*path)).flatten() {
                says.entry(name).or_insert(*v);
            }
            good.retain(|name, _| says.contains_key(name.as_str()));
            for (name, v) in &says {
                if let Some(v) = v {
                    good.insert((*name).to_owned(), *v);
                }
            }
            let in_force: BTreeMap<String, u32> = store.mesh().objects()
                .map(|object| (object.meta.key.name.to_string(), object.meta.labels.value("v").unwrap().parse().unwrap()))
                .collect();
            prop_assert_eq!(&in_force, &good);
            let refused: Vec<&str> = store.mesh().rejected().map(|(key, _)| key.name.as_str()).collect();
            let expected: Vec<&str> = says.iter().filter(|(_, v)| v.is_none()).map(|(name, _)| *name).collect();
            prop_assert_eq!(&refused, &expected);

            let (mut scratch, mut fresh) = (Merge::new("default"), Store::new());
            for (path, documents) in &now {
                put(&mut scratch, path, &text(documents));
            }
            let whole = scratch.batch(Vec::new(), SystemTime::UNIX_EPOCH);
            let whole = whole.unwrap_or_else(|| scratch.nothing(SystemTime::UNIX_EPOCH));
            fresh.apply(whole.events.clone());
            let state = merge.nothing(SystemTime::UNIX_EPOCH);
            let places = |places: &super::PlaceIndex| -> Vec<String> {
                places.0.iter().map(|(key, places)| format!("{key} {:?}", places.start())).collect()
            };
            prop_assert_eq!(places(&state.places), places(&whole.places));
            prop_assert_eq!((state.status.files, state.status.documents), (whole.status.files, whole.status.documents));
            prop_assert_eq!((state.status.objects, state.status.rejected), (good.len(), expected.len()));
            // What is in force of a refused object is the one thing that only history knows.
            let plain = |batch: &Batch| -> Vec<String> {
                batch.findings.iter().map(|finding| format!("{:?} {} {:?}", finding.place, finding.message, finding.key)).collect()
            };
            prop_assert_eq!(plain(&state), plain(&whole));
            if expected.is_empty() {
                prop_assert!(store.mesh().objects().eq(fresh.mesh().objects()));
                prop_assert_eq!(&*state.findings, &*whole.findings);
            }
        }
    }
}
