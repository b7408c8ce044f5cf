//! The plugin `security`: dangerous calls, SQL put together from pieces, and secrets in the source.
//!
//! It reads words, not grammar: `source-words` takes comments and strings out, `calls` is the table of calls, `rules` finds them.
//! That is quick and works on code that does not parse; what a value is made of elsewhere in the file is not followed.

#![cfg_attr(
    not(target_family = "wasm"),
    allow(dead_code, unused_imports, unused_macros)
)]

mod calls;
mod plugin;
mod rules;

/// The contract, as Rust.
mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wit_bindgen::generate!({ path: "../../wit/0.1.1", world: "analyzer-plugin" });
}

use plugin::Security;

// The exports' names are none that a native linker takes; natively there are only the unit tests.
#[cfg(target_family = "wasm")]
bindings::export!(Security with_types_in bindings);
