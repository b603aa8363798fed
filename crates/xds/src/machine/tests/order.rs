//! Made before it is used, kept until it is unused.

use std::time::Duration;

use super::bench::*;

/// A client that holds a cluster with its assignment, and a route to it.
fn settled() -> Bench {
    let mut b = Bench::delta();
    b.change(
        &[
            (CDS, "a", "a1", &[(EDS, "a")]),
            (EDS, "a", "ea1", &[]),
            (LDS, "l", "l1", &[(RDS, "r")]),
            (RDS, "r", "r1", &[(CDS, "a")]),
        ],
        &[],
    );
    b.subscribe(CDS, &[]);
    b.settle();
    b.subscribe(EDS, &["a"]);
    b.subscribe(LDS, &[]);
    b.settle();
    b.subscribe(RDS, &["r"]);
    b.settle();
    b
}

#[test]
fn types_go_in_order_whatever_the_order_of_requests() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (EDS, "a", "e1"), (LDS, "l", "l1"), (RDS, "r", "r1"), (VHDS, "r/h", "h1")]);
    b.subscribe(VHDS, &[]);
    b.subscribe(RDS, &["r"]);
    b.subscribe(LDS, &[]);
    b.subscribe(EDS, &["a"]);
    b.subscribe(CDS, &[]);
    for type_url in [CDS, EDS, LDS, RDS, VHDS] {
        b.expect(type_url);
    }
}

#[test]
fn the_assignments_of_a_changed_cluster_follow_at_once_whatever_their_version() {
    let mut b = settled();
    b.change(&[(CDS, "a", "a2", &[(EDS, "a")])], &[]);
    assert_eq!(b.expect(CDS).bodies(), ["a2"]);
    // No CDS ACK, and the same assignment as before.
    assert_eq!(b.expect(EDS).bodies(), ["ea1"]);
}

#[test]
fn an_assignment_that_is_missing_when_its_cluster_changes_is_told_as_empty() {
    let mut b = settled();
    b.change(&[(CDS, "a", "a2", &[(EDS, "a")])], &[(EDS, "a")]);
    b.expect(CDS);
    assert_eq!(b.expect(EDS).bodies(), ["\n\u{1}a"]);
}

#[test]
fn a_route_waits_for_the_answer_that_brings_its_cluster() {
    let mut b = settled();
    b.change(&[(CDS, "b", "b1", &[]), (RDS, "r", "r2", &[(CDS, "b")])], &[]);
    let clusters = b.expect(CDS);
    b.silent();
    b.ack(&clusters);
    assert_eq!(b.expect(RDS).bodies(), ["r2"]);
}

#[test]
fn a_route_that_needs_none_of_the_clusters_on_their_way_does_not_wait() {
    let mut b = settled();
    b.change(&[(CDS, "b", "b1", &[]), (RDS, "r", "r2", &[(CDS, "a")])], &[]);
    b.expect(CDS);
    assert_eq!(b.expect(RDS).bodies(), ["r2"]);
}

#[test]
fn a_route_does_not_wait_for_a_cluster_that_does_not_exist() {
    let mut b = settled();
    b.change(&[(CDS, "b", "b1", &[]), (RDS, "r", "r2", &[(CDS, "nowhere")])], &[]);
    b.expect(CDS);
    assert_eq!(b.expect(RDS).bodies(), ["r2"]);
}

#[test]
fn a_route_does_not_wait_for_a_cluster_that_nobody_asked_for() {
    // As gRPC does: the route first, then the clusters that it names.
    let mut b = Bench::delta();
    b.change(&[(CDS, "a", "a1", &[]), (CDS, "b", "b1", &[]), (RDS, "r", "r1", &[(CDS, "b")])], &[]);
    b.subscribe(CDS, &["a"]);
    b.expect(CDS);
    b.subscribe(RDS, &["r"]);
    assert_eq!(b.expect(RDS).bodies(), ["r1"]);
}

#[test]
fn a_listener_waits_for_a_cluster_that_it_uses_itself() {
    let mut b = settled();
    b.change(
        &[(CDS, "t", "t1", &[]), (LDS, "tcp", "tcp1", &[(CDS, "t")]), (LDS, "http", "http1", &[(RDS, "r")])],
        &[],
    );
    let clusters = b.expect(CDS);
    assert_eq!(b.expect(LDS).names(), ["http"]);
    b.silent();
    b.ack(&clusters);
    // One unanswered LDS response is out.
    b.silent();
}

#[test]
fn silence_holds_a_route_for_the_limit_only() {
    let mut b = settled();
    b.change(&[(CDS, "b", "b1", &[]), (RDS, "r", "r2", &[(CDS, "b")])], &[]);
    b.expect(CDS);
    b.pass(Duration::from_millis(4_999));
    b.silent();
    b.pass(Duration::from_millis(1));
    assert_eq!(b.expect(RDS).bodies(), ["r2"]);
}

#[test]
fn a_client_that_is_stuck_does_not_pay_the_wait_at_each_step() {
    let mut b = settled();
    b.change(&[(CDS, "dns", "d1", &[])], &[]);
    let stuck = b.expect(CDS);
    b.change(&[(RDS, "r", "r2", &[(CDS, "dns")])], &[]);
    b.pass(Duration::from_secs(5));
    let routes = b.expect(RDS);
    b.ack(&routes);
    // Envoy acknowledges no CDS while that cluster warms. The next step waits for its assignments only.
    b.change(
        &[(CDS, "b", "b1", &[(EDS, "b")]), (EDS, "b", "eb1", &[]), (RDS, "r", "r3", &[(CDS, "b")])],
        &[],
    );
    b.expect(CDS);
    b.subscribe(EDS, &["b"]);
    let assignments = b.expect(EDS);
    b.silent();
    b.ack(&assignments);
    assert_eq!(b.expect(RDS).bodies(), ["r3"]);
    // An answer ends that: from then on the answers are waited for again.
    b.ack(&stuck);
    b.change(&[(CDS, "c", "c1", &[]), (RDS, "r", "r4", &[(CDS, "c")])], &[]);
    assert!(!b.machine.watch(CDS).expect("asked").stuck);
}

#[test]
fn a_cluster_is_removed_after_the_route_that_dropped_it_was_accepted() {
    let mut b = settled();
    b.change(&[(CDS, "b", "b1", &[]), (RDS, "r", "r2", &[(CDS, "b")])], &[(CDS, "a"), (EDS, "a")]);
    let added = b.expect(CDS);
    assert_eq!((added.names(), added.removed.len()), (vec!["b"], 0));
    b.ack(&added);
    let routes = b.expect(RDS);
    b.silent();
    b.ack(&routes);
    let removed = b.expect(CDS);
    assert_eq!((removed.put.len(), removed.removed.clone()), (0, vec!["a".to_owned()]));
    // Its assignment goes with it: the client unsubscribes, and was never told that it has no endpoints.
    b.ack(&removed);
    b.silent();
}

#[test]
fn a_cluster_that_changed_before_it_was_removed_waits_for_its_route_all_the_same() {
    let mut b = settled();
    b.put(&[(CDS, "z", "z1")]);
    let other = b.expect(CDS);
    // Due for this change, which cannot go yet, and then for the removal.
    b.change(&[(CDS, "a", "a2", &[(EDS, "a")])], &[]);
    b.silent();
    b.change(&[(RDS, "r", "r2", &[])], &[(CDS, "a"), (EDS, "a")]);
    let route = b.expect(RDS);
    b.ack(&other);
    b.silent();
    b.ack(&route);
    assert_eq!(b.expect(CDS).removed, ["a"]);
}

#[test]
fn a_refused_route_keeps_the_clusters_that_its_last_good_may_use() {
    let mut b = settled();
    b.change(&[(RDS, "r", "bad", &[])], &[(CDS, "a")]);
    let routes = b.expect(RDS);
    b.nack(&routes);
    b.silent();
    b.pass(Duration::from_secs(60));
    b.silent();
    b.change(&[(RDS, "r", "good", &[])], &[]);
    let routes = b.expect(RDS);
    b.ack(&routes);
    assert_eq!(b.expect(CDS).removed, ["a"]);
}

#[test]
fn other_routes_that_keep_changing_do_not_keep_a_removed_cluster_for_ever() {
    let mut b = settled();
    b.change(&[(RDS, "r", "r2", &[])], &[(CDS, "a")]);
    let second = b.expect(RDS);
    b.change(&[(RDS, "r", "r3", &[])], &[]);
    b.ack(&second);
    assert_eq!(b.expect(CDS).removed, ["a"]);
    assert_eq!(b.expect(RDS).bodies(), ["r3"]);
}

#[test]
fn a_returning_client_keeps_a_removed_cluster_until_its_routes_were_asked_for_and_accepted() {
    let mut b = settled();
    b.change(&[(RDS, "r", "r2", &[])], &[(CDS, "a")]);
    b.reconnect();
    b.returns(CDS, &[], &[("a", "a1")]);
    let clusters = b.expect(CDS);
    assert_eq!(clusters.removed.len(), 0);
    b.ack(&clusters);
    b.returns(LDS, &[], &[("l", "l1")]);
    let listeners = b.expect(LDS);
    b.ack(&listeners);
    b.silent();
    b.returns(RDS, &["r"], &[("r", "r1")]);
    let routes = b.expect(RDS);
    b.silent();
    b.ack(&routes);
    assert_eq!(b.expect(CDS).removed, ["a"]);
}

#[test]
fn a_returning_client_that_asks_for_no_routes_gets_the_removal_after_the_limit() {
    let mut b = settled();
    b.change(&[(RDS, "r", "r2", &[])], &[(CDS, "a")]);
    b.reconnect();
    b.returns(CDS, &[], &[("a", "a1")]);
    let clusters = b.expect(CDS);
    b.ack(&clusters);
    let crate::Next::Idle { until } = b.next().expect("open") else { panic!("nothing to send yet") };
    assert_eq!(until, Some(b.now + Duration::from_secs(5)));
    b.pass(Duration::from_secs(5));
    assert_eq!(b.expect(CDS).removed, ["a"]);
}

#[test]
fn endpoints_that_vanish_under_a_living_cluster_are_told_as_none() {
    let mut b = settled();
    b.change(&[], &[(EDS, "a")]);
    assert_eq!(b.expect(EDS).bodies(), ["\n\u{1}a"]);
}

#[test]
fn routes_of_a_listener_that_drains_are_not_emptied() {
    let mut b = settled();
    b.change(&[], &[(LDS, "l"), (RDS, "r")]);
    let listeners = b.expect(LDS);
    assert_eq!(listeners.removed, ["l"]);
    b.ack(&listeners);
    b.silent();
}

#[test]
fn a_first_answer_is_whole() {
    let mut b = Bench::delta();
    b.change(&[(CDS, "a", "a1", &[]), (RDS, "r", "r1", &[(CDS, "a")]), (RDS, "s", "s1", &[])], &[]);
    b.subscribe(CDS, &[]);
    let clusters = b.expect(CDS);
    b.subscribe(RDS, &["r", "s"]);
    b.silent();
    b.ack(&clusters);
    assert_eq!(b.expect(RDS).names(), ["r", "s"]);
}
