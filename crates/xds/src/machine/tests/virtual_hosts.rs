//! Virtual hosts of their own: one wildcard per stream, sent to who has their route configuration.

use super::bench::*;

fn mesh() -> Bench {
    let mut b = Bench::delta();
    b.put(&[
        (RDS, "80", "80"),
        (RDS, "90", "90"),
        (VHDS, "80/a", "a1"),
        (VHDS, "80/b", "b1"),
        (VHDS, "90/a", "a1 at 90"),
    ]);
    b
}

#[test]
fn virtual_hosts_come_with_their_route_configuration_and_after_it() {
    let mut b = mesh();
    b.subscribe(VHDS, &[]);
    b.subscribe(RDS, &["80"]);
    b.expect(RDS);
    assert_eq!(b.expect(VHDS).names(), ["80/a", "80/b"]);
    b.silent();
}

#[test]
fn a_route_configuration_asked_for_later_brings_its_virtual_hosts_unasked() {
    let mut b = mesh();
    b.subscribe(RDS, &["80"]);
    b.subscribe(VHDS, &[]);
    b.settle();
    b.subscribe(RDS, &["90"]);
    let routes = b.expect(RDS);
    assert_eq!(routes.names(), ["90"]);
    assert_eq!(b.expect(VHDS).names(), ["90/a"]);
}

#[test]
fn virtual_hosts_asked_for_first_are_answered_and_sent_when_their_routes_are() {
    let mut b = mesh();
    b.subscribe(VHDS, &[]);
    let said = b.expect(VHDS);
    assert_eq!(said.names(), Vec::<&str>::new());
    b.ack(&said);
    b.subscribe(RDS, &["90"]);
    b.expect(RDS);
    assert_eq!(b.expect(VHDS).names(), ["90/a"]);
}

#[test]
fn a_change_is_the_one_virtual_host_and_only_where_it_is_held() {
    let mut b = mesh();
    b.subscribe(RDS, &["80"]);
    b.subscribe(VHDS, &[]);
    b.settle();
    b.put(&[(VHDS, "90/a", "a2 at 90")]);
    b.silent();
    b.put(&[(VHDS, "80/b", "b2")]);
    assert_eq!(b.expect(VHDS).put, [("80/b".into(), "b2".into())]);
}

#[test]
fn only_held_virtual_hosts_are_removed() {
    let mut b = mesh();
    b.subscribe(RDS, &["80"]);
    b.subscribe(VHDS, &[]);
    b.settle();
    b.change(&[], &[(VHDS, "90/a")]);
    b.silent();
    b.change(&[], &[(VHDS, "80/a")]);
    assert_eq!(b.expect(VHDS).removed, ["80/a"]);
}

#[test]
fn a_route_configuration_that_was_dropped_and_asked_for_again_brings_all_of_them_again() {
    let mut b = mesh();
    b.subscribe(RDS, &["80"]);
    b.subscribe(VHDS, &[]);
    b.settle();
    b.unsubscribe(RDS, &["80"]);
    b.put(&[(VHDS, "80/b", "b2")]);
    // Not part of the subscription any more: else a returning client would list them as held.
    let said = b.expect(VHDS);
    assert_eq!(said.removed, ["80/a", "80/b"]);
    b.ack(&said);
    b.silent();
    b.subscribe(RDS, &["80"]);
    b.expect(RDS);
    assert_eq!(b.expect(VHDS).names(), ["80/a", "80/b"]);
}

#[test]
fn a_route_configuration_dropped_and_asked_for_in_one_go_is_sent_again_with_all_its_virtual_hosts() {
    let mut b = mesh();
    b.subscribe(RDS, &["80"]);
    b.subscribe(VHDS, &[]);
    b.settle();
    b.unsubscribe(RDS, &["80"]);
    b.subscribe(RDS, &["80"]);
    b.expect(RDS);
    let said = b.expect(VHDS);
    assert_eq!((said.names(), said.removed.len()), (vec!["80/a", "80/b"], 0));
}

#[test]
fn virtual_hosts_that_go_with_their_route_configuration_stay_while_its_listener_drains() {
    let mut b = mesh();
    b.subscribe(RDS, &["80", "90"]);
    b.subscribe(VHDS, &[]);
    b.subscribe(LDS, &[]);
    b.settle();
    b.change(&[], &[(RDS, "80"), (VHDS, "80/a"), (VHDS, "80/b")]);
    b.silent();
    assert_eq!(b.machine.watermark(), b.layer.generation(), "nobody waits for that");
    // It comes back with fewer, while the client still has the old ones.
    b.put(&[(RDS, "80", "80 again"), (VHDS, "80/a", "a1")]);
    b.expect(RDS);
    let said = b.expect(VHDS);
    assert_eq!((said.names(), said.removed.clone()), (vec!["80/a"], vec!["80/b".to_owned()]));
}

#[test]
fn virtual_hosts_that_went_are_told_as_removed_when_the_drained_client_drops_their_routes() {
    let mut b = mesh();
    b.subscribe(RDS, &["80", "90"]);
    b.subscribe(VHDS, &[]);
    b.subscribe(LDS, &[]);
    b.settle();
    b.change(&[], &[(RDS, "80"), (VHDS, "80/a"), (VHDS, "80/b")]);
    b.silent();
    b.unsubscribe(RDS, &["80"]);
    assert_eq!(b.expect(VHDS).removed, ["80/a", "80/b"]);
}

#[test]
fn a_returning_client_gets_only_what_differs_whichever_it_asks_for_first() {
    for virtual_hosts_first in [true, false] {
        let mut b = mesh();
        let held = [("80/a", "a1"), ("80/b", "old"), ("80/gone", "x")];
        if virtual_hosts_first {
            b.returns(VHDS, &[], &held);
            b.returns(RDS, &["80"], &[("80", "80")]);
        } else {
            b.returns(RDS, &["80"], &[("80", "80")]);
            b.returns(VHDS, &[], &held);
        }
        let said = b.settle();
        let hosts: Vec<&Said> = said.iter().filter(|said| said.is(VHDS)).collect();
        let put: Vec<&str> = hosts.iter().flat_map(|said| said.names()).collect();
        let removed: Vec<&str> =
            hosts.iter().flat_map(|said| said.removed.iter().map(String::as_str)).collect();
        assert_eq!((put, removed), (vec!["80/b"], vec!["80/gone"]), "VHDS first: {virtual_hosts_first}");
    }
}

#[test]
fn all_changes_of_one_route_configuration_go_together_even_if_one_must_wait() {
    let mut b = mesh();
    b.subscribe(CDS, &[]);
    b.subscribe(RDS, &["80", "90"]);
    b.subscribe(VHDS, &[]);
    b.settle();
    b.change(
        &[
            (CDS, "c", "c1", &[]),
            (VHDS, "80/a", "a2", &[(CDS, "c")]),
            (VHDS, "80/b", "b2", &[]),
            (VHDS, "90/a", "a2 at 90", &[]),
        ],
        &[],
    );
    let clusters = b.expect(CDS);
    let said = b.expect(VHDS);
    assert_eq!(said.names(), ["90/a"], "another route configuration does not wait");
    b.ack(&said);
    b.silent();
    b.ack(&clusters);
    assert_eq!(b.expect(VHDS).names(), ["80/a", "80/b"]);
}

#[test]
fn a_removal_goes_with_the_changes_of_its_route_configuration() {
    let mut b = mesh();
    b.subscribe(CDS, &[]);
    b.subscribe(RDS, &["80"]);
    b.subscribe(VHDS, &[]);
    b.settle();
    // A domain moves from b, which goes, to a, which needs a new cluster.
    b.change(&[(CDS, "c", "c1", &[]), (VHDS, "80/a", "a2", &[(CDS, "c")])], &[(VHDS, "80/b")]);
    let clusters = b.expect(CDS);
    b.silent();
    b.ack(&clusters);
    let said = b.expect(VHDS);
    assert_eq!((said.names(), said.removed.clone()), (vec!["80/a"], vec!["80/b".to_owned()]));
}

#[test]
fn one_virtual_host_of_a_refused_cluster_does_not_hold_its_neighbours() {
    let mut b = mesh();
    b.subscribe(CDS, &[]);
    b.subscribe(RDS, &["80"]);
    b.subscribe(VHDS, &[]);
    b.settle();
    b.change(&[(CDS, "c", "bad", &[]), (VHDS, "80/a", "a2", &[(CDS, "c")]), (VHDS, "80/b", "b2", &[])], &[]);
    let clusters = b.expect(CDS);
    b.silent();
    b.nack(&clusters);
    assert_eq!(b.expect(VHDS).names(), ["80/b"]);
}

#[test]
fn virtual_hosts_wait_for_a_route_configuration_that_waits() {
    let mut b = Bench::delta();
    b.change(&[(CDS, "c", "c1", &[]), (RDS, "80", "80", &[(CDS, "c")]), (VHDS, "80/a", "a1", &[])], &[]);
    b.subscribe(CDS, &[]);
    let clusters = b.expect(CDS);
    b.subscribe(RDS, &["80"]);
    b.subscribe(VHDS, &[]);
    b.silent();
    b.ack(&clusters);
    b.expect(RDS);
    assert_eq!(b.expect(VHDS).names(), ["80/a"]);
}
