//! The commands of authors, on a plugin that is built already.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// A working folder with a copy of the shipped component `source-stats`, and a manifest and examples of a test's own.
struct Author(tempfile::TempDir);

impl Author {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("stats");
        std::fs::create_dir(&place).unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/source-stats");
        let component = "source-stats.wasm";
        std::fs::copy(shipped.join(component), place.join(component)).unwrap();
        // Of the test's own too: its steps are counted, as those of most plugins.
        let manifest = format!(
            "name = \"source-stats\"\ncomponent = \"{component}\"\ncapabilities = [\"config\"]\n"
        );
        std::fs::write(place.join("plugin.toml"), manifest).unwrap();
        let author = Self(folder);
        author.write(&json!([{ "input": { "code": "a = 1\n" } }, { "input": { "code": "" } }]));
        author
    }

    fn place(&self) -> PathBuf {
        self.0.path().join("stats")
    }

    fn write(&self, fixtures: &Value) {
        std::fs::write(self.place().join("fixtures.json"), fixtures.to_string()).unwrap();
    }

    fn read(&self) -> Value {
        let text = std::fs::read(self.place().join("fixtures.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn codetune(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_codetune"))
            .args(args)
            .current_dir(self.0.path())
            .env("CODETUNE_DATA_DIR", self.0.path().join("data"))
            .env("CODETUNE_PLUGINS_DIR", self.0.path().join("plugins"))
            .output()
            .unwrap()
    }

    /// Standard output as JSON, and the exit code.
    fn json(&self, args: &[&str]) -> (Value, i32) {
        let output = self.codetune(args);
        let value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{args:?}: {error}\n{}", stderr(&output)));
        (value, output.status.code().unwrap())
    }
}

#[test]
fn a_grant_without_a_host_is_for_those_that_the_settings_name() {
    let author = Author::new();
    let place = author.0.path().join("plugins/ask-endpoint");
    std::fs::create_dir_all(&place).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/ask-endpoint");
    for name in ["plugin.toml", "ask-endpoint.wasm"] {
        std::fs::copy(shipped.join(name), place.join(name)).unwrap();
    }
    let grant = |args: &[&str]| {
        let output = author.codetune(&[&["plugin", "grant", "ask-endpoint"], args].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let said = grant(&[]);
    assert!(said.contains("    host http://127.0.0.1:8080\n"), "{said}");
    let set = [
        "plugin",
        "config",
        "ask-endpoint",
        "url=https://api.example.com/v1",
    ];
    let output = author.codetune(&set);
    assert!(output.status.success(), "{}", stderr(&output));
    let said = grant(&[]);
    assert!(
        said.contains("host https://api.example.com\n") && !said.contains(":8080"),
        "{said}"
    );
    let said = grant(&["http", "--host", "https://other.example.com"]);
    assert!(
        said.contains("host https://other") && !said.contains("api.example"),
        "{said}"
    );
    // Without the capability there is no host either.
    assert!(!grant(&["config"]).contains("host "));
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn blessed_answers_pass_and_a_changed_one_is_shown_where_it_differs() {
    let author = Author::new();
    let output = author.codetune(&["plugin", "test", "stats", "--bless"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut fixtures = author.read();
    assert_eq!(fixtures[0]["output"]["lines"], 1, "{fixtures}");
    let (report, code) = author.json(&["plugin", "test", "stats", "--json"]);
    assert_eq!((code, &report["passed"]), (0, &json!(2)), "{report}");
    for case in report["cases"].as_array().unwrap() {
        for measure in ["fuel", "peak_memory_bytes", "output_bytes", "duration_us"] {
            assert!(case[measure].as_u64().unwrap() > 0, "{measure}: {case}");
        }
    }
    fixtures[0]["output"]["lines"] = json!(7);
    author.write(&fixtures);
    let (report, code) = author.json(&["plugin", "test", "stats", "--json"]);
    assert_eq!((code, &report["failed"]), (1, &json!(1)), "{report}");
    let differences = report["cases"][0]["differences"].as_array().unwrap();
    assert!(
        differences.contains(&json!("/lines: expected 7, found 1")),
        "{report}"
    );
    let output = author.codetune(&["plugin", "test", "stats"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("/lines: expected 7, found 1"), "{text}");
    // The studio holds to them too, so it is not installed.
    let output = author.codetune(&["plugin", "install", "stats"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("1 of its own examples"),
        "{}",
        stderr(&output)
    );
    assert!(!author.0.path().join("plugins/source-stats").exists());
}

#[test]
fn an_input_that_the_plugin_refuses_fails_the_test_and_is_not_blessed() {
    let author = Author::new();
    author.write(&json!([{ "input": { "code": 1 } }]));
    let output = author.codetune(&["plugin", "test", "stats", "--bless"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("invalid_input"),
        "{}",
        stderr(&output)
    );
    assert_eq!(author.read(), json!([{ "input": { "code": 1 } }]));
}

#[test]
fn check_says_what_a_component_is_made_of_and_why_a_file_is_none() {
    let author = Author::new();
    let (report, code) = author.json(&["plugin", "check", "stats", "--json"]);
    assert_eq!((code, &report["fault"]), (0, &Value::Null), "{report}");
    assert_eq!(report["worlds"], json!(["analyzer-plugin"]));
    let contract = report["component"]["contract"].as_str().unwrap();
    assert!(contract.starts_with("0.1."), "{contract}");
    assert_eq!(report["component"]["size_bytes"], report["size_bytes"]);
    assert!(report["metadata"]["input_schema"]["properties"]["code"].is_object());
    std::fs::write(author.place().join("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let (report, code) = author.json(&["plugin", "check", "stats/core.wasm", "--json"]);
    assert_eq!((code, &report["component"]), (1, &Value::Null), "{report}");
    let fault = report["fault"].as_str().unwrap();
    assert!(fault.contains("core WebAssembly module"), "{fault}");
}

#[test]
fn bench_measures_fresh_and_warm_calls() {
    let author = Author::new();
    let (report, code) = author.json(&["plugin", "bench", "stats", "--calls", "20", "--json"]);
    assert_eq!(code, 0);
    assert_eq!(report["warm_call"]["calls"], 20, "{report}");
    for measure in [
        &report["fresh_call"]["host_us"],
        &report["warm_call"]["median_us"],
        &report["warm_call"]["fuel"],
        &report["fuel"],
    ] {
        assert!(measure.as_f64().unwrap() > 0.0, "{report}");
    }
}

#[test]
fn an_installed_plugin_is_the_studios_and_installing_again_replaces_it() {
    let author = Author::new();
    for _ in 0..2 {
        let output = author.codetune(&["plugin", "install", "stats"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let (plugins, _) = author.json(&["plugin", "list", "--json"]);
        assert_eq!(plugins[0]["name"], "source-stats", "{plugins}");
        assert_eq!(plugins[0]["health"]["state"], "ready", "{plugins}");
    }
    let mut left: Vec<_> = std::fs::read_dir(author.0.path().join("plugins/source-stats"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["fixtures.json", "plugin.toml", "source-stats.wasm"]);
}

#[test]
fn a_component_that_asks_for_hosts_comes_with_its_manifest() {
    let author = Author::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/ask-endpoint");
    let component = shipped.join("ask-endpoint.wasm").display().to_string();
    let output = author.codetune(&["plugin", "install", &component]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("--manifest"),
        "{}",
        stderr(&output)
    );
    let manifest = shipped.join("plugin.toml").display().to_string();
    let output = author.codetune(&["plugin", "install", &component, "--manifest", &manifest]);
    assert!(output.status.success(), "{}", stderr(&output));
    let (plugins, _) = author.json(&["plugin", "list", "--json"]);
    assert_eq!(plugins[0]["name"], "ask-endpoint", "{plugins}");
    assert_eq!(plugins[0]["health"]["state"], "needs_consent", "{plugins}");
}

#[test]
fn a_project_of_a_kind_that_there_is_not_is_refused_with_those_that_there_are() {
    let author = Author::new();
    let output = author.codetune(&["plugin", "new", "mine", "--lang", "c", "--kind", "linter"]);
    assert_eq!(output.status.code(), Some(2));
    for word in ["linter", "analyzer", "curator", "scorer", "tool"] {
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
    }
    assert!(!author.0.path().join("mine").exists());
}

#[test]
fn a_build_that_fails_names_its_command_and_leaves_the_component_alone() {
    let author = Author::new();
    let before = std::fs::read(author.place().join("source-stats.wasm")).unwrap();
    let recipe = "steps = [[\"no-such-compiler\", \"x\"]]\noutput = \"target/x.wasm\"\nsources = [\"src\"]\n";
    std::fs::write(author.place().join("build.toml"), recipe).unwrap();
    let output = author.codetune(&["plugin", "build", "stats"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("no-such-compiler"),
        "{}",
        stderr(&output)
    );
    let after = std::fs::read(author.place().join("source-stats.wasm")).unwrap();
    assert!(before == after);
}

/// Reads what `watch` prints up to the line that says that it waits.
#[cfg(unix)]
fn round(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> String {
    let mut text = String::new();
    for line in lines {
        let line = line.unwrap();
        text.push_str(&line);
        text.push('\n');
        if line.contains("waiting for the next save") {
            return text;
        }
    }
    panic!("watch ended: {text}");
}

#[cfg(unix)]
#[test]
fn watch_builds_tests_and_installs_what_is_saved_and_goes_on_after_a_broken_save() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let author = Author::new();
    let source = author.place().join("source.wasm");
    let shipped = std::fs::read(author.place().join("source-stats.wasm")).unwrap();
    std::fs::write(&source, &shipped).unwrap();
    let recipe = "steps = [[\"cp\", \"source.wasm\", \"target/made.wasm\"]]\n\
                  output = \"target/made.wasm\"\nsources = [\"source.wasm\"]\n";
    std::fs::write(author.place().join("build.toml"), recipe).unwrap();
    let mut watch = Command::new(env!("CARGO_BIN_EXE_codetune"))
        .args(["plugin", "watch", "stats", "--install"])
        .current_dir(author.0.path())
        .env("CODETUNE_DATA_DIR", author.0.path().join("data"))
        .env("CODETUNE_PLUGINS_DIR", author.0.path().join("plugins"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let installed = author
        .0
        .path()
        .join("plugins/source-stats/source-stats.wasm");
    let text = round(&mut lines);
    assert!(text.contains("2 passed, 0 failed"), "{text}");
    assert!(std::fs::read(&installed).unwrap() == shipped);
    std::fs::write(&source, b"no component").unwrap();
    let text = round(&mut lines);
    assert!(text.contains("error:"), "{text}");
    assert!(std::fs::read(&installed).unwrap() == shipped);
    // A custom section at the end: another component that answers alike.
    let changed = [&shipped[..], &[0, 3, 1, b'n', 7]].concat();
    let beside = author.place().join("beside");
    std::fs::write(&beside, &changed).unwrap();
    std::fs::rename(&beside, &source).unwrap();
    let text = round(&mut lines);
    assert!(text.contains("2 passed, 0 failed"), "{text}");
    assert!(std::fs::read(&installed).unwrap() == changed);
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
#[ignore = "compiles every shipped plugin"]
fn every_shipped_plugin_gives_the_answers_of_its_examples() {
    let shipped = crate::harness::root().join("plugins");
    // What the first two answer is up to a model, and the third answers nothing without benchmarks of the user's.
    let without = ["ask-endpoint", "review", "decontamination"];
    let author = Author::new();
    let mut tried = 0;
    for entry in std::fs::read_dir(&shipped).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if !folder.is_dir() || without.contains(&name.as_str()) {
            continue;
        }
        let (report, code) = author.json(&["plugin", "test", folder.to_str().unwrap(), "--json"]);
        assert_eq!(code, 0, "{name}: {report}");
        assert!(report["passed"].as_u64().unwrap() > 0, "{name}: {report}");
        tried += 1;
    }
    assert!(tried >= 20, "{tried} plugins have examples");
}
