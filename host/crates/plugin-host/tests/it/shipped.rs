//! The components in `plugins/`, as they are shipped.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use domain::{ExecutionOutcome, FileAnalysis, PluginHealth, PluginKind, Severity, SourceFile};
use plugin_host::{HostConfig, PluginHost};
use serde_json::{Value, json};

use crate::built;

pub(crate) fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../plugins")
}

/// One host for all tests of what is shipped: compiling it takes seconds.
pub(crate) static HOST: LazyLock<PluginHost> = LazyLock::new(|| {
    let cache = tempfile::tempdir().unwrap().keep();
    PluginHost::open(HostConfig {
        plugins_dir: plugins(),
        cache_dir: cache,
        remembers: false,
    })
    .unwrap()
});

fn run(name: &str, input: Value) -> Result<Value, (String, String)> {
    match HOST.run(name, &input).unwrap().outcome {
        ExecutionOutcome::Ok { output } => Ok(output),
        ExecutionOutcome::Failed { code, message } => Err((code, message)),
    }
}

fn file(path: &str, code: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        code: code.to_owned(),
        language: None,
    }
}

fn metric(analysis: &FileAnalysis, name: &str) -> f64 {
    analysis
        .metrics
        .iter()
        .find(|metric| metric.name == name)
        .unwrap()
        .value
}

#[test]
fn both_are_ready_and_granted_what_they_ask_for() {
    for name in ["code-analyzer", "source-stats"] {
        let info = HOST.get(name).unwrap();
        assert_eq!(info.health, PluginHealth::Ready, "{name}");
        assert_eq!(info.kinds, [PluginKind::Tool, PluginKind::Analyzer]);
        assert_eq!(info.granted, info.capabilities);
        // Five grammars of tree-sitter are tables of six megabytes, that of C++ alone of three and a half.
        assert!(
            info.size_bytes < 10 << 20,
            "{name} has {} bytes",
            info.size_bytes
        );
        let metadata = info.metadata.unwrap();
        assert!(!metadata.author.is_empty() && !metadata.tags.is_empty());
    }
}

#[test]
fn code_analyzer_answers_in_the_promised_shape() {
    let code = "import os\nfrom . import a\nfrom .b import c\n\nclass K:\n    async def m(self, x):\n        if x and 1:\n            pass\n\ndef f():\n    pass\n";
    let output = run("code-analyzer", json!({ "code": code })).unwrap();
    assert_eq!(
        output,
        json!({
            "language": "python",
            "num_functions": 2,
            "num_classes": 1,
            "imports": ["os", ".", ".b"],
            "complexity": 4,
            "nodes": output["nodes"],
            "functions": [
                { "name": "m", "line": 6, "complexity": 3, "is_async": true },
                { "name": "f", "line": 10, "complexity": 1, "is_async": false }
            ],
            "diagnostics": []
        })
    );
    assert!(output["nodes"].as_u64().unwrap() > 10);
}

#[test]
fn code_analyzer_knows_its_languages() {
    for (language, code) in [
        ("javascript", "class A { b() {} }"),
        ("jsx", "class A { b() { return <a/>; } }"),
        ("typescript", "class A { b(): void {} }"),
        ("tsx", "class A { b(): X { return <a/>; } }"),
        ("rust", "struct A; impl A { fn b() {} }"),
        ("go", "package p\ntype A struct{}\nfunc (a A) b() {}"),
        ("java", "class A { void b() {} }"),
        ("c", "struct a { int x; };\nvoid b(void) {}"),
        ("c++", "class A { void b() {} };"),
        ("python", "class A:\n    def b(self): pass"),
    ] {
        let output = run(
            "code-analyzer",
            json!({ "code": code, "language": language }),
        )
        .unwrap();
        assert_eq!(output["language"], language);
        assert_eq!(
            (&output["num_functions"], &output["num_classes"]),
            (&json!(1), &json!(1)),
            "{language}"
        );
        assert_eq!(output["diagnostics"], json!([]), "{language}");
    }
}

#[test]
fn a_syntax_error_is_a_diagnostic_with_its_place() {
    let output = run(
        "code-analyzer",
        json!({ "code": "x = 1\ndef f(:\n    pass\n" }),
    )
    .unwrap();
    let first = &output["diagnostics"][0];
    assert_eq!(
        (&first["severity"], &first["line"]),
        (&json!("error"), &json!(2))
    );
    assert!(first["column"].as_u64().unwrap() >= 7, "{first}");
}

#[test]
fn a_bad_input_names_its_field() {
    for (input, part) in [
        (json!({}), "\"code\" is a required property"),
        (json!({ "code": 1 }), "code: 1 is not of type \"string\""),
        (json!({ "code": "", "colour": 1 }), "colour"),
        (json!({ "code": "", "language": "cobol" }), "cobol"),
    ] {
        let (code, message) = run("code-analyzer", input.clone()).unwrap_err();
        assert_eq!(code, "invalid_input", "{input}");
        assert!(message.contains(part), "{input}: {message}");
    }
}

#[test]
fn source_stats_measures() {
    let output = run(
        "source-stats",
        json!({ "code": "#!/bin/sh\n# hi\necho 'x'\n" }),
    )
    .unwrap();
    assert_eq!(
        (&output["language"], &output["lines"]),
        (&json!("shell"), &json!(3))
    );
    assert_eq!(output["longest_line"], 9);
    let ratio = output["comment_ratio"].as_f64().unwrap();
    assert!((ratio - 13.0 / 24.0).abs() < 1e-9, "{ratio}");
    assert_eq!(
        run("source-stats", json!({ "code": "" })).unwrap()["mean_line"],
        0.0
    );
}

#[test]
fn an_analysis_has_metrics_diagnostics_and_the_tools_answer() {
    let files = [
        file("a.py", "import os\ndef f(): pass\n"),
        file("b.py", "def g(:\n"),
        file("c.hs", "main = x\n"),
    ];
    let analyses = HOST.analyze("code-analyzer", &files).unwrap();
    assert_eq!(analyses[0].path, "a.py");
    assert_eq!(
        (
            metric(&analyses[0], "num_functions"),
            metric(&analyses[0], "num_imports")
        ),
        (1.0, 1.0)
    );
    assert_eq!(
        analyses[0].details.as_ref().unwrap().value()["imports"],
        json!(["os"])
    );
    let first = &analyses[1].diagnostics[0];
    assert_eq!(
        (first.code.as_str(), first.severity, first.span.line),
        ("syntax-error", Severity::Error, 1)
    );
    assert!(
        analyses[2]
            .unanalyzable
            .as_ref()
            .unwrap()
            .contains("no parser for haskell")
    );
    assert_eq!(
        metric(&HOST.analyze("source-stats", &files).unwrap()[2], "lines"),
        1.0
    );
}

#[test]
fn a_file_that_fells_the_plugin_is_its_own_verdict_alone() {
    let deep = format!("x = {}1{}\n", "(".repeat(200_000), ")".repeat(200_000));
    let files = [
        file("a.py", "def f(): pass\n"),
        file("deep.py", &deep),
        file("b.py", "def g(): pass\n"),
    ];
    let analyses = HOST.analyze("code-analyzer", &files).unwrap();
    assert_eq!(metric(&analyses[0], "num_functions"), 1.0);
    assert_eq!(metric(&analyses[2], "num_functions"), 1.0);
    let deep = &analyses[1];
    let is_said = deep.unanalyzable.is_some() || !deep.diagnostics.is_empty();
    assert!(is_said, "{deep:?}");
}

#[test]
fn nesting_that_people_write_is_no_trouble() {
    for (path, open, close) in [
        ("a.py", "(", ")"),
        ("a.js", "[", "]"),
        ("a.rs", "(", ")"),
        ("a.ts", "(", ")"),
    ] {
        let body = format!("{}1{}", open.repeat(500), close.repeat(500));
        let code = match path {
            "a.py" => format!("x = {body}\n"),
            "a.rs" => format!("fn f() {{ let x = {body}; }}\n"),
            _ => format!("let x = {body};\n"),
        };
        let analyses = HOST.analyze("code-analyzer", &[file(path, &code)]).unwrap();
        assert_eq!(analyses[0].unanalyzable, None, "{path}");
    }
}

#[test]
fn the_sums_are_those_of_the_components() {
    let sums = std::fs::read_to_string(plugins().join("SHA256SUMS")).unwrap();
    for name in [
        "code-analyzer",
        "source-stats",
        "curator-rules",
        "near-duplicates",
        "secrets",
        "parses",
    ] {
        let digest = HOST.get(name).unwrap().digest;
        assert!(
            sums.contains(&format!("{digest}  {name}/{name}.wasm")),
            "{name}: {digest}"
        );
    }
}

#[test]
#[ignore = "needs the wasm toolchain"]
fn what_is_built_from_source_answers_like_what_is_shipped() {
    let folder = tempfile::tempdir().unwrap();
    for way in [built::COMPONENT, built::PLAIN] {
        let plugins = folder.path().join(way.1);
        std::fs::create_dir(&plugins).unwrap();
        let component = built::guest("source-stats", way);
        std::fs::write(plugins.join("source_stats.wasm"), component).unwrap();
        let cache_dir = folder.path().join("cache");
        let host = PluginHost::open(HostConfig {
            plugins_dir: plugins,
            cache_dir,
            remembers: false,
        })
        .unwrap();
        let input = json!({ "code": "# one\nx = 1\n", "path": "a.py" });
        let execution = host.run("source-stats", &input).unwrap();
        let ExecutionOutcome::Ok { output } = execution.outcome else {
            panic!("{execution:?}")
        };
        assert_eq!(output, run("source-stats", input).unwrap(), "{}", way.1);
    }
}

/// A host's folders with some of the shipped plugins and nothing compiled: all of them are a minute's work.
fn fresh(folder: &Path, names: &[&str]) -> HostConfig {
    let plugins_dir = folder.join("plugins");
    for name in names {
        std::fs::create_dir_all(plugins_dir.join(name)).unwrap();
        for file in ["plugin.toml", &format!("{name}.wasm")] {
            let place = Path::new(name).join(file);
            std::fs::copy(plugins().join(&place), plugins_dir.join(&place)).unwrap();
        }
    }
    HostConfig {
        plugins_dir,
        cache_dir: folder.join("cache"),
        remembers: true,
    }
}

fn names(host: &PluginHost) -> Vec<String> {
    host.list().into_iter().map(|plugin| plugin.name).collect()
}

#[test]
fn a_host_that_compiles_when_asked_compiles_that_plugin_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let config = fresh(
        folder.path(),
        &["source-stats", "similarity", "near-duplicates"],
    );
    let input = json!({ "code": "x = 1\n" });

    let host = PluginHost::open_when_asked(config.clone()).unwrap();
    assert!(names(&host).is_empty());
    assert_eq!(host.awaited(), 3);
    assert!(host.run("source-stats", &input).is_ok());
    assert_eq!(names(&host), ["source-stats"]);
    assert_eq!(host.awaited(), 2);
    drop(host);

    let host = PluginHost::open_when_asked(config.clone()).unwrap();
    assert_eq!(names(&host), ["source-stats"], "it is in the cache");
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let host = host.clone();
            std::thread::spawn(move || host.find("similarity").is_some())
        })
        .collect();
    for asker in askers {
        assert!(asker.join().unwrap(), "who asks for the same waits for it");
    }
    assert_eq!(host.awaited(), 1);
    let unknown = host.run("nobody", &input).unwrap_err().to_string();
    for name in ["near-duplicates", "similarity", "source-stats"] {
        assert!(unknown.contains(name), "{unknown}");
    }
    assert_eq!(host.awaited(), 0);
    assert!(PluginHost::open_when_asked(config).unwrap().awaited() == 0);
}

#[test]
fn a_component_by_itself_is_found_by_its_own_name_when_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = fresh(folder.path(), &["near-duplicates"]);
    config.remembers = false;
    let bare = config.plugins_dir.join("renamed.wasm");
    std::fs::copy(plugins().join("source-stats/source-stats.wasm"), bare).unwrap();
    let host = PluginHost::open_when_asked(config).unwrap();
    assert!(host.find("source-stats").is_some());
}

#[test]
fn a_host_that_does_not_wait_for_the_compiler_gets_each_plugin_when_it_is_ready_the_small_first() {
    let folder = tempfile::tempdir().unwrap();
    let config = fresh(folder.path(), &["source-stats", "code-analyzer"]);
    let host = PluginHost::open_within(config, std::time::Duration::ZERO).unwrap();
    assert!(host.is_loading(), "nothing is compiled that soon");
    let input = json!({ "code": "x = 1\n" });
    assert!(host.run("source-stats", &input).is_ok(), "it is waited for");
    assert_eq!(host.generation(), 1, "and the larger is not");
    assert!(host.run("code-analyzer", &input).is_ok());
    let unknown = host.run("nobody", &input).unwrap_err();
    assert_eq!(unknown.code(), "plugin_unknown");
    assert_eq!(host.reload().unwrap(), 2, "and that was all");
    assert!(!host.is_loading());
}

#[test]
fn a_patch_release_of_the_contract_changes_no_interface_that_was_there() {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../wit");
    let read =
        |version: &str, file: &str| std::fs::read_to_string(wit.join(version).join(file)).unwrap();
    for file in ["tool.wit", "analyzer.wit", "host.wit"] {
        assert_eq!(read("0.1.0", file), read("0.1.1", file), "{file}");
        assert_eq!(read("0.1.1", file), read("0.1.2", file), "{file}");
    }
    for file in ["curator.wit", "scorer.wit"] {
        assert_eq!(read("0.1.1", file), read("0.1.2", file), "{file}");
    }
}
