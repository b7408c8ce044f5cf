//! The plugin `licence-headers`: which licence a file names at its head, and where none is named.

#![cfg_attr(
    not(target_family = "wasm"),
    allow(dead_code, unused_imports, unused_macros)
)]

mod licence;
mod plugin;

/// The contract, as Rust.
mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wit_bindgen::generate!({ path: "../../wit/0.1.1", world: "analyzer-plugin" });
}

use plugin::LicenceHeaders;

// The exports' names are none that a native linker takes; natively there are only the unit tests.
#[cfg(target_family = "wasm")]
bindings::export!(LicenceHeaders with_types_in bindings);
