//! A plugin whose `execute` panics, as a bug in a real one would.

#![cfg(target_family = "wasm")]

/// The contract, as Rust.
mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wit_bindgen::generate!({ path: "../../../../wit/0.1.0", world: "tool-plugin" });
}

use bindings::exports::codetune::plugin::tool::{Guest, PluginMetadata};

struct Panics;

impl Guest for Panics {
    fn metadata() -> PluginMetadata {
        PluginMetadata {
            name: "panics".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Panics at every call.".to_owned(),
            author: "CodeTune Studio".to_owned(),
            tags: Vec::new(),
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: "{}".to_owned(),
            config_schema: "{}".to_owned(),
        }
    }

    fn validate_inputs(_inputs: String) -> Result<(), String> {
        Ok(())
    }

    fn execute(inputs: String) -> Result<String, String> {
        let nothing: Option<String> = None;
        Ok(nothing.unwrap_or_else(|| panic!("no answer to {inputs}")))
    }
}

bindings::export!(Panics with_types_in bindings);
