//! What lies in the plugins folder: folders with a `plugin.toml`, and components by themselves.

use std::fs;
use std::path::{Path, PathBuf};

use domain::{PluginLimits, PluginManifest};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::fixtures::{self, Fixture};
use crate::{Error, consent, inspect, metadata};

/// One plugin's files, captured.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) manifest: PluginManifest,
    pub(crate) component: Vec<u8>,
    /// Lower-case hex SHA-256 of the component.
    pub(crate) digest: String,
    pub(crate) fixtures: Vec<Fixture>,
    /// A component by itself, whose metadata alone says its name.
    pub(crate) is_bare: bool,
}

/// One place in the folder where a plugin is or should be.
#[derive(Debug)]
pub(crate) struct Found {
    /// Path in the plugins folder: `code-analyzer` or `demo.wasm`.
    pub(crate) place: String,
    /// The name until the manifest says another.
    pub(crate) name: String,
    /// Changes when anything of it changes.
    pub(crate) stamp: String,
    pub(crate) source: Result<Source, String>,
}

/// Reads everything, in the order of names. A missing folder holds no plugins.
pub(crate) fn scan(folder: &Path) -> Result<Vec<Found>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(folder)(error)),
    };
    let mut places: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    places.sort();
    // Reading and digesting components is nearly all of a warm start, and some are a hundred times larger than others.
    let one_by_one = places.par_iter().with_max_len(1);
    Ok(one_by_one.filter_map(|place| look(place)).collect())
}

/// What a place holds; none when it is no plugin, or its component is gone.
fn look(place: &Path) -> Option<Found> {
    let file_name = place.file_name()?.to_str()?;
    if file_name.starts_with('.') {
        return None;
    }
    let manifest_path = place.join("plugin.toml");
    if place.is_dir() && manifest_path.is_file() {
        return in_folder(place, file_name, &manifest_path);
    }
    let name = file_name.strip_suffix(".wasm")?.replace('_', "-");
    if !place.is_file() {
        return None;
    }
    let manifest = PluginManifest {
        name: name.clone(),
        component: file_name.to_owned(),
        capabilities: Vec::new(),
        limits: PluginLimits::default(),
        config: Default::default(),
        asks: Default::default(),
    };
    let component = read_component(place)?;
    let place = file_name.to_owned();
    let found = match component {
        Ok(component) => {
            let digest = hex(&component);
            let stamp = digest.clone();
            let source = Source {
                manifest,
                component,
                digest,
                fixtures: Vec::new(),
                is_bare: true,
            };
            Found {
                place,
                name,
                stamp,
                source: Ok(source),
            }
        }
        Err(fault) => Found {
            place,
            name,
            stamp: fault.clone(),
            source: Err(fault),
        },
    };
    Some(found)
}

fn in_folder(place: &Path, folder: &str, manifest_path: &Path) -> Option<Found> {
    let found = |name: &str, parts: &[&[u8]], source| {
        Some(Found {
            place: folder.to_owned(),
            name: name.to_owned(),
            stamp: stamp(parts),
            source,
        })
    };
    let text = match fs::read_to_string(manifest_path) {
        Ok(text) => text,
        // Removed between the look and the read.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            let fault = format!("plugin.toml: {error}");
            return found(folder, &[fault.as_bytes()], Err(fault.clone()));
        }
    };
    let manifest = match manifest(&text) {
        Ok(manifest) => manifest,
        Err(fault) => return found(folder, &[text.as_bytes()], Err(fault)),
    };
    let component_path = place.join(&manifest.component);
    let Some(component) = read_component(&component_path) else {
        tracing::warn!(
            "{} is not there, so {folder} is no plugin",
            component_path.display()
        );
        return None;
    };
    let name = manifest.name.clone();
    let component = match component {
        Ok(component) => component,
        Err(fault) => {
            return found(
                &name,
                &[text.as_bytes(), fault.as_bytes()],
                Err(fault.clone()),
            );
        }
    };
    let fixtures_text = fs::read(place.join("fixtures.json")).unwrap_or_default();
    let digest = hex(&component);
    let stamp = stamp(&[text.as_bytes(), digest.as_bytes(), &fixtures_text]);
    let fixtures = match fixtures_text.is_empty() {
        true => Ok(Vec::new()),
        false => fixtures::parse(&fixtures_text),
    };
    let source = fixtures.map(|fixtures| Source {
        manifest,
        component,
        digest,
        fixtures,
        is_bare: false,
    });
    Some(Found {
        place: folder.to_owned(),
        name,
        stamp,
        source,
    })
}

fn manifest(text: &str) -> Result<PluginManifest, String> {
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

/// The file's bytes; none when it is not there.
fn read_component(path: &Path) -> Option<Result<Vec<u8>, String>> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let read = fs::metadata(path).and_then(|metadata| {
        if metadata.len() > inspect::MAX_COMPONENT {
            return Ok(Err(format!(
                "{name} {}",
                inspect::too_large(metadata.len())
            )));
        }
        fs::read(path).map(Ok)
    });
    match read {
        Ok(read) => Some(read),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(format!("{name}: {error}"))),
    }
}

/// Lower-case hex SHA-256.
pub(crate) fn hex(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

fn stamp(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    to_hex(&hasher.finalize())
}

fn to_hex(bytes: &[u8]) -> String {
    // Every call has a digest in its report: 32 times `format!` would cost it microseconds.
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            hex.push(char::from(DIGITS[usize::from(digit)]));
        }
    }
    hex
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
