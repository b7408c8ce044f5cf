//! Plugins that mean harm, or are only broken. After each the host answers as before.

use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use plugin_host::PluginHost;
use serde_json::json;

use crate::built;
use crate::folder::{Folder, answer, broken, failure};
use crate::wat::Component;

/// A host with a good plugin, which every test asks last, and the hostile one.
fn with(component: &Component, manifest: &str) -> (Folder, PluginHost) {
    let folder = Folder::new();
    folder.install(&Component::new("good"), "");
    folder.install(component, manifest);
    let host = folder.open();
    (folder, host)
}

fn goes_on(host: &PluginHost) {
    assert_eq!(answer(host, "good"), json!({"ok": true}));
}

/// What `execute` ends with.
fn ends_with(execute: &str, manifest: &str) -> (String, String) {
    let (_folder, host) = with(&Component::executing("hostile", execute), manifest);
    let failed = failure(&host, "hostile");
    goes_on(&host);
    failed
}

/// Why the host does not take a file.
fn refusal(bytes: &[u8]) -> String {
    let folder = Folder::new();
    folder.install(&Component::new("good"), "");
    folder.write("hostile.wasm", bytes);
    let host = folder.open();
    let message = broken(&host, "hostile");
    assert!(
        host.run("hostile", &json!({}))
            .unwrap_err()
            .to_string()
            .contains(&message)
    );
    goes_on(&host);
    message
}

#[test]
fn a_text_is_no_component() {
    assert!(refusal(b"not a component").contains("is no WebAssembly component"));
}

#[test]
fn an_empty_file_is_no_component() {
    assert!(refusal(b"").contains("is no WebAssembly component"));
}

#[test]
fn a_core_module_is_no_component() {
    let module = wat::parse_str("(module)").unwrap();
    assert!(refusal(&module).contains("core WebAssembly module, not a component"));
}

#[test]
fn compiled_machine_code_is_refused() {
    let engine = wasmtime::Engine::default();
    let code = engine
        .precompile_component(&Component::new("hostile").bytes())
        .unwrap();
    assert!(refusal(&code).contains("compiled machine code"));
}

#[test]
fn a_component_without_the_contract_is_refused() {
    let component = wat::parse_str("(component)").unwrap();
    assert!(refusal(&component).contains("does not export `codetune:plugin/tool@0.1.2`"));
}

#[test]
fn an_export_of_another_shape_is_refused() {
    let component = wat::parse_str(
        r#"(component (instance $tool) (export "codetune:plugin/tool@0.1.0" (instance $tool)))"#,
    )
    .unwrap();
    assert!(refusal(&component).contains("does not fit the contract"));
}

#[test]
fn unknown_imports_are_refused_by_name() {
    for import in [
        "wasi:sockets/network@0.2.3",
        "wasi:http/outgoing-handler@0.2.3",
        "evil:thing/all@1.0.0",
    ] {
        let mut component = Component::new("hostile");
        component.before = format!("(import \"{import}\" (instance))");
        let message = refusal(&component.bytes());
        assert!(message.contains(import), "{message}");
    }
}

#[test]
fn a_component_over_the_size_limit_is_refused_before_it_is_read() {
    let folder = Folder::new();
    let file = std::fs::File::create(folder.plugins().join("hostile.wasm")).unwrap();
    file.set_len(65 << 20).unwrap();
    assert!(broken(&folder.open(), "hostile").contains("a component may have 64 MiB"));
}

#[test]
fn a_huge_function_is_refused_before_it_is_compiled() {
    let mut component = Component::new("hostile");
    component.module = format!("(func {})", "(drop (i32.const 1))".repeat(400_000));
    assert!(refusal(&component.bytes()).contains("has a function of"));
}

#[test]
fn deep_nesting_for_the_compiler_is_refused_and_what_a_large_switch_needs_is_not() {
    let nested = |depth| {
        let mut component = Component::new("hostile");
        component.module = format!("(func {} {})", "block ".repeat(depth), "end ".repeat(depth));
        component
    };
    assert!(refusal(&nested(100_000).bytes()).contains("nests more than 10000 blocks"));
    let (_folder, host) = with(&nested(2000), "");
    assert_eq!(answer(&host, "hostile"), json!({"ok": true}));
}

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

#[test]
fn an_answer_that_its_schema_forbids_is_refused() {
    for (answer, part) in [
        (r#"{"ok":1}"#, "ok: 1 is not of type"),
        ("[]", "is not of type"),
        ("{}", "\"ok\" is a required property"),
        ("{\"ok\":NaN}", "no JSON"),
        ("", "no JSON"),
    ] {
        let mut component = Component::new("hostile");
        component.answer = answer.to_owned();
        let (_folder, host) = with(&component, "");
        let (code, message) = failure(&host, "hostile");
        assert_eq!(code, "invalid_output", "{answer}");
        assert!(message.contains(part), "{answer}: {message}");
        goes_on(&host);
    }
}

#[test]
fn an_input_that_the_schema_forbids_does_not_reach_the_plugin() {
    let (_folder, host) = with(&Component::executing("hostile", "unreachable"), "");
    let execution = host.run("hostile", &json!([])).unwrap();
    assert_eq!(execution.fuel, 0);
    assert!(matches!(
        execution.outcome,
        domain::ExecutionOutcome::Failed { ref code, .. } if code == "invalid_input"
    ));
}

#[test]
fn an_output_flood_is_cut() {
    let mut component = Component::new("hostile");
    component.claimed_length = Some(40_000);
    let (_folder, host) = with(&component, "limits.output_bytes = 10000");
    let (code, message) = failure(&host, "hostile");
    assert_eq!(code, "output");
    assert!(message.contains("limits.output_bytes"), "{message}");
    goes_on(&host);
}

#[test]
fn an_answer_outside_the_memory_or_not_utf_8_is_a_trap() {
    let mut component = Component::new("hostile");
    component.claimed_length = Some(1 << 20);
    let (_folder, host) = with(&component, "");
    assert_eq!(failure(&host, "hostile").0, "trap");
    let component = Component::executing(
        "hostile",
        "(i32.store8 (i32.load (i32.const 2052)) (i32.const 255))",
    );
    let (_folder, host) = with(&component, "");
    let (code, message) = failure(&host, "hostile");
    assert_eq!(code, "trap");
    assert!(message.contains("utf"), "{message}");
    goes_on(&host);
}

#[test]
fn metadata_that_cannot_be_shown_is_refused() {
    type Change = fn(&mut Component);
    let cases: [(Change, &str); 3] = [
        (|c| c.version = "one".to_owned(), "metadata.version \"one\""),
        (
            |c| c.output_schema = r#"{"type":"nonsense"}"#.to_owned(),
            "metadata.output-schema is no JSON Schema",
        ),
        (
            |c| c.output_schema = "{".to_owned(),
            "metadata.output-schema is no JSON",
        ),
    ];
    for (change, part) in cases {
        let mut component = Component::new("hostile");
        change(&mut component);
        let (_folder, host) = with(&component, "");
        let message = broken(&host, "hostile");
        assert!(message.contains(part), "{message}");
        goes_on(&host);
    }
}

#[test]
fn a_name_that_differs_from_the_manifest_is_refused() {
    let folder = Folder::new();
    folder.write("a/a.wasm", Component::new("b").bytes());
    folder.write("a/plugin.toml", "name = \"a\"\ncomponent = \"a.wasm\"\n");
    assert!(broken(&folder.open(), "a").contains("calls itself \"b\""));
}

#[test]
fn escape_sequences_do_not_get_out() {
    let mut component = Component::new("hostile");
    component.answer = r#"{"ok":true,"text":"\u001b[31mred\u0007"}"#.to_owned();
    let (_folder, host) = with(&component, "");
    assert_eq!(answer(&host, "hostile")["text"], "red");
}

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
