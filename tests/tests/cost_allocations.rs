//! One weight change allocates and reads the same at 100 and at 10,000 services, within a fifth.

use meltemi_tests::mesh::{engine, large, route, sidecar, upserts};
use meltemi_views::Options;

/// Bytes allocated, and entries read, by one weight change in a mesh of that size.
fn one_weight(services: usize) -> (u64, usize) {
    let mut engine = engine(Options::default(), &large(services));
    engine.connect(sidecar("client.shop", &[("app", "client")]));
    // The first change after a start grows tables that then stay; the second is what every later one costs.
    engine.apply(upserts(&route(17, 20)));
    engine.take_cost();
    let change = upserts(&route(17, 50));
    let allocated = allocation_counter::measure(|| {
        engine.apply(change);
    });
    (allocated.bytes_total, engine.take_cost().entries_read)
}

#[test]
fn one_weight_change_costs_the_same_in_a_mesh_a_hundred_times_as_large() {
    let (small_bytes, small_entries) = one_weight(100);
    let (large_bytes, large_entries) = one_weight(10_000);
    assert!(small_bytes > 0 && small_entries > 0);
    assert!(
        large_bytes * 5 <= small_bytes * 6,
        "{small_bytes} bytes at 100 services, {large_bytes} at 10,000"
    );
    assert!(
        large_entries * 5 <= small_entries * 6,
        "{small_entries} entries at 100 services, {large_entries} at 10,000"
    );
}
