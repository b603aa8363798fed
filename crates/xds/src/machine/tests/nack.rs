//! A refused response: its culprit is found, set aside for this client, and reported.

use std::time::Duration;

use super::bench::*;
use crate::status::Refusal;

/// Answers until silence: refuses any response with a body that `bad` says is bad. Returns what was accepted.
fn judge(b: &mut Bench, bad: impl Fn(&Said) -> bool) -> (Vec<(String, String)>, usize) {
    let mut held = Vec::new();
    let mut refused = 0;
    while let Some(said) = b.said() {
        if bad(&said) {
            refused += 1;
            b.nack(&said);
        } else {
            b.ack(&said);
            held.extend(said.put);
        }
        assert!(refused < 100, "halving ends");
    }
    held.sort();
    (held, refused)
}

fn has_bad(said: &Said) -> bool {
    said.bodies().iter().any(|body| body.starts_with("bad"))
}

#[test]
fn the_culprit_is_found_by_halving_and_all_others_arrive() {
    let mut b = Bench::delta();
    let names: Vec<String> = (0..37).map(|n| format!("c{n:02}")).collect();
    let put: Vec<(meltemi_names::TypeUrl, &str, &str)> = names
        .iter()
        .map(|name| (CDS, name.as_str(), if name == "c23" || name == "c24" { "bad" } else { "good" }))
        .collect();
    b.put(&put);
    b.subscribe(CDS, &[]);
    let (held, _) = judge(&mut b, has_bad);
    assert_eq!(held.len(), 35);
    assert!(held.iter().all(|(_, body)| body == "good"));
    let alone: Vec<String> = b
        .machine
        .take_refusals()
        .into_iter()
        .filter(|refusal| refusal.alone)
        .map(|refusal| refusal.resources[0].0.to_string())
        .collect();
    assert!(alone.contains(&"c23".to_owned()) && alone.contains(&"c24".to_owned()), "{alone:?}");
    let status = b.machine.status(&b.view());
    assert_eq!(status.types[0].aside.len(), 2);
    assert!(!status.types[0].in_sync());
}

#[test]
fn what_was_refused_alone_is_sent_again_only_when_it_changes() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "c", "good")]);
    b.subscribe(CDS, &[]);
    b.settle();
    b.put(&[(CDS, "c", "bad")]);
    let said = b.expect(CDS);
    b.nack(&said);
    b.silent();
    b.put(&[(CDS, "d", "d1")]);
    b.pass(Duration::from_secs(60));
    assert_eq!(b.expect(CDS).names(), ["d"]);
    b.put(&[(CDS, "c", "better")]);
    b.pass(Duration::from_secs(60));
    assert_eq!(b.expect(CDS).bodies(), ["better"]);
}

#[test]
fn a_refusal_is_reported_with_who_what_and_why() {
    use meltemi_names::{Kind, ObjectKey};
    let mut b = Bench::delta();
    let origin: ObjectKey = ObjectKey::new(Kind::VirtualService, "shop", "reviews");
    let mut edit = b.layer.edit(meltemi_catalog::Generation(1));
    edit.put(std::sync::Arc::new(made(RDS, "r", "bad", &[]).made_from(vec![origin.clone()])));
    b.layer = edit.finish().expect("a change");
    b.subscribe(RDS, &["r"]);
    let said = b.expect(RDS);
    b.answer(&said, Some("route: no such cluster"));
    let refusals = b.machine.take_refusals();
    assert_eq!(
        refusals,
        [Refusal {
            type_url: RDS,
            alone: true,
            count: 1,
            resources: vec![("r".into(), meltemi_names::Version::of(b"bad"))],
            origins: vec![origin],
            code: 13,
            message: "route: no such cluster".into(),
            at: b.now,
        }]
    );
    assert_eq!(b.machine.status(&b.view()).types[0].error, Some(refusals[0].clone()));
    b.put(&[(RDS, "r", "good")]);
    b.settle();
    assert_eq!(b.machine.status(&b.view()).types[0].error, None, "mended");
}

#[test]
fn a_route_that_needs_a_refused_cluster_stays_at_its_last_good_however_long() {
    let mut b = Bench::delta();
    b.change(&[(CDS, "a", "a1", &[]), (RDS, "r", "r1", &[(CDS, "a")])], &[]);
    b.subscribe(CDS, &[]);
    b.settle();
    b.subscribe(RDS, &["r"]);
    b.settle();
    b.change(&[(CDS, "b", "bad", &[]), (RDS, "r", "r2", &[(CDS, "b")])], &[]);
    let clusters = b.expect(CDS);
    b.nack(&clusters);
    b.silent();
    b.pass(Duration::from_secs(3600));
    b.silent();
    b.change(&[(CDS, "b", "good", &[])], &[]);
    let clusters = b.expect(CDS);
    b.silent();
    b.ack(&clusters);
    assert_eq!(b.expect(RDS).bodies(), ["r2"]);
}

#[test]
fn a_route_without_a_last_good_goes_out_even_if_a_cluster_of_it_was_refused() {
    let mut b = Bench::delta();
    b.change(&[(CDS, "b", "bad", &[]), (RDS, "r", "r1", &[(CDS, "b")])], &[]);
    b.subscribe(CDS, &[]);
    let clusters = b.expect(CDS);
    b.nack(&clusters);
    b.subscribe(RDS, &["r"]);
    assert_eq!(b.expect(RDS).bodies(), ["r1"], "503 for that cluster, not a listener without routes");
}

#[test]
fn resources_that_are_refused_in_each_others_absence_get_one_more_try() {
    let mut b = Bench::delta();
    b.put(&[(VHDS, "r/x", "x domain"), (VHDS, "r/y", "y"), (RDS, "r", "r1")]);
    b.subscribe(RDS, &["r"]);
    b.subscribe(VHDS, &[]);
    b.settle();
    // The domain moves to `a`, which sorts first; `z` is bad, so the response is halved. Alone, `a` is a duplicate.
    b.put(&[(VHDS, "r/a", "a domain"), (VHDS, "r/x", "x"), (VHDS, "r/z", "bad")]);
    let mut held: std::collections::BTreeMap<String, String> =
        [("r/x".to_owned(), "x domain".to_owned()), ("r/y".to_owned(), "y".to_owned())].into();
    for _ in 0..20 {
        let Some(said) = b.said() else { break };
        let mut after = held.clone();
        after.extend(said.put.iter().cloned());
        let duplicates = after.values().filter(|body| body.contains("domain")).count() > 1;
        if has_bad(&said) || duplicates {
            b.nack(&said);
        } else {
            b.ack(&said);
            held = after;
        }
    }
    b.silent();
    assert_eq!(held["r/a"], "a domain");
    assert_eq!(held["r/x"], "x");
    assert!(!held.contains_key("r/z"));
}

#[test]
fn a_resource_that_changed_before_its_refusal_came_is_sent_as_it_is_now() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "c", "bad")]);
    b.subscribe(CDS, &[]);
    let said = b.expect(CDS);
    b.put(&[(CDS, "c", "good")]);
    b.nack(&said);
    assert_eq!(b.expect(CDS).bodies(), ["good"]);
}

#[test]
fn a_removal_in_a_refused_response_is_sent_again() {
    let mut b = Bench::delta();
    b.put(&[(LDS, "old", "o1")]);
    b.subscribe(LDS, &[]);
    b.settle();
    b.change(&[(LDS, "new", "bad", &[])], &[(LDS, "old")]);
    let said = b.expect(LDS);
    assert_eq!((said.names(), said.removed.len()), (vec!["new"], 1));
    b.nack(&said);
    let said = b.expect(LDS);
    assert_eq!((said.put.len(), said.removed.clone()), (0, vec!["old".to_owned()]));
}

#[test]
fn refusing_nothing_is_recorded_and_not_repeated() {
    let mut b = Bench::delta();
    b.subscribe(CDS, &[]);
    let said = b.expect(CDS);
    b.nack(&said);
    b.silent();
    assert_eq!(b.machine.take_tally().get(CDS).nacks, 1);
}

#[test]
fn subscribing_to_a_refused_name_again_sends_it_again() {
    let mut b = Bench::delta();
    b.put(&[(EDS, "e", "bad")]);
    b.subscribe(EDS, &["e"]);
    let said = b.expect(EDS);
    b.nack(&said);
    b.silent();
    b.subscribe(EDS, &["e"]);
    assert_eq!(b.expect(EDS).bodies(), ["bad"]);
}
