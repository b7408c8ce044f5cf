//! Loops, recursion, memories, tables and handles without end.

use std::path::Path;

use serde_json::json;

use super::{ends_with, goes_on, with};
use crate::folder::{answer, broken, failure};
use crate::wat::Component;

#[test]
fn an_endless_loop_ends_at_its_deadline() {
    let (code, message) = ends_with(
        "(loop $l (br $l))",
        "limits.time_ms = 50\nlimits.fuel = 1000000000000",
    );
    assert_eq!(code, "deadline");
    assert!(message.contains("50 ms"), "{message}");
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let (code, message) = ends_with("(loop $l (br $l))", "limits.fuel = 100000");
    assert_eq!(code, "fuel");
    assert!(message.contains("100000"), "{message}");
}

#[test]
fn time_alone_ends_an_endless_loop_whose_fuel_is_not_counted() {
    let limits = "limits.time_ms = 50\nlimits.fuel = 0";
    let (code, message) = ends_with("(loop $l (br $l))", limits);
    assert_eq!(code, "deadline");
    assert!(message.contains("50 ms"), "{message}");
}

#[test]
fn the_endless_loop_of_the_benchmark_is_what_its_source_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/endless.wasm");
    let bytes = Component::executing("endless", "(loop $l (br $l))").bytes();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    assert!(
        std::fs::read(&path).unwrap() == bytes,
        "run this test again with UPDATE_EXPECT=1"
    );
}

#[test]
fn an_endless_loop_at_its_start_cannot_load() {
    let mut component = Component::new("hostile");
    component.module = "(func $start (loop $l (br $l))) (start $start)".to_owned();
    let (_folder, host) = with(&component, "limits.fuel = 100000");
    assert!(broken(&host, "hostile").contains("cannot say its metadata: fuel"));
    goes_on(&host);
}

/// A module with a memory of that many pages of 64 KiB.
fn memories(pages: &[u32]) -> String {
    let modules = pages.iter().enumerate().map(|(index, pages)| {
        format!("(core module $m{index} (memory {pages})) (core instance $i{index} (instantiate $m{index}))")
    });
    modules.collect()
}

#[test]
fn ten_gigabytes_over_several_memories_are_refused() {
    let mut component = Component::new("hostile");
    component.before = memories(&[60_000, 60_000, 60_000]);
    let (_folder, host) = with(&component, "");
    let message = broken(&host, "hostile");
    assert!(
        message.contains("memory: asked for") && message.contains("it may have 256 MiB"),
        "{message}"
    );
    goes_on(&host);
}

#[test]
fn memories_are_summed() {
    let mut component = Component::new("hostile");
    component.before = memories(&[2000, 2000, 2000]);
    let (_folder, host) = with(&component, "");
    let message = broken(&host, "hostile");
    assert!(
        message.contains("asked for") && message.contains("in all"),
        "{message}"
    );
    let mut component = Component::new("modest");
    component.before = memories(&[1000, 1000, 1000]);
    let (_folder, host) = with(&component, "");
    assert_eq!(answer(&host, "modest"), json!({"ok": true}));
}

#[test]
fn a_growth_over_the_limit_is_a_refusal_that_the_plugin_sees_and_a_code_when_it_traps() {
    let grow = "(if (i32.eq (memory.grow (i32.const 10000)) (i32.const -1)) (then unreachable))";
    let (code, message) = ends_with(grow, "");
    assert_eq!(code, "memory");
    assert!(message.contains("limits.memory_bytes"), "{message}");
}

#[test]
fn a_table_bomb_is_refused() {
    let mut component = Component::new("hostile");
    component.module = "(table $t 1 funcref)".to_owned();
    component.execute =
        "(if (i32.eq (table.grow $t (ref.null func) (i32.const 100000000)) (i32.const -1)) (then unreachable))".to_owned();
    let (_folder, host) = with(&component, "");
    assert_eq!(failure(&host, "hostile").0, "table");
    goes_on(&host);
}

/// A component whose core module has the host's function as `host`; `imports` declare it as `$host`.
fn calling(imports: &str, signature: &str, execute: &str) -> Component {
    Component {
        before: format!("{imports}\n(core func $lowered (canon lower (func $host)))"),
        with: r#"(with "host" (instance (export "host" (func $lowered))))"#.to_owned(),
        module: format!(r#"(import "host" "host" (func $host {signature}))"#),
        ..Component::executing("hostile", execute)
    }
}

#[test]
fn handles_that_are_never_given_back_end_the_call_that_took_them() {
    let stdout = r#"
        (import "wasi:io/streams@0.2.0" (instance $streams
          (export "output-stream" (type (sub resource)))))
        (alias export $streams "output-stream" (type $stream))
        (import "wasi:cli/stdout@0.2.0" (instance $stdout
          (alias outer 1 $stream (type $own))
          (export "get-stdout" (func (result (own $own))))))
        (alias export $stdout "get-stdout" (func $host))"#;
    let take = |times: u32| {
        let execute = format!(
            "(local $left i32) (local.set $left (i32.const {times}))
             (loop $l (drop (call $host))
               (br_if $l (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))"
        );
        with(&calling(stdout, "(result i32)", &execute), "")
    };
    let (_folder, host) = take(100);
    for _ in 0..100 {
        assert_eq!(
            answer(&host, "hostile"),
            json!({"ok": true}),
            "and none is left to the next"
        );
    }
    let (_folder, host) = take(100_000_000);
    let (code, message) = failure(&host, "hostile");
    assert_eq!(code, "trap", "{message}");
    assert!(message.contains("resource table"), "{message}");
    goes_on(&host);
}

#[test]
fn a_billion_calls_of_the_host_end_at_the_deadline() {
    let clock = r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
          (export "now" (func (result u64)))))
        (alias export $clock "now" (func $host))"#;
    let component = calling(
        clock,
        "(result i64)",
        "(loop $l (drop (call $host)) (br $l))",
    );
    let limits = "limits.time_ms = 100\nlimits.fuel = 1000000000000";
    let (_folder, host) = with(&component, limits);
    assert_eq!(failure(&host, "hostile").0, "deadline");
    goes_on(&host);
}

#[test]
fn a_trap_is_an_outcome() {
    let (code, message) = ends_with("unreachable", "");
    assert_eq!(code, "trap");
    assert!(message.contains("unreachable"), "{message}");
    let (code, message) = ends_with("(drop (i32.load (i32.const -4)))", "");
    assert_eq!(code, "trap");
    assert!(message.contains("out of bounds"), "{message}");
}

#[test]
fn deep_recursion_runs_out_of_stack() {
    let (code, message) = ends_with(
        "(drop (call $execute (local.get $at) (i32.add (local.get $length) (i32.const 1))))",
        "",
    );
    assert_eq!(code, "stack");
    assert!(message.contains("nested too deeply"), "{message}");
}
