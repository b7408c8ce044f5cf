//! What lies in the plugins folder: folders with a `plugin.toml`, and components by themselves.

mod component;
mod digests;
mod manifest;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{PluginLimits, PluginManifest};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::fixtures::{self, Fixture};

pub(crate) use self::component::ComponentFile;
pub(crate) use self::digests::Digests;
use self::manifest::manifest;

/// Bytes of a manifest, and of its examples.
const MOST_MANIFEST: u64 = 1 << 20;
const MOST_FIXTURES: u64 = 16 << 20;

/// One plugin's files, captured.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) manifest: PluginManifest,
    pub(crate) component: ComponentFile,
    pub(crate) fixtures: Vec<Fixture>,
    /// Of manifest and examples: by it is known that a component passed these with those settings.
    pub(crate) examples: String,
    /// A component by itself, whose metadata alone says its name.
    pub(crate) is_bare: bool,
}

/// What earlier scans of the folder have left.
#[derive(Default)]
pub(crate) struct Known {
    /// Of the files as they were seen last.
    pub(crate) digests: Digests,
    /// Components that a manifest names and that were not there: that is said once.
    lacking: Mutex<BTreeSet<PathBuf>>,
}

impl Known {
    pub(crate) fn new(digests: Digests) -> Self {
        Self {
            digests,
            ..Self::default()
        }
    }

    fn lacking(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// Reads everything that is not known, in the order of names. A missing folder holds no plugins.
pub(crate) fn scan(folder: &Path, known: &Known) -> Result<Vec<Found>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(folder)(error)),
    };
    let mut places: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    places.sort();
    // Reading and digesting components is nearly all of a look at files that are not known, and some are a hundred times
    // larger than others.
    let one_by_one = places.par_iter().with_max_len(1);
    Ok(one_by_one.filter_map(|place| look(place, known)).collect())
}

/// What a later scan of the folder may know.
pub(crate) fn digests(folder: &Path, found: &[Found]) -> Digests {
    let mut digests = Digests::default();
    for found in found {
        let Ok(source) = &found.source else { continue };
        let component = &source.component;
        let Some(stat) = component.stat.clone() else {
            continue;
        };
        let path = match source.is_bare {
            true => folder.join(&found.place),
            false => folder.join(&found.place).join(&source.manifest.component),
        };
        digests.note(path, stat, component.digest.clone());
    }
    digests
}

/// What a place holds; none when it is no plugin, or its component is gone.
fn look(place: &Path, known: &Known) -> Option<Found> {
    let file_name = place.file_name()?.to_str()?;
    if file_name.starts_with('.') {
        return None;
    }
    let manifest_path = place.join("plugin.toml");
    if place.is_dir() && manifest_path.is_file() {
        return in_folder(place, file_name, &manifest_path, known);
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
    let component = ComponentFile::open(place, &known.digests)?;
    let place = file_name.to_owned();
    let found = match component {
        Ok(component) => {
            let stamp = component.digest.clone();
            let source = Source {
                manifest,
                component,
                fixtures: Vec::new(),
                examples: String::new(),
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

fn in_folder(place: &Path, folder: &str, manifest_path: &Path, known: &Known) -> Option<Found> {
    let found = |name: &str, parts: &[&[u8]], source| {
        Some(Found {
            place: folder.to_owned(),
            name: name.to_owned(),
            stamp: stamp(parts),
            source,
        })
    };
    let text = match read_text(manifest_path) {
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
    let Some(component) = ComponentFile::open(&component_path, &known.digests) else {
        if known.lacking().insert(component_path.clone()) {
            tracing::warn!(
                "{} is not there, so {folder} is no plugin",
                component_path.display()
            );
        }
        return None;
    };
    known.lacking().remove(&component_path);
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
    let fixtures_text = match read(&place.join("fixtures.json"), MOST_FIXTURES) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let fault = format!("fixtures.json: {error}");
            return found(
                &name,
                &[
                    text.as_bytes(),
                    component.digest.as_bytes(),
                    fault.as_bytes(),
                ],
                Err(fault.clone()),
            );
        }
    };
    let digest = component.digest.as_bytes();
    let stamp_of_all = stamp(&[text.as_bytes(), digest, &fixtures_text]);
    let fixtures = match fixtures_text.is_empty() {
        true => Ok(Vec::new()),
        false => fixtures::parse(&fixtures_text),
    };
    let source = fixtures.map(|fixtures| Source {
        manifest,
        component,
        fixtures,
        examples: stamp(&[text.as_bytes(), &fixtures_text]),
        is_bare: false,
    });
    Some(Found {
        place: folder.to_owned(),
        name,
        stamp: stamp_of_all,
        source,
    })
}

/// Reads a file of at most so many bytes. A pipe would be waited for without an end, and a device has none.
fn read(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let wrong = |why: &str| std::io::Error::other(why.to_owned());
    if !fs::metadata(path)?.is_file() {
        return Err(wrong("is no file"));
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    file.take(most + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(wrong("is larger than what the studio reads of it")),
        false => Ok(bytes),
    }
}

fn read_text(manifest: &Path) -> std::io::Result<String> {
    let bytes = read(manifest, MOST_MANIFEST)?;
    String::from_utf8(bytes).map_err(std::io::Error::other)
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
