//! What the shipped plugins find, called as the studio calls them.

use std::collections::BTreeMap;

use domain::{
    Completion, Decision, ExecutionOutcome, PluginHealth, PluginKind, Sample, SamplePart, Score,
    Severity, SourceFile, Verdict,
};
use serde_json::{Value, json};

use crate::shipped::{HOST, plugins};

fn settings(value: Value) -> BTreeMap<String, Value> {
    serde_json::from_value(value).unwrap()
}

fn curate(name: &str, config: Value, text: &str) -> Result<Verdict, String> {
    let job = HOST
        .job(name, PluginKind::Curator, &settings(config))
        .unwrap();
    let sample = Sample {
        parts: vec![SamplePart {
            name: "text".to_owned(),
            text: text.to_owned(),
            learned: true,
        }],
        path: None,
        language: None,
    };
    job.curate(&[sample]).remove(0).result
}

fn score(name: &str, text: &str, reference: Option<&str>) -> Result<Vec<Score>, String> {
    score_with(name, json!({}), text, reference)
}

pub(crate) fn score_with(
    name: &str,
    config: Value,
    text: &str,
    reference: Option<&str>,
) -> Result<Vec<Score>, String> {
    let job = HOST
        .job(name, PluginKind::Scorer, &settings(config))
        .unwrap();
    let completion = Completion {
        prompt: String::new(),
        text: text.to_owned(),
        reference: reference.map(str::to_owned),
        language: None,
    };
    job.score(&[completion]).remove(0).result
}

#[test]
fn every_plugin_of_the_folder_is_ready_or_needs_consent_and_is_the_one_that_the_sums_name() {
    let sums = std::fs::read_to_string(plugins().join("SHA256SUMS")).unwrap();
    let infos = HOST.list();
    let folders = std::fs::read_dir(plugins()).unwrap();
    let folders = folders.filter(|entry| entry.as_ref().unwrap().path().is_dir());
    assert_eq!(infos.len(), folders.count());
    for info in infos {
        // Nothing is lent without the user's word, not even to what is shipped.
        let is_lent = info.capabilities.iter().any(|word| word.is_lent());
        match is_lent {
            true => assert!(matches!(info.health, PluginHealth::NeedsConsent { .. })),
            false => assert_eq!(info.health, PluginHealth::Ready, "{}", info.name),
        }
        let line = format!("{}  {1}/{1}.wasm", info.digest, info.name);
        assert!(sums.contains(&line), "{line}");
    }
}

#[test]
fn a_sample_that_holds_a_benchmark_goes_and_the_benchmark_is_named() {
    let task = "Return the sum of all even numbers of the list that are larger than the bound.";
    let config = json!({ "benchmarks": { "own-tasks": [task] } });
    let found = curate(
        "decontamination",
        config.clone(),
        &format!(
            "# {}\ndef f(xs, bound): pass\n",
            task.replace(' ', "  ").to_uppercase()
        ),
    );
    let Decision::Drop { reason } = found.unwrap().decision else {
        panic!("it is dropped")
    };
    assert_eq!(reason.code, "benchmark");
    assert!(reason.message.contains("own-tasks"), "{}", reason.message);
    let kept = curate(
        "decontamination",
        config,
        "# Return the sum of all numbers.\n",
    )
    .unwrap();
    assert_eq!(kept.decision, Decision::Keep);
    assert_eq!(kept.scores[0].value, 0.0);
}

#[test]
fn decontamination_without_benchmarks_is_an_error_that_says_what_to_set() {
    let message = curate("decontamination", json!({}), "x = 1\n").unwrap_err();
    assert!(message.contains("config.benchmarks"), "{message}");
}

#[test]
fn similarity_has_four_measures_and_wants_a_reference() {
    let scores = score("similarity", "return x - 1", Some("return x + 1\n")).unwrap();
    let names: Vec<&str> = scores.iter().map(|score| score.name.as_str()).collect();
    assert_eq!(names, ["exact_match", "edit_similarity", "bleu", "chrf"]);
    assert_eq!(scores[0].value, 0.0);
    assert!((scores[1].value - 11.0 / 12.0).abs() < 1e-12);
    let message = score("similarity", "x", None).unwrap_err();
    assert!(message.contains("reference"), "{message}");
}

#[test]
fn security_finds_a_dangerous_call_and_proposes_a_better_one() {
    let file = |path: &str, code: &str| SourceFile {
        path: path.to_owned(),
        code: code.to_owned(),
        language: None,
    };
    let files = [
        file("a.py", "# é\nconfig = yaml.load(text)\n"),
        file("b.js", "// eval(x)\nconst a = 'eval(x)';\n"),
    ];
    let analyses = HOST.analyze("security", &files).unwrap();
    let found = &analyses[0].diagnostics[0];
    assert_eq!(
        (
            found.code.as_str(),
            found.severity,
            found.span.line,
            found.span.column
        ),
        ("deserialisation", Severity::Warning, 2, 10)
    );
    let edit = found.suggestion.as_ref().unwrap();
    assert_eq!(
        (edit.replacement.as_str(), edit.confidence),
        ("yaml.safe_load", 0.7)
    );
    let span = edit.span.start as usize..edit.span.end as usize;
    assert_eq!(&files[0].code[span], "yaml.load");
    assert_eq!(analyses[1].unanalyzable, None);
    assert_eq!(analyses[1].diagnostics.len(), 0);
    assert_eq!(analyses[0].metrics.len(), analyses[1].metrics.len());
}

#[test]
fn licence_headers_knows_a_licence_by_its_words_and_says_where_none_is_named() {
    let files = [
        SourceFile {
            path: "a.c".to_owned(),
            code: "/*\n * Licensed under the Apache License,\n * Version 2.0.\n */\n".to_owned(),
            language: None,
        },
        SourceFile {
            path: "b.py".to_owned(),
            code: "x = 1\n".to_owned(),
            language: None,
        },
    ];
    let analyses = HOST.analyze("licence-headers", &files).unwrap();
    let details = analyses[0].details.as_ref().unwrap().value();
    assert_eq!(
        (&details["licence"], &details["found_by"]),
        (&json!("Apache-2.0"), &json!("text"))
    );
    assert_eq!(analyses[0].diagnostics.len(), 0);
    assert_eq!(analyses[1].diagnostics[0].code, "missing-licence");
}

#[test]
fn style_proposes_edits_that_mend_the_file() {
    let file = SourceFile {
        path: "a.py".to_owned(),
        code: "x = 1  \nif x == None:\n    pass".to_owned(),
        language: None,
    };
    let analyses = HOST.analyze("style", std::slice::from_ref(&file)).unwrap();
    let mut code = file.code;
    for found in analyses[0].diagnostics.iter().rev() {
        let edit = found.suggestion.as_ref().unwrap();
        assert!(edit.confidence >= 0.8, "{found:?}");
        let span = edit.span.start as usize..edit.span.end as usize;
        code.replace_range(span, &edit.replacement);
    }
    assert_eq!(code, "x = 1\nif x is None:\n    pass\n");
}

/// Name and value of each score of one that is given.
pub(crate) fn values(scores: Result<Vec<Score>, String>) -> Vec<(String, f64)> {
    let scores = scores.unwrap().into_iter();
    scores.map(|score| (score.name, score.value)).collect()
}

#[test]
fn complexity_measures_functions_in_every_language_that_it_names() {
    for (language, code) in [
        ("python", "def f(x):\n    if x:\n        pass\n"),
        ("javascript", "function f(x) { if (x) {} }"),
        ("typescript", "function f(x: X): void { if (x) {} }"),
        ("tsx", "function f(x: X): Y { if (x) {} return <p/>; }"),
        ("rust", "fn f(x: bool) { if x {} }"),
        ("go", "package p\nfunc f(x bool) { if x {} }\n"),
        ("java", "class A { void f(boolean x) { if (x) {} } }"),
        ("c", "void f(int x) { if (x) {} }"),
        ("c++", "void f(bool x) { if (x) {} }"),
        ("shell", "f() { if x; then y; fi; }\n"),
    ] {
        let input = json!({ "code": code, "language": language });
        let execution = HOST.run("complexity", &input).unwrap();
        let ExecutionOutcome::Ok { output } = execution.outcome else {
            panic!("{language}: {execution:?}")
        };
        assert_eq!(output["parses"], true, "{language}: {output}");
        let function = &output["functions"][0];
        assert_eq!(function["name"], "f", "{language}");
        let numbers = &function["numbers"];
        assert_eq!(
            (&numbers["cyclomatic"], &numbers["cognitive"]),
            (&json!(2), &json!(1)),
            "{language}"
        );
        assert!(numbers["halstead"]["volume"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn a_language_comes_with_what_says_so() {
    let input = json!({ "code": "#!/usr/bin/env python3\n", "path": "run" });
    let execution = HOST.run("language-detection", &input).unwrap();
    let ExecutionOutcome::Ok { output } = execution.outcome else {
        panic!("{execution:?}")
    };
    assert_eq!(
        output,
        json!({
            "language": "python", "linguist": "Python", "kind": "programming", "found_by": "shebang",
            "confidence": 1.0, "candidates": ["Python"], "vendored": false,
        })
    );
}

#[test]
fn code_that_does_not_parse_goes_and_what_stays_is_evened() {
    let Decision::Drop { reason } = curate("syntax-validity", json!({}), "def f(:\n")
        .unwrap()
        .decision
    else {
        panic!("it is dropped")
    };
    assert_eq!(reason.code, "syntax-error");
    let text = "# Copyright X\n\ndef f(x):  \n    return x\n";
    let kept = curate("syntax-validity", json!({}), text).unwrap();
    assert_eq!(kept.decision, Decision::Keep);
    let Decision::Rewrite { edits, reasons } =
        curate("normalise", json!({}), text).unwrap().decision
    else {
        panic!("it is rewritten")
    };
    let mut evened = text.to_owned();
    for edit in edits.iter().rev() {
        evened.replace_range(edit.start as usize..edit.end as usize, &edit.replacement);
    }
    assert_eq!(evened, "def f(x):\n    return x\n");
    let codes: Vec<&str> = reasons.iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!(codes, ["licence-header", "trailing-space"]);
}

#[test]
fn a_split_sample_has_a_piece_of_syntax_for_its_middle_and_is_split_once() {
    let text = "import os\n\n\ndef size(path):\n    return os.stat(path).st_size\n";
    let config = json!({ "rate": 1.0, "mode": "psm", "tokens": "starcoder", "spans": ["body"] });
    let verdict = curate("fim-splits", config.clone(), text).unwrap();
    let Decision::Rewrite { edits, reasons } = verdict.decision else {
        panic!("it is split")
    };
    assert_eq!(reasons[0].code, "fim-body");
    let mut split = text.to_owned();
    for edit in edits.iter().rev() {
        split.replace_range(edit.start as usize..edit.end as usize, &edit.replacement);
    }
    assert_eq!(
        split,
        "<fim_prefix>import os\n\n\ndef size(path):\n    <fim_suffix>\n\
         <fim_middle>return os.stat(path).st_size"
    );
    let again = curate("fim-splits", config, &split).unwrap();
    assert_eq!(again.decision, Decision::Keep);
    assert_eq!(again.scores[0].name, "left_for_its_tokens");
    // A run's row may be in any language; every grammar is there.
    for text in [
        "const f = (x) => g(x, 1);\nfunction h() {\n  return f(2);\n}\n",
        "use std::fmt;\nfn main() {\n    let mut x = f(1);\n}\n",
        "package p\n\nfunc f(x int) int {\n\treturn g(x, 1)\n}\n",
        "public class A {\n    private int f(int x) { return g(x, 1); }\n}\n",
        "#include <a.h>\nint f(int x) { return g(x, 1); }\n",
        "using namespace std;\ntemplate <class T> T f(T x) { return g(x, 1); }\n",
    ] {
        let config = json!({ "rate": 1.0, "spans": ["body"] });
        let Decision::Rewrite { reasons, .. } =
            curate("fim-splits", config, text).unwrap().decision
        else {
            panic!("it is split: {text}")
        };
        assert_eq!(reasons[0].code, "fim-body", "{text}");
    }
}

#[test]
fn completions_are_scored_by_lints_imports_and_complexity() {
    let text = "import os\n\n\ndef f(x):\n    return eval(x)\n";
    let lints = values(score("lints", text, None));
    assert_eq!(lints[0], ("style".to_owned(), 1.0));
    assert_eq!(lints[1].0, "security");
    assert!((lints[1].1 - 2.0 / 3.0).abs() < 1e-9);
    for (allow, value) in [(json!(["os"]), 1.0), (json!(["re"]), 0.0)] {
        let config = json!({ "allow": allow });
        let scores = values(score_with("allowed-imports", config, text, None));
        assert_eq!(scores, [("allowed_imports".to_owned(), value)]);
    }
    let reference = Some("def f(x):\n    return x\n");
    let branched = "def f(x):\n    if x:\n        return x\n    return 0\n";
    let scores = values(score("complexity-change", branched, reference));
    assert_eq!(scores, [("complexity_change".to_owned(), 0.5)]);
}

#[test]
fn javascript_is_run_with_its_tests_and_one_that_never_ends_fails() {
    let tests = Some("assert.equal(add(1, 2), 3);\nassert.equal(add(0, 0), 0);\n");
    for (text, pass, share) in [
        ("const add = (a, b) => a + b;", 1.0, 1.0),
        ("const add = (a, b) => a - b;", 0.0, 0.5),
        ("function add() { for (;;) {} }", 0.0, 0.0),
    ] {
        let scores = values(score("js-tests", text, tests));
        assert_eq!(scores[0], ("pass".to_owned(), pass), "{text}");
        assert_eq!(scores[1], ("tests_passed".to_owned(), share), "{text}");
    }
}

#[test]
fn recursion_without_an_end_is_an_error_in_javascript_and_fails_the_test() {
    let deep = "const depth = (n) => (n ? 1 + depth(n - 1) : 0);\n";
    for body in [
        "return add(b, a) + 1;",
        "return [1].map(() => add(a, b));",
        "return [2, 1].sort(() => add(a, b));",
        "return 'x'.replace('x', () => add(a, b));",
        "return `${{ toString() { return add(a, b); } }}`;",
        "return JSON.stringify({ toJSON() { return add(a, b); } });",
        "return Reflect.apply(add, null, [a, b]);",
        "return add.call(null, ...[a, b, ...new Array(50).fill(0)]);",
        "return new Proxy({}, { get: () => add(a, b) }).x;",
        "class A { constructor() { add(a, b); } } return new A();",
        "function* g() { yield* g(); } return [...g()];",
        "return eval('add(a, b)');",
        "return new Function('add', 'return add(1, 2)')(add);",
        "let all = []; for (let n = 0; n < 1e6; n++) all = [all]; return JSON.stringify(all);",
        "let all = []; for (let n = 0; n < 1e6; n++) all = [all]; return all.flat(Infinity);",
        "let all = []; for (let n = 0; n < 1e6; n++) all = [all]; return String(all);",
        "return JSON.parse('['.repeat(1e6));",
        "return eval('('.repeat(1e5));",
        "return eval('['.repeat(1e5));",
        "return eval('{'.repeat(1e5));",
        "return eval('-'.repeat(1e5) + '1');",
        "return eval('1' + '**1'.repeat(1e5));",
        "return eval('a=>'.repeat(1e4) + '1');",
        "return new RegExp('('.repeat(1e5));",
        "return /^(x+x+)+y/.test('x'.repeat(30));",
        "return /(?:x|y)*$/.test('x'.repeat(1e6) + 'z') || add(b, a);",
    ] {
        let text = format!("{deep}function add(a, b) {{ {body} }}");
        let scores = score(
            "js-tests",
            &text,
            Some("assert.equal(add(1, 2), 3);\nassert.equal(depth(500), 500);"),
        );
        let scores = scores.unwrap_or_else(|message| panic!("{body}: {message}"));
        assert_eq!(scores[1].value, 0.5, "{body}: {}", scores[0].reason);
    }
    let endless = "function add(a, b) { return add(b, a) + 1; }";
    let reason = score("js-tests", endless, Some("assert.equal(add(1, 2), 3);")).unwrap()[0]
        .reason
        .clone();
    assert!(
        reason.contains("Maximum call stack size exceeded"),
        "{reason}"
    );
    let caught = "function add(a, b) { try { return add(b, a); } catch (error) { return a + b; } }";
    assert_eq!(
        values(score(
            "js-tests",
            caught,
            Some("assert.equal(add(1, 2), 3);")
        ))[0]
            .1,
        1.0
    );
}
