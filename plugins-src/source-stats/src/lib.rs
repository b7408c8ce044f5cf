//! The plugin `source-stats`: size, line lengths, alphanumeric fraction, comment ratio and language of any text.
//! These are the numbers that the filters of StarCoder, The Stack and OpenCoder look at.

#![cfg_attr(
    not(target_family = "wasm"),
    allow(dead_code, unused_imports, unused_macros)
)]

mod plugin;
mod stats;

/// The contract, as Rust.
mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wit_bindgen::generate!({ path: "../../wit/0.1.1", world: "analyzer-plugin" });
}

use plugin::SourceStats;

// The exports' names are none that a native linker takes; natively there are only the unit tests.
#[cfg(target_family = "wasm")]
bindings::export!(SourceStats with_types_in bindings);
