//! Whether single resources are in force at a client.

use std::time::Duration;

use meltemi_catalog::{Generation, ResourceName};
use meltemi_names::TypeUrl;

use super::bench::*;
use crate::machine::standing::Lack;

const WAIT: Duration = Duration::from_secs(5);

/// Since when, and why, the client lacks the resource.
fn lacks(b: &Bench, type_url: TypeUrl, name: &str) -> Option<(u64, Lack)> {
    let lacking = b.machine.lacks(type_url, &ResourceName::from(name), &b.view(), b.now)?;
    assert_eq!((lacking.type_url, lacking.name.as_str()), (type_url, name));
    Some((lacking.since.0, lacking.lack))
}

fn is_settled(b: &Bench) -> bool {
    let settled = b.machine.is_settled(&b.view(), b.now);
    assert_eq!(settled, b.machine.lacks_anything(&b.view(), b.now).is_none());
    settled
}

/// A client that has clusters and listeners `a` and `b`, at generation 1.
fn settled() -> Bench {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (CDS, "b", "b1"), (LDS, "a", "a1"), (LDS, "b", "b1")]);
    b.subscribe(CDS, &[]);
    b.settle();
    b.subscribe(LDS, &[]);
    b.settle();
    assert!(is_settled(&b));
    b
}

#[test]
fn a_change_is_lacked_from_when_it_is_published_until_it_is_acknowledged() {
    let mut b = settled();
    b.put(&[(CDS, "a", "a2")]);
    let lacked = Some((2, Lack::Unacknowledged));
    // Before the stream has looked, when it is due, and when it was sent.
    assert_eq!((lacks(&b, CDS, "a"), lacks(&b, CDS, "b"), is_settled(&b)), (lacked.clone(), None, false));
    let said = b.expect(CDS);
    assert_eq!((lacks(&b, CDS, "a"), lacks(&b, CDS, "b"), is_settled(&b)), (lacked.clone(), None, false));
    b.pass(WAIT * 2);
    b.silent();
    assert_eq!((lacks(&b, CDS, "a"), is_settled(&b)), (lacked, false), "however long it takes");
    b.ack(&said);
    assert_eq!((lacks(&b, CDS, "a"), is_settled(&b)), (None, true));
}

#[test]
fn a_removal_is_lacked_until_it_is_acknowledged() {
    let mut b = settled();
    b.change(&[], &[(CDS, "a")]);
    assert_eq!(lacks(&b, CDS, "a"), Some((2, Lack::Unacknowledged)));
    let said = b.expect(CDS);
    assert_eq!(lacks(&b, CDS, "a"), Some((2, Lack::Unacknowledged)));
    b.ack(&said);
    assert_eq!((lacks(&b, CDS, "a"), is_settled(&b)), (None, true));
}

#[test]
fn what_is_refused_is_lacked_with_the_clients_words_and_nothing_else_is() {
    let mut b = settled();
    b.put(&[(CDS, "a", "a2")]);
    let said = b.expect(CDS);
    b.answer(&said, Some("no such filter"));
    b.put(&[(CDS, "b", "b2")]);
    let said = b.expect(CDS);
    b.answer(&said, Some("too many"));
    b.settle();
    let refused =
        |resource: &str, words: &str| Lack::Refused { resource: resource.into(), words: words.into() };
    assert_eq!(lacks(&b, CDS, "a"), Some((2, refused("a", "no such filter"))), "its own words, not the last");
    assert_eq!(lacks(&b, CDS, "b"), Some((3, refused("b", "too many"))));
    assert_eq!((lacks(&b, LDS, "a"), is_settled(&b)), (None, false));
}

#[test]
fn a_route_that_waits_for_a_refused_cluster_is_lacked_with_the_words_about_the_cluster() {
    let mut b = Bench::delta();
    b.change(
        &[(CDS, "a", "a1", &[]), (LDS, "l", "l1", &[(RDS, "r")]), (RDS, "r", "to a", &[(CDS, "a")])],
        &[],
    );
    b.subscribe(CDS, &[]);
    b.settle();
    b.subscribe(LDS, &[]);
    b.settle();
    b.subscribe(RDS, &["r"]);
    b.settle();
    assert!(is_settled(&b));
    b.change(&[(CDS, "new", "bad", &[]), (RDS, "r", "to new", &[(CDS, "new")])], &[]);
    let said = b.expect(CDS);
    b.answer(&said, Some("odd cluster"));
    b.settle();
    let words = Lack::Refused { resource: "new".into(), words: "odd cluster".into() };
    assert_eq!(lacks(&b, RDS, "r"), Some((2, words)));
}

#[test]
fn who_has_just_come_lacks_everything_until_it_has_all_of_its_first_answers() {
    let mut b = Bench::delta();
    b.change(&[(CDS, "a", "a1", &[]), (LDS, "l", "l1", &[(RDS, "r")]), (RDS, "r", "r1", &[])], &[]);
    let starting = |b: &Bench| match lacks(b, RDS, "r") {
        Some((since, Lack::Starting { .. })) => {
            assert_eq!(since, 0);
            true
        }
        None => false,
        other => panic!("{other:?}"),
    };
    assert!(starting(&b), "it has said nothing");
    b.subscribe(CDS, &[]);
    b.settle();
    assert!(starting(&b), "it will ask for listeners");
    b.subscribe(LDS, &[]);
    b.settle();
    assert!(starting(&b), "it will ask for the route");
    b.subscribe(RDS, &["r"]);
    let said = b.expect(RDS);
    assert!(starting(&b));
    b.ack(&said);
    b.silent();
    assert_eq!((starting(&b), is_settled(&b)), (false, true));
}

#[test]
fn who_comes_back_with_its_versions_lacks_everything_until_it_has_asked_for_everything() {
    let mut b = settled();
    b.reconnect();
    b.returns(CDS, &[], &[("a", "a1"), ("b", "b1")]);
    b.settle();
    assert!(matches!(lacks(&b, LDS, "a"), Some((0, Lack::Starting { until: Some(_) }))));
    b.returns(LDS, &[], &[("a", "a1"), ("b", "b1")]);
    b.settle();
    assert!(is_settled(&b));
}

#[test]
fn who_asks_for_clusters_alone_is_not_waited_for_for_ever() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (LDS, "l", "l1")]);
    b.subscribe(CDS, &[]);
    b.settle();
    let Some((0, Lack::Starting { until: Some(until) })) = lacks(&b, LDS, "l") else { panic!("it may ask") };
    assert_eq!(until, b.now + WAIT);
    b.pass(WAIT);
    // Nothing has asked the machine meanwhile.
    assert_eq!((lacks(&b, LDS, "l"), is_settled(&b)), (None, true));
}

#[test]
fn a_route_of_a_listener_that_is_not_accepted_is_lacked_although_nobody_asked_for_it() {
    let mut b = settled();
    b.change(&[(LDS, "new", "n1", &[(RDS, "r")]), (RDS, "r", "r1", &[])], &[]);
    assert_eq!(lacks(&b, RDS, "r"), Some((2, Lack::Unacknowledged)));
    let said = b.expect(LDS);
    assert_eq!(lacks(&b, RDS, "r"), Some((2, Lack::Unacknowledged)));
    b.ack(&said);
    b.silent();
    assert_eq!(lacks(&b, RDS, "r"), Some((2, Lack::Unacknowledged)), "it will be asked for");
    b.subscribe(RDS, &["r"]);
    b.settle();
    assert_eq!((lacks(&b, RDS, "r"), is_settled(&b)), (None, true));
    b.put(&[(RDS, "of nobody", "r1")]);
    b.silent();
    assert_eq!(lacks(&b, RDS, "of nobody"), None, "no listener names it");
}

#[test]
fn what_was_changed_again_before_it_was_acknowledged_is_lacked_since_the_first_change() {
    let mut b = settled();
    b.put(&[(CDS, "a", "a2")]);
    let said = b.expect(CDS);
    b.put(&[(CDS, "a", "a3")]);
    b.silent();
    b.ack(&said);
    assert_eq!(lacks(&b, CDS, "a"), Some((3, Lack::Unacknowledged)));
    assert_eq!(b.machine.watermark(), Generation(1));
    b.settle();
    assert!(is_settled(&b));
}
