//! What the fuzz target `component` calls: any bytes, as a component that somebody put into the plugins folder.
//!
//! They go through all that a new file does: a look at their outside, the compiler, metadata, the cache, a call of each
//! ability. An error is an answer; a panic, a hang, memory without bound or a neighbour that answers no more is a fault.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use domain::{
    Capability, Completion, ExecutionOutcome, PluginLimits, PluginManifest, Sample, SamplePart,
    SourceFile,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::anatomy::anatomy;
use crate::batch::each;
use crate::cache::CompileCache;
use crate::call::Terms;
use crate::runtime::Runtime;
use crate::source::{ComponentFile, Source};
use crate::version::Version;

/// A target of the folder `fuzz`: its name there, and what it calls.
pub type Target = (&'static str, fn(&[u8]));

/// Every target; each has its seeds in `fuzz/seeds/<name>` and a few lines in `fuzz/targets/<name>.rs`.
pub const TARGETS: &[Target] = &[("component", component)];

/// A shipped plugin that is loaded once and has to answer after every other.
static NEIGHBOUR: &[u8] = include_bytes!("../../../../plugins/source-stats/source-stats.wasm");

static STUDIO: LazyLock<Studio> = LazyLock::new(Studio::new);

struct Studio {
    runtime: Runtime,
    cache: CompileCache,
    folder: TempDir,
    neighbour: Version,
}

/// Takes bytes for a component: looks at it, loads it, and calls all that it can do.
pub fn component(bytes: &[u8]) {
    let _ = anatomy(bytes);
    let studio = &*STUDIO;
    let loaded = load(&studio.runtime, &studio.cache, bytes);
    if let Ok(version) = loaded {
        studio.call(&version);
        // Loaded again from what was kept, as after a start.
        let _ = load(&studio.runtime, &studio.cache, bytes);
        // A night of fuzzing would fill the disk with compiled code.
        sweep(studio.folder.path());
    }
    let input = json!({ "code": "x = 1\n" });
    let answer = studio.execute(&studio.neighbour, &input);
    assert!(
        matches!(answer, ExecutionOutcome::Ok { .. }),
        "the neighbour answers no more: {answer:?}"
    );
}

impl Studio {
    fn new() -> Self {
        let runtime = Runtime::new().expect("the engine starts");
        let folder = tempfile::tempdir().expect("a folder for compiled code");
        let cache = CompileCache::open(folder.path(), &runtime.counting().engine).expect("a cache");
        let neighbour = load(&runtime, &cache, NEIGHBOUR).expect("a shipped plugin loads");
        Self {
            runtime,
            cache,
            folder,
            neighbour,
        }
    }

    fn execute(&self, version: &Version, input: &Value) -> ExecutionOutcome {
        let terms = terms(version);
        let runtime = &self.runtime;
        runtime.on_guest_thread(|| version.execute(runtime, &terms, input).outcome)
    }

    fn call(&self, version: &Version) {
        // Whatever its schema wants, one of these may fit.
        for input in [json!({}), json!({ "code": "x = 1\n" })] {
            self.execute(version, &input);
        }
        let terms = terms(version);
        let runtime = &self.runtime;
        runtime.on_guest_thread(|| {
            let file = SourceFile {
                path: "a.py".to_owned(),
                code: "x = 1\n".to_owned(),
                language: None,
            };
            let _ = version.try_analysis(runtime, &terms, &file);
            if let Some(curator) = &version.curator {
                each(
                    runtime,
                    &terms,
                    &[sample()],
                    |store| curator.start(store),
                    |running, store, sample| running.curate(store, sample),
                    |_| {},
                );
            }
            if let Some(scorer) = &version.scorer {
                each(
                    runtime,
                    &terms,
                    &[completion()],
                    |store| scorer.start(store),
                    |running, store, completion| running.score(store, completion),
                    |_| {},
                );
            }
        });
    }
}

/// Loads bytes as a component by itself that asks for everything, so that no import is refused which exists.
fn load(runtime: &Runtime, cache: &CompileCache, bytes: &[u8]) -> Result<Version, String> {
    let source = Source {
        manifest: PluginManifest {
            name: "fuzzed".to_owned(),
            component: "fuzzed.wasm".to_owned(),
            capabilities: Capability::ALL.to_vec(),
            // Less than a plugin has, so that an endless loop costs the fuzzer little.
            limits: PluginLimits {
                fuel: 50_000_000,
                time_ms: 2000,
                memory_bytes: 64 << 20,
                ..PluginLimits::default()
            },
            config: Default::default(),
            asks: Default::default(),
        },
        component: ComponentFile::of(bytes.to_vec()),
        fixtures: Vec::new(),
        examples: String::new(),
        is_bare: true,
    };
    runtime.on_loader_thread(|| Version::load(runtime, cache, &source, Arc::default()))
}

fn terms(version: &Version) -> Terms {
    version
        .terms(None)
        .expect("without the user's settings nothing can be refused")
}

fn sample() -> Sample {
    Sample {
        parts: vec![SamplePart {
            name: "text".to_owned(),
            text: "def f():\n    pass\n".to_owned(),
            learned: true,
        }],
        path: Some("a.py".to_owned()),
        language: None,
    }
}

fn completion() -> Completion {
    Completion {
        prompt: "Write f.".to_owned(),
        text: "def f():\n    pass\n".to_owned(),
        reference: None,
        language: None,
    }
}

/// Removes what the cache holds. Code that is in use stays mapped.
fn sweep(folder: &Path) {
    for engine in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        for file in std::fs::read_dir(engine.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = std::fs::remove_file(file.path());
        }
    }
}
