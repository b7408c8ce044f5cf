//! A core module that carries its component type, as wit-bindgen's C bindings do, becomes a component.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::Parser;
use wit_component::ComponentEncoder;

/// Makes a component of what a compiler wrote; one that is a component already stays as it is.
///
/// What the module imports of WASI's preview 1 (C's standard library does) goes through wasmtime's adapter.
///
/// # Errors
/// The end of a sentence that says why not.
pub fn componentize(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if !Parser::is_core_wasm(&bytes) {
        return Ok(bytes);
    }
    let encode = || {
        ComponentEncoder::default()
            .validate(true)
            .module(&bytes)?
            .adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )?
            .encode()
    };
    encode().map_err(|error| {
        format!(
            "cannot be made a component: {error:#}; it must be linked with the bindings' component type"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::componentize;

    #[test]
    fn a_component_stays_and_a_module_without_a_type_is_no_plugin() {
        let component = b"\0asm\x0d\0\x01\0".to_vec();
        assert_eq!(componentize(component.clone()), Ok(component));
        // An empty module is a component without imports and exports.
        let empty = componentize(b"\0asm\x01\0\0\0".to_vec()).unwrap();
        assert!(wasmparser::Parser::is_component(&empty));
        // (module (import "a" "b" (func)))
        let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x07\x01\x01a\x01b\0\0".to_vec();
        let fault = componentize(module).unwrap_err();
        assert!(fault.contains("cannot be made a component"), "{fault}");
    }
}
