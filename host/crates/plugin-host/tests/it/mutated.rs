//! Components whose bytes were cut or changed on their way: they load or they do not, and the host answers as before. The
//! fuzz target `component` does the same for as long as it is let.

use std::path::{Path, PathBuf};

use domain::PluginHealth;
use plugin_host::{PluginHost, fuzzing};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use crate::folder::{Folder, answer, broken};
use crate::wat::Component;

/// Changed components that a test here loads. Most are refused at a look, but each of the others is compiled.
const CASES: u32 = 48;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

/// A host with a good plugin, which has to answer whatever lies beside it.
fn neighbour() -> (Folder, PluginHost) {
    let folder = Folder::new();
    folder.install(&Component::new("good"), "");
    let host = folder.open();
    (folder, host)
}

fn goes_on(host: &PluginHost) {
    assert_eq!(answer(host, "good"), json!({"ok": true}));
}

/// What a disk, a download or somebody who means harm makes of a file.
#[derive(Debug, Clone)]
enum Change {
    /// It ends here.
    Cut(usize),
    /// Bytes are others.
    Flip(Vec<(usize, u8)>),
    /// A stretch lies where another was, as where blocks of a disk are mixed up.
    Copy(usize, usize, usize),
    /// A stretch is missing in the middle.
    Remove(usize, usize),
}

impl Change {
    fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Cut(length) => bytes.truncate(*length),
            Self::Flip(flips) => {
                for (at, bits) in flips {
                    bytes[*at] ^= bits;
                }
            }
            Self::Copy(from, to, length) => {
                let length = (*length).min(bytes.len() - from).min(bytes.len() - to);
                bytes.copy_within(*from..from + length, *to);
            }
            Self::Remove(from, length) => {
                let end = (from + length).min(bytes.len());
                bytes.drain(*from..end);
            }
        }
        bytes
    }
}

fn changes(length: usize) -> impl Strategy<Value = Change> {
    // The first eight bytes say what the file is: without them nothing is looked at.
    let at = move || 8..length;
    prop_oneof![
        at().prop_map(Change::Cut),
        prop::collection::vec((at(), 1..=u8::MAX), 1..6).prop_map(Change::Flip),
        (at(), at(), 1..4096_usize).prop_map(|(from, to, length)| Change::Copy(from, to, length)),
        (at(), 1..4096_usize).prop_map(|(from, length)| Change::Remove(from, length)),
    ]
}

/// Lays `CASES` changes of a plugin into a folder, one after the other; the same ones each time.
fn mutate(name: &str, bytes: &[u8]) {
    let (folder, host) = neighbour();
    let manifest = format!(
        "name = \"{name}\"\ncomponent = \"{name}.wasm\"\n\
         limits.fuel = 50000000\nlimits.time_ms = 500\nlimits.memory_bytes = 67108864\n"
    );
    folder.write(&format!("{name}/plugin.toml"), manifest);
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, random);
    let outcome = runner.run(&changes(bytes.len()), |change| {
        folder.write(&format!("{name}/{name}.wasm"), change.apply(bytes));
        host.reload().unwrap();
        let info = host.get(name).unwrap();
        match info.health {
            // It says why, in words that a page can show.
            PluginHealth::Broken { message } => prop_assert!(!message.is_empty()),
            // Whether it loads is chance; whatever it is, asking is safe.
            _ => drop(host.run(name, &json!({}))),
        }
        prop_assert_eq!(answer(&host, "good"), json!({"ok": true}));
        Ok(())
    });
    outcome.unwrap_or_else(|fault| panic!("{name}: {fault}"));
}

#[test]
fn a_component_cut_anywhere_is_refused_or_works_but_never_breaks_the_host() {
    let bytes = Component::new("hostile").bytes();
    let (folder, host) = neighbour();
    for length in (0..bytes.len()).step_by(bytes.len() / 40) {
        folder.write("hostile.wasm", &bytes[..length]);
        host.reload().unwrap();
        broken(&host, "hostile");
    }
    goes_on(&host);
}

#[test]
fn flipped_bytes_never_break_the_host() {
    let bytes = Component::new("hostile").bytes();
    let (folder, host) = neighbour();
    for at in (8..bytes.len()).step_by(bytes.len() / 40) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x55;
        folder.write("hostile.wasm", &bytes);
        host.reload().unwrap();
        let _ = host.run("hostile", &json!({}));
    }
    goes_on(&host);
}

#[test]
fn a_small_component_changed_at_random_never_breaks_the_host() {
    mutate("small", &Component::new("small").bytes());
}

#[test]
fn a_component_of_a_compiler_changed_at_random_never_breaks_the_host() {
    let path = root().join("tests/plugins/hostile/curators/hostile-curators.wasm");
    mutate("hostile-curators", &std::fs::read(path).unwrap());
}

/// What the fuzzer starts from, beside components that are in the repository anyway.
fn seeds() -> Vec<(&'static str, Component)> {
    let mut several = Component::new("several");
    several.before = "(core module $n (memory 1 4) (table 2 funcref) (func (export \"f\")))
                      (core instance $n (instantiate $n))"
        .to_owned();
    let mut importing = Component::new("importing");
    importing.before =
        "(import \"wasi:io/error@0.2.3\" (instance (export \"error\" (type (sub resource)))))
                        (import \"codetune:plugin/config@0.1.0\" (instance))"
            .to_owned();
    let mut starting = Component::new("starting");
    starting.module =
        "(global $n (mut i32) (i32.const 0)) (func $start (global.set $n (i32.const 1))) (start $start)"
            .to_owned();
    vec![
        ("tool", Component::new("tool")),
        ("several-memories", several),
        ("imports", importing),
        ("start-function", starting),
        (
            "recursion",
            Component::executing(
                "recursion",
                "(drop (call $execute (local.get $at) (local.get $length)))",
            ),
        ),
    ]
}

#[test]
fn the_seeds_of_the_fuzz_target_are_what_their_source_says() {
    let folder = root().join("fuzz/seeds/component");
    let is_update = std::env::var_os("UPDATE_EXPECT").is_some();
    if is_update {
        std::fs::create_dir_all(&folder).unwrap();
    }
    let seeds = seeds();
    for (name, component) in &seeds {
        let path = folder.join(format!("{name}.wasm"));
        if is_update {
            std::fs::write(&path, component.bytes()).unwrap();
        }
        let is_same = std::fs::read(&path).is_ok_and(|found| found == component.bytes());
        assert!(is_same, "{name}: run this test again with UPDATE_EXPECT=1");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), seeds.len());
}

#[test]
fn every_seed_of_the_fuzz_target_is_taken_whole_and_torn_without_a_panic() {
    for (name, read) in fuzzing::TARGETS {
        for entry in std::fs::read_dir(root().join("fuzz/seeds").join(name)).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            read(&bytes);
            for cut in [0, 1, 8, bytes.len() / 2, bytes.len() - 1] {
                read(&bytes[..cut]);
            }
            for at in (0..bytes.len()).step_by(bytes.len() / 8 + 1) {
                let mut bent = bytes.clone();
                bent[at] ^= 0xff;
                read(&bent);
            }
        }
    }
}

#[test]
fn every_target_of_the_plugin_host_is_a_binary_that_the_fuzzer_finds() {
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for (name, _) in fuzzing::TARGETS {
        let path = format!("targets/{name}.rs");
        assert!(manifest.contains(&format!("path = \"{path}\"")), "{name}");
        let text = std::fs::read_to_string(root().join("fuzz").join(path)).unwrap();
        assert!(
            text.contains(&format!("plugin_host::fuzzing::{name}(bytes)")),
            "{name}"
        );
    }
}
