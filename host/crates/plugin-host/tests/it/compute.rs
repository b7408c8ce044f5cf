//! The bench of guests against native code compares the same work.

use std::path::Path;

use plugin_host::bench::guest_compute;

#[test]
fn the_guest_of_the_bench_comes_to_what_native_code_comes_to() {
    let component =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/plugins/compute/compute.wasm");
    let found = guest_compute(&component, 1).unwrap();
    assert_eq!(found.len(), 6);
    for work in found {
        assert!(work.native_us > 0.0 && work.fuel_ratio > 0.0, "{work:?}");
    }
}
