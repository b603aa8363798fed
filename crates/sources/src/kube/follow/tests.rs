//! Lists and watches that lie, and what is believed.

#![allow(clippy::disallowed_methods, reason = "a test needs some instant to start from")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Change, Follow, Listed, Name, Next, Page, Revision, STALE_LIMIT};

fn name(text: &str) -> Name {
    Name { namespace: "n".into(), name: text.into() }
}

fn page(version: &str, token: Option<&str>, items: &[(&str, u64)]) -> Page<u64> {
    Page {
        version: version.into(),
        continue_token: token.map(str::to_owned),
        items: items
            .iter()
            .map(|(text, revision)| (name(text), Revision(Some(*revision)), *revision))
            .collect(),
    }
}

fn came(text: &str, what: u64) -> Change<u64> {
    Change { name: name(text), now: Some(what) }
}

fn went(text: &str) -> Change<u64> {
    Change { name: name(text), now: None }
}

#[test]
fn a_list_of_several_pages_is_read_to_its_end_and_then_watched_from_its_version() {
    let (mut follow, now) = (Follow::new(), Instant::now());
    assert_eq!(follow.next(), Next::List(None));
    let first = follow.on_page(page("10", Some("more"), &[("a", 3)]), now);
    assert_eq!(first, Listed::Part(vec![came("a", 3)]));
    assert_eq!(follow.next(), Next::List(Some("more".into())));
    assert!(!follow.is_listed());
    assert_eq!(follow.on_page(page("10", None, &[("b", 7)]), now), Listed::Whole(vec![came("b", 7)]));
    assert_eq!(follow.next(), Next::Watch("10".into()));
    assert!(follow.is_listed());
}

#[test]
fn what_a_later_list_is_without_is_gone_and_what_it_repeats_is_no_change() {
    let (mut follow, now) = (Follow::new(), Instant::now());
    follow.on_page(page("10", None, &[("a", 3), ("b", 4), ("c", 5)]), now);
    follow.relist();
    let listed = follow.on_page(page("20", None, &[("a", 3), ("c", 15)]), now);
    assert_eq!(listed, Listed::Whole(vec![came("c", 15), went("b")]));
}

#[test]
fn a_watch_that_repeats_itself_changes_nothing() {
    let (mut follow, now) = (Follow::new(), Instant::now());
    follow.on_page(page("10", None, &[("a", 3)]), now);
    assert_eq!(follow.on_applied(name("a"), "11", 11), Some(came("a", 11)));
    assert_eq!(follow.on_applied(name("a"), "11", 11), None);
    assert_eq!(follow.on_applied(name("a"), "3", 3), None, "older");
    assert_eq!(follow.on_deleted::<u64>(name("a"), "12"), Some(went("a")));
    assert_eq!(follow.on_deleted::<u64>(name("a"), "12"), None);
    assert_eq!(follow.on_applied(name("a"), "13", 13), Some(came("a", 13)));
    assert_eq!(follow.on_deleted::<u64>(name("a"), "12"), None, "it was made anew since");
    assert_eq!(follow.next(), Next::Watch("13".into()));
}

#[test]
fn a_bookmark_moves_the_place_from_which_is_watched_and_never_back() {
    let (mut follow, now) = (Follow::new(), Instant::now());
    follow.on_page(page("10", None, &[]), now);
    follow.on_bookmark("30");
    follow.on_bookmark("20");
    assert_eq!(follow.next(), Next::Watch("30".into()));
}

#[test]
fn a_list_that_is_older_than_what_was_seen_takes_nothing_away_for_a_minute() {
    let (mut follow, start) = (Follow::new(), Instant::now());
    follow.on_page(page("10", None, &[("a", 3)]), start);
    follow.on_applied(name("b"), "20", 20);
    follow.relist();
    assert_eq!(follow.on_page(page("15", None, &[]), start), Listed::Stale);
    assert_eq!(follow.next(), Next::List(None));
    let almost = start + STALE_LIMIT - Duration::from_millis(1);
    assert_eq!(follow.on_page(page("15", None, &[]), almost), Listed::Stale);
    // One that is not older ends it, and the count begins anew.
    assert_eq!(follow.on_page(page("21", None, &[("a", 3), ("b", 20)]), almost), Listed::Whole(vec![]));
    follow.relist();
    assert_eq!(follow.on_page(page("15", None, &[]), start + STALE_LIMIT), Listed::Stale);
}

#[test]
fn a_cluster_that_went_back_for_good_is_believed_after_a_minute() {
    let (mut follow, start) = (Follow::new(), Instant::now());
    follow.on_page(page("1000", None, &[("a", 900), ("b", 1000)]), start);
    follow.relist();
    assert_eq!(follow.on_page(page("500", None, &[("a", 400)]), start), Listed::Stale);
    let listed = follow.on_page(page("501", None, &[("a", 400)]), start + STALE_LIMIT);
    assert_eq!(listed, Listed::Whole(vec![came("a", 400), went("b")]));
    assert_eq!(follow.on_applied(name("a"), "502", 502), Some(came("a", 502)));
    assert_eq!(follow.next(), Next::Watch("502".into()));
}

#[test]
fn without_its_definition_a_kind_has_no_objects_and_is_known_to_have_none() {
    let (mut follow, now) = (Follow::new(), Instant::now());
    assert_eq!(follow.on_absent::<u64>(), vec![]);
    assert!(follow.is_listed());
    follow.on_page(page("10", None, &[("a", 3)]), now);
    assert_eq!(follow.on_absent::<u64>(), vec![went("a")]);
    assert_eq!(follow.next(), Next::List(None));
}

#[test]
fn versions_that_are_no_numbers_are_believed() {
    let (mut follow, now) = (Follow::new(), Instant::now());
    let odd = Page {
        version: "x9".into(),
        continue_token: None,
        items: vec![(name("a"), Revision::parse("q"), 1)],
    };
    assert_eq!(follow.on_page(odd, now), Listed::Whole(vec![came("a", 1)]));
    assert_eq!(follow.on_applied(name("a"), "r", 2), Some(came("a", 2)));
    assert_eq!(follow.on_deleted::<u64>(name("a"), "s"), Some(went("a")));
}

/// A server's history, and the ways in which a client may hear of it.
#[derive(Clone, Debug)]
enum Step {
    /// The server changes an object, or deletes it.
    Write { object: u8, delete: bool },
    /// The watch tells the next so many changes.
    Tell(u8),
    /// The watch tells the last so many changes once more.
    Again(u8),
    /// The watch is cut, and what it missed is told by a list.
    Relist,
    /// A list of so many changes ago comes first.
    Stale(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u8..5, any::<bool>()).prop_map(|(object, delete)| Step::Write { object, delete }),
        3 => (0u8..6).prop_map(Step::Tell),
        1 => (0u8..6).prop_map(Step::Again),
        1 => Just(Step::Relist),
        1 => (1u8..6).prop_map(Step::Stale),
    ];
    prop::collection::vec(step, 0..60)
}

/// Objects by name with the revision of their last change, after each revision.
type History = Vec<BTreeMap<u8, u64>>;

fn list(history: &History, at: usize) -> Page<u64> {
    Page {
        version: at.to_string(),
        continue_token: None,
        items: history[at]
            .iter()
            .map(|(object, revision)| (name(&object.to_string()), Revision(Some(*revision)), *revision))
            .collect(),
    }
}

proptest! {
    #[test]
    fn whatever_is_repeated_cut_or_stale_the_end_is_what_the_server_has(steps in steps()) {
        let now = Instant::now();
        let mut history: History = vec![BTreeMap::new()];
        let mut writes: Vec<(u8, bool)> = vec![(0, true)];
        let mut follow = Follow::new();
        let mut believed: BTreeMap<Name, u64> = BTreeMap::new();
        let take = |believed: &mut BTreeMap<Name, u64>, changes: Vec<Change<u64>>| {
            for change in changes {
                match change.now {
                    Some(object) => believed.insert(change.name, object),
                    None => believed.remove(&change.name),
                };
            }
        };
        let whole = |listed| match listed { Listed::Whole(changes) => changes, other => panic!("{other:?}") };
        take(&mut believed, whole(follow.on_page(list(&history, 0), now)));
        let mut told = 0;
        let tell = |follow: &mut Follow, writes: &[(u8, bool)], at: usize| {
            let (object, delete) = writes[at];
            let object = name(&object.to_string());
            if delete { follow.on_deleted(object, &at.to_string()) } else { follow.on_applied(object, &at.to_string(), at as u64) }
        };
        for step in steps {
            match step {
                Step::Write { object, delete } => {
                    let mut next = history.last().unwrap().clone();
                    let delete = delete && next.contains_key(&object);
                    let revision = history.len() as u64;
                    if delete { next.remove(&object); } else { next.insert(object, revision); }
                    history.push(next);
                    writes.push((object, delete));
                }
                Step::Tell(count) => for _ in 0..count {
                    if told + 1 < history.len() {
                        told += 1;
                        let change = tell(&mut follow, &writes, told);
                        take(&mut believed, change.into_iter().collect());
                    }
                },
                Step::Again(count) => for at in told.saturating_sub(count.into()).max(1)..=told {
                    let change = tell(&mut follow, &writes, at);
                    // A repeated deletion of what was made anew by a change that was told is not believed; nothing else differs.
                    prop_assert!(change.is_none(), "{change:?}");
                },
                Step::Relist => {
                    follow.relist();
                    told = history.len() - 1;
                    take(&mut believed, whole(follow.on_page(list(&history, told), now)));
                }
                Step::Stale(ago) => {
                    let at = told.saturating_sub(ago.into());
                    if at < told {
                        follow.relist();
                        let before = believed.clone();
                        let listed = follow.on_page(list(&history, at), now);
                        // A client that was told nothing later cannot tell; it is told the rest.
                        if listed != Listed::Stale { take(&mut believed, whole(listed)); } else { prop_assert_eq!(&believed, &before); }
                        told = history.len() - 1;
                        follow.relist();
                        take(&mut believed, whole(follow.on_page(list(&history, told), now)));
                    }
                }
            }
            let expected: BTreeMap<Name, u64> =
                history[told].iter().map(|(object, revision)| (name(&object.to_string()), *revision)).collect();
            prop_assert_eq!(&believed, &expected);
        }
    }
}
