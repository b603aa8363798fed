//! The API server as the source: all that works from a folder works from there, and what stands in the way is told.
//!
//! One cluster for most tests, one test after the other; `bad_input` and `definitions` spoil one and have one of their own.

#[path = "source/bad_input.rs"]
mod bad_input;
#[path = "source/definitions.rs"]
mod definitions;
#[path = "source/objects.rs"]
mod objects;

use meltemi_tests::kubernetes::{Case, Needs, main as run_all, run};

fn main() {
    let cases: &[Case] = &[
        ("services_slices_and_pods_become_clusters_and_endpoints", Needs::Kubernetes, || {
            run(objects::endpoints())
        }),
        ("a_canary_steps_at_every_served_version", Needs::Kubernetes, || run(objects::canary())),
    ];
    run_all(cases);
}
