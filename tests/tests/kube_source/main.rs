//! The API server as the source: all that works from a folder works from there, and what stands in the way is told.
//!
//! One cluster for most tests, one test after the other; `definitions` spoils one and has one of its own.

mod bad_input;
mod definitions;
mod objects;

use meltemi_tests::kubernetes::{Case, Needs, main as run_all, run};

fn main() {
    let cases: &[Case] = &[
        ("services_slices_and_pods_become_clusters_and_endpoints", Needs::Kubernetes, || {
            run(objects::endpoints())
        }),
        ("what_says_nothing_new_is_not_published", Needs::Kubernetes, || run(objects::nothing_new())),
        ("a_canary_steps_at_every_served_version", Needs::Kubernetes, || run(objects::canary())),
        ("settings_change_while_it_runs", Needs::Kubernetes, || run(objects::settings_change())),
        ("a_folder_beside_the_cluster_counts_more", Needs::Kubernetes, || run(objects::folder_and_cluster())),
        ("a_kubeconfig_that_is_none_is_told_in_a_sentence", Needs::Kubernetes, || {
            run(bad_input::kubeconfigs())
        }),
        ("an_api_server_that_cannot_be_asked_is_told_in_a_sentence", Needs::Kubernetes, || {
            run(bad_input::credentials())
        }),
        ("an_api_server_that_is_too_old_is_told_in_a_sentence", Needs::Kubernetes, || run(bad_input::skew())),
        ("a_missing_permission_is_one_finding", Needs::Kubernetes, || run(bad_input::permissions())),
        ("credentials_that_end_take_nothing_away", Needs::Kubernetes, || run(bad_input::revoked())),
        ("nobody_is_served_before_every_first_list", Needs::Kubernetes, || run(bad_input::readiness())),
        ("an_object_that_cannot_be_read_spares_its_neighbours", Needs::Kubernetes, || {
            run(bad_input::garbled())
        }),
        ("a_megabyte_and_five_thousand_labels_are_read", Needs::Kubernetes, || run(bad_input::large())),
        ("kinds_come_change_and_go", Needs::Kubernetes, || run(definitions::definitions())),
    ];
    run_all(cases);
}
