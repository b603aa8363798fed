//! Identity in a real cluster: real tokens, Secrets and ConfigMaps, the rights of the chart, the real program.
//!
//! One cluster for most tests, one test after the other; `outage` has a way of its own to the API server.

mod openssl;
mod outage;
mod plugged;
mod replicas;
mod roots;
mod signers;
mod stage;
mod tokens;

use meltemi_tests::kubernetes::{Case, Needs, main as run_all, run};

fn main() {
    let cases: &[Case] = &[
        ("a_pods_token_gets_a_certificate_that_every_namespace_can_verify", Needs::Kubernetes, || {
            run(tokens::granted())
        }),
        ("whoever_proves_nothing_gets_nothing", Needs::Kubernetes, || run(tokens::refused())),
        ("a_node_s_proxy_gets_the_certificates_of_its_node_alone", Needs::Kubernetes, || {
            run(tokens::spoken_for())
        }),
        ("the_roots_are_in_each_namespace_and_come_back", Needs::Kubernetes, || run(roots::kept())),
        ("namespaces_that_do_not_count_get_no_roots", Needs::Kubernetes, || run(roots::selected())),
        ("roots_of_another_control_plane_are_left_as_they_are", Needs::Kubernetes, || run(roots::of_istio())),
        ("a_root_of_istios_is_taken_and_its_renewal_is_noticed", Needs::Kubernetes, || {
            run(signers::of_istio())
        }),
        ("a_secret_that_is_spoilt_or_deleted_takes_nothing_away", Needs::Kubernetes, || {
            run(signers::spoilt())
        }),
        ("an_intermediate_is_plugged_in_changed_broken_and_repaired", Needs::Kubernetes, || {
            run(plugged::changed())
        }),
        ("an_intermediate_of_another_root_is_changed_to_step_by_step", Needs::Kubernetes, || {
            run(plugged::stepwise())
        }),
        ("two_replicas_that_start_at_once_have_one_root", Needs::Kubernetes, || run(replicas::at_once())),
        ("a_change_of_roots_waits_for_a_replica_that_is_away", Needs::Kubernetes, || {
            run(replicas::rotation())
        }),
        ("certificates_are_renewed_while_the_api_server_is_away", Needs::Kubernetes, || {
            run(outage::renewals())
        }),
    ];
    run_all(cases);
}
