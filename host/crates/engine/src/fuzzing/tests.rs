//! The seeds of every fuzz target, as an ordinary test: the fuzzer itself needs a nightly compiler.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::TARGETS;

fn folder(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../fuzz")
        .join(part)
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_seed_of_every_target_is_read_without_a_panic() {
    for (name, read) in TARGETS {
        let seeds = names(&folder("seeds").join(name));
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            let bytes = std::fs::read(&seed).unwrap();
            read(&bytes);
            // What a torn download or a bad disk makes of it.
            for cut in [0, 1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
                read(&bytes[..cut.min(bytes.len())]);
            }
            for at in (0..bytes.len()).step_by(bytes.len() / 16 + 1) {
                let mut bent = bytes.clone();
                bent[at] ^= 0xff;
                read(&bent);
            }
        }
    }
}

#[test]
fn every_target_is_a_binary_that_the_fuzzer_finds() {
    let ours: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stem = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let files = names(&folder("targets"));
    // The plugin host has some too, and looks after them itself.
    let is_ours = |path: &&PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        text.contains("engine::fuzzing::")
    };
    let files: BTreeSet<String> = files.iter().filter(is_ours).map(stem).collect();
    assert_eq!(ours, files);
    let manifest = std::fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in &ours {
        assert!(
            manifest.contains(&format!("path = \"targets/{name}.rs\"")),
            "{name}"
        );
    }
}
