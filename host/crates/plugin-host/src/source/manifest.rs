//! What a `plugin.toml` may say.

use std::path::Path;

use domain::PluginManifest;

use crate::{consent, metadata};

/// Reads and checks a manifest.
///
/// # Errors
/// One sentence that names the fault.
pub(super) fn manifest(text: &str) -> Result<PluginManifest, String> {
    let manifest: PluginManifest = toml::from_str(text)
        .map_err(|error| format!("plugin.toml: {}", error.to_string().trim_end()))?;
    metadata::check_name(&manifest.name)
        .map_err(|why| format!("plugin.toml: name {:?} {why}", manifest.name))?;
    let component = Path::new(&manifest.component);
    // Beside the manifest and nowhere else: a manifest must not make the host read other files.
    if component.file_name() != Some(component.as_os_str()) {
        return Err(format!(
            "plugin.toml: component {:?} must be a file name beside it, without folders",
            manifest.component
        ));
    }
    let limits = &manifest.limits;
    for (field, value) in [
        ("fuel", limits.fuel),
        ("time_ms", limits.time_ms),
        ("memory_bytes", limits.memory_bytes),
        ("output_bytes", limits.output_bytes),
        ("concurrent_calls", limits.concurrent_calls.into()),
    ] {
        if value == 0 {
            return Err(format!(
                "plugin.toml: limits.{field} = 0 would end every call; take at least 1"
            ));
        }
    }
    consent::check_asks(&manifest).map_err(|why| format!("plugin.toml: {why}"))?;
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::manifest;

    #[test]
    fn a_manifest_names_its_fault() {
        let fault = |text: &str| manifest(text).unwrap_err();
        assert!(fault("name = \"a\"").contains("component"));
        assert!(fault("name = \"a\"\ncomponent = \"a.wasm\"\ncolour = 1").contains("colour"));
        assert!(fault("name = \"A b\"\ncomponent = \"a.wasm\"").contains("kebab-case"));
        for component in ["../a.wasm", "/a.wasm", "b/a.wasm", "", ".."] {
            let text = format!("name = \"a\"\ncomponent = \"{component}\"");
            assert!(fault(&text).contains("without folders"), "{component}");
        }
        assert!(
            fault("name = \"a\"\ncomponent = \"a.wasm\"\n[limits]\nfuel = 0")
                .contains("limits.fuel")
        );
        assert!(manifest("name = \"a\"\ncomponent = \"a.wasm\"").is_ok());
    }
}
