//! Files that are no plugin, or one that must not be compiled.

use serde_json::json;

use super::{refusal, with};
use crate::folder::{Folder, answer, broken};
use crate::wat::Component;

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

#[cfg(unix)]
#[test]
fn pipes_and_devices_in_the_place_of_files_hold_nobody_up() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    folder.install(&Component::new("good"), "");
    let pipe = folder.cache().with_extension("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for (name, target) in [("pipe", pipe.as_path()), ("device", "/dev/zero".as_ref())] {
        for file in ["component", "fixtures"] {
            let plugin = format!("{name}-{file}");
            folder.install(&Component::new(&plugin), "");
            let path = match file {
                "component" => format!("{plugin}/{plugin}.wasm"),
                _ => format!("{plugin}/fixtures.json"),
            };
            let path = folder.plugins().join(path);
            let _ = std::fs::remove_file(&path);
            symlink(target, path).unwrap();
        }
    }
    let host = folder.open();
    for plugin in [
        "pipe-component",
        "pipe-fixtures",
        "device-component",
        "device-fixtures",
    ] {
        assert!(broken(&host, plugin).contains("is no file"), "{plugin}");
    }
    assert_eq!(answer(&host, "good"), json!({"ok": true}));
}
