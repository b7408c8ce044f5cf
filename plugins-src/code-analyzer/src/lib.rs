//! The plugin `code-analyzer`: functions, classes, imports, cyclomatic complexity and syntax errors of Python, JavaScript,
//! TypeScript and Rust. The parsing is `source-parsers`.

#![cfg_attr(
    not(target_family = "wasm"),
    allow(dead_code, unused_imports, unused_macros)
)]

mod plugin;

/// The contract, as Rust.
mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wit_bindgen::generate!({ path: "../../wit/0.1.1", world: "analyzer-plugin" });
}

use plugin::CodeAnalyzer;

// The exports' names are none that a native linker takes; natively there are only the unit tests.
#[cfg(target_family = "wasm")]
bindings::export!(CodeAnalyzer with_types_in bindings);
