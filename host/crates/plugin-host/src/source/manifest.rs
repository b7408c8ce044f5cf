//! What a `plugin.toml` may say.

use std::path::Path;

use domain::{PluginLimits, PluginManifest};

use crate::{consent, metadata};

/// Limits that end a call at the latest, and the most that a manifest may set them to: nobody is asked about limits, so no
/// plugin may give itself all of the machine. Fuel has none and need not be counted, since time ends a call too.
fn bounds(limits: &PluginLimits) -> [(&'static str, u64, u64); 7] {
    [
        ("time_ms", limits.time_ms, 10 * 60 * 1000),
        ("memory_bytes", limits.memory_bytes, 4 << 30),
        ("table_elements", limits.table_elements, 10_000_000),
        ("output_bytes", limits.output_bytes, 256 << 20),
        ("log_bytes", limits.log_bytes, 16 << 20),
        ("lent_bytes", limits.lent_bytes, 1 << 30),
        (
            "requests_per_minute",
            limits.requests_per_minute.into(),
            60_000,
        ),
    ]
}

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
    for (field, value, most) in bounds(limits) {
        if value > most {
            return Err(format!(
                "plugin.toml: limits.{field} = {value} is more than a plugin may take; {most} is the most"
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
            fault("name = \"a\"\ncomponent = \"a.wasm\"\n[limits]\ntime_ms = 0")
                .contains("limits.time_ms")
        );
        assert!(manifest("name = \"a\"\ncomponent = \"a.wasm\"").is_ok());
    }

    #[test]
    fn no_plugin_gives_itself_all_of_the_machine() {
        for (field, most) in [
            ("time_ms", 600_000_u64),
            ("memory_bytes", 4 << 30),
            ("table_elements", 10_000_000),
            ("output_bytes", 256 << 20),
            ("log_bytes", 16 << 20),
            ("lent_bytes", 1 << 30),
            ("requests_per_minute", 60_000),
        ] {
            let with = |value: u64| {
                manifest(&format!(
                    "name = \"a\"\ncomponent = \"a.wasm\"\nlimits.{field} = {value}"
                ))
            };
            assert!(with(most).is_ok(), "{field}");
            let message = with(most + 1).unwrap_err();
            assert!(message.contains(&format!("limits.{field}")), "{message}");
        }
    }
}
