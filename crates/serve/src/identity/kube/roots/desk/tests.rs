//! Namespaces that come, go, are spoilt and are fought over.

#![allow(clippy::disallowed_methods, reason = "a test needs some instant to start from")]

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn map(text: &str) -> ConfigMap {
    ConfigMap {
        labels: BTreeMap::from([(LABEL.0.to_owned(), LABEL.1.to_owned())]),
        data: BTreeMap::from([
            (ROOTS.key.to_owned(), text.to_owned()),
            ("own".to_owned(), "kept".to_owned()),
        ]),
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn desk(now: Instant) -> Desk {
    let mut desk = Desk::new(ROOTS, now);
    desk.want("roots\n".into(), now);
    desk.select(
        names(&["a", "b", "kube-system", "kube-public", "kube-node-lease", "local-path-storage"]),
        now,
    );
    desk.on_told(Told::Whole, now);
    desk
}

/// What is written now, each well.
fn written(desk: &mut Desk, now: Instant) -> Vec<String> {
    let mut all = Vec::new();
    while let Some((namespace, text)) = desk.next(now) {
        desk.on_done(&namespace, text, &Outcome::Written, now);
        all.push(namespace);
    }
    all
}

#[test]
fn every_namespace_that_counts_gets_one_and_no_write_is_without_a_change() {
    let now = Instant::now();
    let mut desk = desk(now);
    assert_eq!(written(&mut desk, now), ["a", "b", "kube-system"]);
    assert_eq!(desk.deadline(), None);
    for name in ["a", "b", "kube-system"] {
        desk.on_told(Told::Is(name.to_owned(), map("roots\n")), now);
    }
    desk.select(names(&["a", "b", "c", "kube-system"]), now);
    assert_eq!(written(&mut desk, now), ["c"]);
    desk.want("roots\n".into(), now);
    assert_eq!(desk.deadline(), None);
    desk.want("other\n".into(), now);
    assert_eq!(written(&mut desk, now), ["a", "b", "c", "kube-system"]);
}

#[test]
fn nothing_is_written_before_it_is_known_what_there_is_and_what_is_wanted() {
    let now = Instant::now();
    let mut desk = Desk::new(ROOTS, now);
    desk.select(names(&["a", "b"]), now);
    desk.on_told(Told::Is("a".to_owned(), map("roots\n")), now);
    assert!(desk.next(now).is_none());
    desk.want("roots\n".into(), now);
    assert!(desk.next(now).is_none(), "b may be there");
    desk.on_told(Told::Whole, now);
    assert_eq!(written(&mut desk, now), ["b"]);
}

#[test]
fn what_is_changed_deleted_or_loses_its_label_is_written_again() {
    let now = Instant::now();
    let mut desk = desk(now);
    written(&mut desk, now);
    let later = now + 10 * SECOND;
    desk.on_told(Told::Gone("a".to_owned()), later);
    desk.on_told(Told::Is("b".to_owned(), ConfigMap { labels: BTreeMap::new(), ..map("roots\n") }), later);
    desk.on_told(Told::Is("kube-system".to_owned(), map("foreign")), later);
    desk.on_told(Told::Is("elsewhere".to_owned(), map("foreign")), later);
    assert_eq!(written(&mut desk, later), ["a", "b", "kube-system"]);
}

#[test]
fn who_writes_against_somebody_else_rests_ever_longer() {
    let start = Instant::now();
    let mut desk = desk(start);
    written(&mut desk, start);
    let (mut now, mut writes) = (start, 0);
    while now < start + Duration::from_secs(3600) {
        desk.on_told(Told::Is("a".to_owned(), map("foreign")), now);
        writes += written(&mut desk, now).len();
        now += SECOND;
    }
    assert!((10..=30).contains(&writes), "{writes} writes in an hour");
    // New roots are not waited for.
    desk.want("new\n".into(), now);
    assert_eq!(written(&mut desk, now).len(), 3);
}

#[test]
fn a_namespace_that_cannot_be_written_to_is_tried_again_later_and_holds_nobody_up() {
    let now = Instant::now();
    let mut desk = desk(now);
    let (first, text) = desk.next(now).unwrap();
    desk.on_done(&first, text, &Outcome::Refused, now);
    assert_eq!(written(&mut desk, now), ["b", "kube-system"]);
    assert_eq!(desk.deadline(), Some(now + FIRST_PAUSE));
    assert!(desk.next(now).is_none());
    assert_eq!(written(&mut desk, now + FIRST_PAUSE), ["a"]);
    desk.select(names(&["b"]), now);
    desk.on_told(Told::Gone("a".to_owned()), now);
    assert_eq!(desk.deadline(), None, "it is no longer of the mesh");
}

#[test]
fn a_thousand_namespaces_are_written_at_a_pace() {
    let mut now = Instant::now();
    let mut desk = Desk::new(ROOTS, now);
    desk.want("roots\n".into(), now);
    desk.select((0..1_000).map(|number| format!("n{number}")), now);
    desk.on_told(Told::Whole, now);
    assert_eq!(written(&mut desk, now).len(), 80);
    let mut seconds = 0;
    while desk.deadline().is_some() {
        now += SECOND;
        seconds += 1;
        assert!(written(&mut desk, now).len() <= 41);
    }
    assert!(seconds <= 30, "{seconds}");
}

#[test]
fn without_revocation_lists_none_are_written_but_where_there_were_some() {
    let now = Instant::now();
    let mut desk = Desk::new(CRL, now);
    desk.select(names(&["a", "b"]), now);
    desk.want("".into(), now);
    let labels = map("").labels;
    let data = BTreeMap::from([(CRL.key.to_owned(), "lists\n".to_owned())]);
    desk.on_told(Told::Is("b".to_owned(), ConfigMap { labels, data }), now);
    desk.on_told(Told::Whole, now);
    assert_eq!(written(&mut desk, now), ["b"]);
    desk.want("lists\n".into(), now);
    assert_eq!(written(&mut desk, now), ["a", "b"]);
}

#[test]
fn a_config_map_is_of_this_mesh_if_it_shares_a_root_or_has_none() {
    let now = Instant::now();
    let root = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let mut desk = desk(now);
    desk.want((root("one\nmore") + &root("two")).into(), now);
    let mut is = |text: &str| {
        desk.on_told(Told::Is("a".to_owned(), map(text)), now);
        desk.is_of_this_mesh("a")
    };
    assert!(is("nothing"));
    assert!(is(&root("onemore")));
    assert!(is(&(root("three") + &root("two"))));
    assert!(!is(&root("three")));
    assert!(desk.is_of_this_mesh("b"));
}
