//! What one call, or many at once, leave to the others.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::{goes_on, with};
use crate::built;
use crate::folder::{Folder, answer, failure};
use crate::wat::Component;

#[test]
fn repeated_traps_bring_a_rest_and_the_health_says_so() {
    let (_folder, host) = with(&Component::executing("hostile", "unreachable"), "");
    for _ in 0..5 {
        assert_eq!(failure(&host, "hostile").0, "trap");
    }
    let error = host.run("hostile", &json!({})).unwrap_err();
    assert_eq!(error.code(), "plugin_resting");
    assert!(matches!(
        host.get("hostile").unwrap().health,
        domain::PluginHealth::Resting { .. }
    ));
    goes_on(&host);
}

#[test]
fn a_plugin_that_is_asked_for_too_often_leaves_threads_to_the_others() {
    let (_folder, host) = with(
        &Component::executing("hostile", "(loop $l (br $l))"),
        "[limits]\ntime_ms = 1000\nfuel = 1000000000000\nconcurrent_calls = 2",
    );
    const CALLS: usize = 8;
    let (start, ended) = (Barrier::new(CALLS + 1), AtomicUsize::new(0));
    let refused = std::thread::scope(|scope| {
        let call = || {
            start.wait();
            let refused = host.run("hostile", &json!({})).err();
            ended.fetch_add(1, Ordering::SeqCst);
            refused
        };
        let calls: Vec<_> = (0..CALLS).map(|_| scope.spawn(call)).collect();
        start.wait();
        for _ in 0..100 {
            goes_on(&host);
        }
        assert_eq!(
            ended.load(Ordering::SeqCst),
            0,
            "the others were not waited for"
        );
        let ended = calls.into_iter().filter_map(|call| call.join().unwrap());
        ended.collect::<Vec<_>>()
    });
    // Two run, two at most have their turn after them, and the rest have waited for as long as a call may take.
    assert!(refused.len() >= CALLS - 4, "{refused:?}");
    for error in refused {
        assert_eq!(error.code(), "plugin_busy");
        assert!(error.to_string().contains("busy with 2 calls"), "{error}");
    }
}

#[test]
fn no_call_sees_what_another_left_in_memory() {
    // Counts its calls in memory and traps at the second one that it can see.
    let count = "(i32.store (i32.const 64) (i32.add (i32.load (i32.const 64)) (i32.const 1)))
                 (if (i32.gt_u (i32.load (i32.const 64)) (i32.const 1)) (then unreachable))";
    let (_folder, host) = with(&Component::executing("counter", count), "");
    for _ in 0..50 {
        assert_eq!(answer(&host, "counter"), json!({"ok": true}));
    }
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let (_folder, host) = with(&Component::new("other"), "");
    let message = host.run("nobody", &json!({})).unwrap_err().to_string();
    assert!(
        message.contains("nobody") && message.contains("good, other"),
        "{message}"
    );
}

#[test]
fn many_callers_at_once_wait_for_a_slot_and_none_fails() {
    let (_folder, host) = with(&Component::new("other"), "");
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| goes_on(&host));
        }
    });
}

#[test]
#[ignore = "needs the wasm toolchain"]
fn a_rust_guest_that_panics_fails_its_call_with_its_own_message() {
    let folder = Folder::new();
    folder.install(&Component::new("good"), "");
    folder.write("panics.wasm", built::guest("panics", built::PLAIN));
    let host = folder.open();
    let (code, message) = failure(&host, "panics");
    assert_eq!(code, "panic");
    assert_eq!(message, "panicked: no answer to {}");
    goes_on(&host);
}
