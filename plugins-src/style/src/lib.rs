//! The plugin `style`: line lengths, white space, names, with edits that mend what can be mended without a doubt or with one.

#![cfg_attr(
    not(target_family = "wasm"),
    allow(dead_code, unused_imports, unused_macros)
)]

mod plugin;
mod rules;

/// The contract, as Rust.
mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wit_bindgen::generate!({ path: "../../wit/0.1.1", world: "analyzer-plugin" });
}

use plugin::Style;

// The exports' names are none that a native linker takes; natively there are only the unit tests.
#[cfg(target_family = "wasm")]
bindings::export!(Style with_types_in bindings);
