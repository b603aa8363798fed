//! What clusters do: watches cut, servers away, replicas killed, thousands of objects at once. No proxy loses what is in force, and in the
//! end it has what one that starts afresh has.
//!
//! One cluster for most tests, one test after the other; `outage` breaks one and has one of its own.

mod outage;
mod replicas;
mod size;
mod watches;

use meltemi_tests::kubernetes::{Case, Needs, main as run_all, run};

fn main() {
    let cases: &[Case] = &[
        ("watches_that_lie_change_nothing_for_good", Needs::Kubernetes, || run(watches::faults())),
        ("a_list_older_than_what_was_seen_is_not_believed", Needs::Kubernetes, || run(watches::stale())),
        ("a_route_waits_for_the_kind_that_is_late", Needs::Kubernetes, || run(watches::late())),
        ("an_api_server_and_an_etcd_that_go_away_take_nothing_along", Needs::Root, || run(outage::outage())),
        ("replicas_say_the_same_byte_for_byte", Needs::Kubernetes, || run(replicas::agree())),
        ("sidecars_of_a_killed_replica_go_on_at_another", Needs::Root, || run(replicas::killed())),
        ("a_rolling_restart_is_not_noticed", Needs::Root, || run(replicas::rolled())),
        ("definitions_are_upgraded_in_place", Needs::Root, || run(size::upgraded())),
        ("a_namespace_goes_and_the_others_do_not_notice", Needs::Root, || run(size::namespace_deleted())),
        // Last, since they stay.
        ("ten_thousand_objects_come_at_once", Needs::Root, || run(size::thousands())),
    ];
    run_all(cases);
}
