//! Projects that `codetune plugin new` makes, each built by its language's own tools. `.ci/language-tools` installs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use domain::{Completion, FileAnalysis, PluginKind, Sample, SamplePart, SourceFile};
use plugin_host::{HostConfig, PluginHost, is_same_json};
use serde_json::{Value, json};

/// Builds share a target folder, and the machine's cores: one after the other.
static ONE_BUILD: Mutex<()> = Mutex::new(());

/// A folder of projects, a data folder and a plugins folder, all of one test.
struct Bench {
    folder: tempfile::TempDir,
    _one: MutexGuard<'static, ()>,
}

impl Bench {
    fn new() -> Self {
        let one = ONE_BUILD.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("plugins")).unwrap();
        Self { folder, _one: one }
    }

    fn codetune(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_codetune"))
            .args(args)
            .current_dir(self.folder.path())
            .env("CODETUNE_DATA_DIR", self.folder.path().join("data"))
            .env("CODETUNE_PLUGINS_DIR", self.folder.path().join("plugins"))
            // Everything that the projects need was fetched for the plugins of this repository.
            .env("CARGO_NET_OFFLINE", "true")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .unwrap()
    }

    /// The command's standard output; it must succeed.
    fn succeed(&self, args: &[&str]) -> String {
        let output = self.codetune(args);
        assert!(
            output.status.success(),
            "{args:?}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Makes a project and builds it.
    fn project(&self, name: &str, lang: &str, kind: &str) -> PathBuf {
        self.succeed(&["plugin", "new", name, "--lang", lang, "--kind", kind]);
        let project = self.folder.path().join(name);
        if lang == "rust" {
            share_target(&project);
        }
        self.succeed(&["plugin", "build", name]);
        project
    }
}

/// The versions of this repository's guests, and one target folder for all, so that dependencies are built once.
fn share_target(project: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::copy(
        root.join("plugins-src/Cargo.lock"),
        project.join("Cargo.lock"),
    )
    .unwrap();
    // Where the guests of this repository are built, most is there already.
    let target = std::env::var_os("GUEST_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests"),
        PathBuf::from,
    );
    std::fs::create_dir_all(&target).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(target, project.join("target")).unwrap();
}

/// Lines of several lengths, characters of every width, line breaks of Windows, a last line without one.
const FILES: [&str; 6] = [
    "",
    "\n",
    "TODO",
    "def f():\r\n    # TODO: name it\r\n    pass\r\n",
    "é TODO\n日本 TODO 😀TODO\n\n  TODOTODO",
    "nothing to do\nhere",
];

/// A host that has nothing but the project's plugin, and grants what it asks for.
fn host(parent: &Path, project: &Path, name: &str) -> PluginHost {
    let place = parent.join("plugins").join(name);
    std::fs::create_dir_all(&place).unwrap();
    for file in ["plugin.toml", "fixtures.json", &format!("{name}.wasm")] {
        std::fs::copy(project.join(file), place.join(file)).unwrap();
    }
    let host = PluginHost::open(HostConfig {
        plugins_dir: parent.join("plugins"),
        cache_dir: parent.join("cache"),
        remembers: false,
    })
    .unwrap();
    let info = host.get(name).unwrap();
    host.set_grants(name, &info.digest, info.capabilities.as_slice());
    host
}

fn analyses(project: &Path, name: &str) -> Vec<FileAnalysis> {
    let parent = tempfile::tempdir().unwrap();
    let host = host(parent.path(), project, name);
    let files: Vec<SourceFile> = FILES
        .iter()
        .enumerate()
        .map(|(index, code)| SourceFile {
            path: format!("{index}.txt"),
            code: (*code).to_owned(),
            language: None,
        })
        .collect();
    host.analyze(name, &files).unwrap()
}

#[test]
#[ignore = "needs componentize-py, jco, zig and wit-bindgen"]
fn an_analyzer_gives_the_same_answer_in_every_language() {
    let bench = Bench::new();
    let mut answers = Vec::new();
    for lang in ["rust", "python", "typescript", "c"] {
        let name = format!("todo-{lang}");
        let project = bench.project(&name, lang, "analyzer");
        let report = bench.succeed(&["plugin", "test", &name, "--no-build", "--json"]);
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(
            (&report["passed"], &report["failed"]),
            (&json!(3), &json!(0)),
            "{report}"
        );
        let check = bench.succeed(&["plugin", "check", &name, "--json"]);
        let check: Value = serde_json::from_str(&check).unwrap();
        assert_eq!(check["worlds"], json!(["analyzer-plugin"]), "{check}");
        assert_eq!(check["component"]["contract"], "0.1.1", "{check}");
        // Bare wasmtime must run it too: some runtimes ask WASI for a seed when they start.
        let bench = bench.succeed(&[
            "plugin",
            "bench",
            &name,
            "--no-build",
            "--calls",
            "10",
            "--json",
        ]);
        let bench: Value = serde_json::from_str(&bench).unwrap();
        assert!(
            bench["fresh_call"]["bare_us"].as_f64().unwrap() > 0.0,
            "{bench}"
        );
        answers.push((lang, analyses(&project, &name)));
    }
    let (_, rust) = &answers[0];
    // Not the same nothing from all: the answer itself is known.
    let todos: Vec<usize> = rust
        .iter()
        .map(|analysis| analysis.diagnostics.len())
        .collect();
    assert_eq!(todos, [0, 0, 1, 1, 5, 0]);
    let last = &rust[4].diagnostics[4].span;
    assert_eq!(
        (last.start, last.end, last.line, last.column),
        (36, 40, 4, 7)
    );
    for (lang, answer) in &answers {
        let (rust, answer) = (
            serde_json::to_value(rust).unwrap(),
            serde_json::to_value(answer).unwrap(),
        );
        assert!(
            is_same_json(&rust, &answer),
            "{lang}:\n{answer}\nrust:\n{rust}"
        );
    }
}

/// What a curator says of a learned text and a given one, with and without a setting.
fn verdicts(project: &Path, name: &str) -> Vec<String> {
    let parent = tempfile::tempdir().unwrap();
    let host = host(parent.path(), project, name);
    let part = |text: &str, learned| SamplePart {
        name: "text".to_owned(),
        text: text.to_owned(),
        learned,
    };
    let sample = Sample {
        parts: vec![part("TODO é TODO", true), part("TODO", false)],
        path: None,
        language: None,
    };
    [json!({}), json!({ "most": 1 }), json!({ "most": 2 })]
        .into_iter()
        .map(|config| {
            let config = serde_json::from_value(config).unwrap();
            let job = host.job(name, PluginKind::Curator, &config).unwrap();
            let judged = job.curate(std::slice::from_ref(&sample)).remove(0);
            serde_json::to_string(&judged.result).unwrap()
        })
        .collect()
}

/// What a scorer says of a text that is finished, one that is not, and none.
fn scores(project: &Path, name: &str) -> Vec<String> {
    let parent = tempfile::tempdir().unwrap();
    let host = host(parent.path(), project, name);
    let job = host.job(name, PluginKind::Scorer, &[].into()).unwrap();
    let completions = ["x = 1", "日本 TODO", ""].map(|text| Completion {
        prompt: "TODO".to_owned(),
        text: text.to_owned(),
        reference: None,
        language: None,
    });
    let judged = job.score(&completions).into_iter();
    judged
        .map(|judged| serde_json::to_string(&judged.result).unwrap())
        .collect()
}

#[test]
#[ignore = "needs componentize-py, jco, zig, wit-bindgen and the wasm targets"]
fn every_kind_in_every_language_builds_passes_its_examples_and_answers_alike() {
    let bench = Bench::new();
    let (mut curators, mut scorers) = (Vec::new(), Vec::new());
    for lang in ["rust", "python", "typescript", "c"] {
        // Analyzers have a test of their own.
        for kind in ["tool", "curator", "scorer"] {
            let name = format!("{lang}-{kind}");
            let project = bench.project(&name, lang, kind);
            let report = bench.succeed(&["plugin", "test", &name, "--no-build", "--json"]);
            let report: Value = serde_json::from_str(&report).unwrap();
            assert_eq!(
                (&report["passed"], &report["failed"]),
                (&json!(2), &json!(0)),
                "{report}"
            );
            match kind {
                "curator" => curators.push(verdicts(&project, &name)),
                "scorer" => scorers.push(scores(&project, &name)),
                _ => {}
            }
        }
    }
    assert!(
        curators[0][0].contains("2 TODO, more than 0"),
        "{curators:?}"
    );
    assert!(
        curators[0][1].contains("2 TODO, more than 1"),
        "{curators:?}"
    );
    assert!(curators[0][2].contains("keep"), "{curators:?}");
    assert!(
        curators.iter().all(|said| *said == curators[0]),
        "{curators:?}"
    );
    assert!(scorers[0][1].contains("it leaves a TODO"), "{scorers:?}");
    assert!(
        scorers.iter().all(|said| *said == scorers[0]),
        "{scorers:?}"
    );
}

#[test]
#[ignore = "needs cargo-component"]
fn a_rust_project_builds_by_cargo_component_too() {
    let bench = Bench::new();
    let project = bench.project("both-ways", "rust", "curator");
    let built = Command::new(env!("CARGO"))
        .args([
            "component",
            "build",
            "--release",
            "--offline",
            "--target-dir",
            "target",
        ])
        .current_dir(&project)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    std::fs::copy(
        project.join("target/wasm32-wasip1/release/both_ways.wasm"),
        project.join("both-ways.wasm"),
    )
    .unwrap();
    let report = bench.succeed(&["plugin", "test", "both-ways", "--no-build"]);
    assert!(report.contains("0 failed"), "{report}");
}
