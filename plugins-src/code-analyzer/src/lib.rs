//! The plugin `code-analyzer`: functions, classes, imports, cyclomatic complexity and syntax errors of Python, JavaScript,
//! TypeScript and Rust. What counts as what stands at the head of each language's file.

#![cfg_attr(
    not(target_family = "wasm"),
    allow(dead_code, unused_imports, unused_macros)
)]

mod analysis;
mod javascript;
mod plugin;
mod python;
mod report;
mod rust;

/// The contract, as Rust.
mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wit_bindgen::generate!({ path: "../../wit", world: "analyzer-plugin" });
}

use plugin::CodeAnalyzer;

// The exports' names are none that a native linker takes; natively there are only the unit tests.
#[cfg(target_family = "wasm")]
bindings::export!(CodeAnalyzer with_types_in bindings);
