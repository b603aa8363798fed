//! State of the world: another spelling of the same state.

use std::time::Duration;

use super::bench::*;

#[test]
fn clusters_are_always_complete_and_sorted() {
    let mut b = Bench::sotw();
    b.put(&[(CDS, "b", "b1"), (CDS, "a", "a1")]);
    b.names(CDS, &[], "");
    let said = b.expect(CDS);
    assert_eq!(said.bodies(), ["a1", "b1"]);
    b.names(CDS, &[], &said.nonce);
    b.silent();
    b.change(&[(CDS, "c", "c1", &[])], &[(CDS, "a")]);
    let said = b.expect(CDS);
    assert_eq!(said.bodies(), ["b1", "c1"]);
    b.names(CDS, &[], &said.nonce);
    b.silent();
}

#[test]
fn assignments_may_be_partial() {
    let mut b = Bench::sotw();
    b.put(&[(EDS, "e", "e1"), (EDS, "f", "f1"), (EDS, "g", "g1")]);
    b.names(EDS, &["e", "f"], "");
    let said = b.expect(EDS);
    assert_eq!(said.bodies(), ["e1", "f1"]);
    b.names(EDS, &["e", "f"], &said.nonce);
    b.put(&[(EDS, "f", "f2"), (EDS, "g", "g2")]);
    let said = b.expect(EDS);
    assert_eq!(said.bodies(), ["f2"]);
    b.names(EDS, &["e", "f", "g"], &said.nonce);
    let said = b.expect(EDS);
    assert_eq!(said.bodies(), ["g2"], "the added one only");
    b.names(EDS, &["e"], &said.nonce);
    b.silent();
    b.put(&[(EDS, "f", "f3")]);
    b.silent();
}

#[test]
fn an_empty_list_of_a_named_type_unsubscribes_without_an_answer() {
    let mut b = Bench::sotw();
    b.put(&[(EDS, "e", "e1")]);
    b.names(EDS, &[], "");
    b.silent();
    b.names(EDS, &["e"], "");
    let said = b.expect(EDS);
    b.names(EDS, &[], &said.nonce);
    b.put(&[(EDS, "e", "e2")]);
    b.silent();
    b.names(EDS, &["e"], &said.nonce);
    assert_eq!(b.expect(EDS).bodies(), ["e2"], "asked for again, whatever the nonce");
}

#[test]
fn a_first_request_is_answered_whatever_its_nonce() {
    let mut b = Bench::sotw();
    b.put(&[(CDS, "a", "a1")]);
    b.names(CDS, &[], "from the last stream");
    assert_eq!(b.expect(CDS).bodies(), ["a1"]);
}

#[test]
fn an_empty_nonce_starts_anew() {
    let mut b = Bench::sotw();
    b.put(&[(LDS, "l", "l1")]);
    b.names(LDS, &[], "");
    b.expect(LDS);
    b.names(LDS, &[], "");
    assert_eq!(b.expect(LDS).bodies(), ["l1"]);
}

#[test]
fn a_first_request_is_answered_even_with_nothing() {
    let mut b = Bench::sotw();
    b.names(CDS, &[], "");
    assert_eq!(b.expect(CDS).bodies(), Vec::<&str>::new());
    b.names(LDS, &[], "");
    assert_eq!(b.expect(LDS).bodies(), Vec::<&str>::new());
}

#[test]
fn names_that_do_not_exist_are_answered_with_empty_ones() {
    let mut b = Bench::sotw();
    b.names(EDS, &["e"], "");
    assert_eq!(b.expect(EDS).bodies(), ["\n\u{1}e"]);
    b.names(RDS, &["r"], "");
    assert_eq!(b.expect(RDS).bodies(), ["\n\u{1}r:\0"]);
    b.names(CDS, &["c"], "");
    assert_eq!(b.expect(CDS).bodies(), Vec::<&str>::new());
}

#[test]
fn named_clusters_are_all_in_each_answer() {
    // gRPC asks for clusters by name.
    let mut b = Bench::sotw();
    b.put(&[(CDS, "a", "a1"), (CDS, "b", "b1"), (CDS, "c", "c1")]);
    b.names(CDS, &["a"], "");
    let said = b.expect(CDS);
    assert_eq!(said.bodies(), ["a1"]);
    b.names(CDS, &["a", "b"], &said.nonce);
    let said = b.expect(CDS);
    assert_eq!(said.bodies(), ["a1", "b1"]);
    b.names(CDS, &["b"], &said.nonce);
    b.silent();
    b.put(&[(CDS, "b", "b2"), (CDS, "a", "a2")]);
    assert_eq!(b.expect(CDS).bodies(), ["b2"]);
}

#[test]
fn a_stale_request_is_ignored_and_counted() {
    let mut b = Bench::sotw();
    b.put(&[(EDS, "e", "e1"), (EDS, "f", "f1")]);
    b.names(EDS, &["e"], "");
    b.expect(EDS);
    b.names(EDS, &["f"], "be-77");
    b.silent();
    assert_eq!(b.machine.take_tally().get(EDS).stale, 1);
}

#[test]
fn the_assignments_of_a_changed_cluster_follow_and_of_others_do_not() {
    let mut b = Bench::sotw();
    b.change(
        &[
            (CDS, "a", "a1", &[(EDS, "a")]),
            (CDS, "b", "b1", &[(EDS, "b")]),
            (EDS, "a", "ea", &[]),
            (EDS, "b", "eb", &[]),
        ],
        &[],
    );
    b.names(CDS, &[], "");
    let clusters = b.expect(CDS);
    b.names(CDS, &[], &clusters.nonce);
    b.names(EDS, &["a", "b"], "");
    let endpoints = b.expect(EDS);
    b.names(EDS, &["a", "b"], &endpoints.nonce);
    b.change(&[(CDS, "b", "b2", &[(EDS, "b")])], &[]);
    assert_eq!(b.expect(CDS).bodies(), ["a1", "b2"]);
    assert_eq!(b.expect(EDS).bodies(), ["eb"]);
}

#[test]
fn a_removed_cluster_stays_in_the_list_until_the_routes_that_dropped_it_are_accepted() {
    let mut b = Bench::sotw();
    b.change(&[(CDS, "a", "a1", &[]), (RDS, "r", "r1", &[(CDS, "a")])], &[]);
    b.names(CDS, &[], "");
    let clusters = b.expect(CDS);
    b.names(CDS, &[], &clusters.nonce);
    b.names(RDS, &["r"], "");
    let routes = b.expect(RDS);
    b.names(RDS, &["r"], &routes.nonce);
    b.silent();
    b.change(&[(CDS, "b", "b1", &[]), (RDS, "r", "r2", &[(CDS, "b")])], &[(CDS, "a")]);
    let clusters = b.expect(CDS);
    assert_eq!(clusters.bodies(), ["a1", "b1"]);
    b.names(CDS, &[], &clusters.nonce);
    let routes = b.expect(RDS);
    assert_eq!(routes.bodies(), ["r2"]);
    b.names(RDS, &["r"], &routes.nonce);
    assert_eq!(b.expect(CDS).bodies(), ["b1"]);
}

#[test]
fn a_refused_cluster_is_replaced_by_its_last_good_and_the_rest_goes_on() {
    let mut b = Bench::sotw();
    b.put(&[(CDS, "a", "a1"), (CDS, "b", "b1"), (CDS, "c", "c1")]);
    b.names(CDS, &[], "");
    let said = b.expect(CDS);
    b.names(CDS, &[], &said.nonce);
    b.put(&[(CDS, "a", "a2"), (CDS, "b", "bad"), (CDS, "d", "bad too")]);
    let mut held = Vec::new();
    for _ in 0..20 {
        let Some(said) = b.said() else { break };
        if said.bodies().iter().any(|body| body.starts_with("bad")) {
            b.nack_names(&said, &[]);
        } else {
            b.names(CDS, &[], &said.nonce);
            held = said.put.into_iter().map(|(_, body)| body).collect();
        }
    }
    b.silent();
    assert_eq!(held, ["a2", "b1", "c1"]);
}

#[test]
fn a_refusal_keeps_the_subscription() {
    let mut b = Bench::sotw();
    b.put(&[(EDS, "e", "bad")]);
    b.names(EDS, &["e"], "");
    let said = b.expect(EDS);
    b.nack_names(&said, &["e"]);
    b.silent();
    b.put(&[(EDS, "e", "good")]);
    assert_eq!(b.expect(EDS).bodies(), ["good"]);
}

#[test]
fn there_are_no_virtual_hosts_of_their_own() {
    let mut b = Bench::sotw();
    b.put(&[(RDS, "80", "80"), (VHDS, "80/a", "a1")]);
    b.names(RDS, &["80"], "");
    b.expect(RDS);
    b.names(VHDS, &[], "");
    let said = b.expect(VHDS);
    assert_eq!(said.bodies(), Vec::<&str>::new());
    b.names(VHDS, &[], &said.nonce);
    b.put(&[(VHDS, "80/a", "a2")]);
    b.silent();
}

#[test]
fn a_view_of_other_layers_is_compared_with_what_was_sent() {
    let mut b = Bench::sotw();
    b.put(&[(CDS, "a", "a1"), (CDS, "b", "b1"), (EDS, "e", "e1")]);
    b.names(CDS, &[], "");
    let clusters = b.expect(CDS);
    b.names(CDS, &[], &clusters.nonce);
    b.names(EDS, &["e"], "");
    let endpoints = b.expect(EDS);
    b.names(EDS, &["e"], &endpoints.nonce);
    b.layer = meltemi_catalog::Layer::empty();
    b.put(&[(CDS, "a", "a1"), (CDS, "c", "c1"), (EDS, "e", "e2")]);
    let said = b.expect(CDS);
    // b is gone; nothing routes to it.
    assert_eq!(said.bodies(), ["a1", "c1"]);
    assert_eq!(b.expect(EDS).bodies(), ["e2"]);
}

#[test]
fn silence_does_not_stop_a_type_for_ever() {
    let mut b = Bench::sotw();
    b.put(&[(CDS, "a", "a1")]);
    b.names(CDS, &[], "");
    b.expect(CDS);
    b.put(&[(CDS, "a", "a2")]);
    b.silent();
    b.pass(Duration::from_secs(5));
    assert_eq!(b.expect(CDS).bodies(), ["a2"]);
}
