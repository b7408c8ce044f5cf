//! Curators and scorers, those that are shipped and one that means harm.

use std::collections::BTreeMap;
use std::path::Path;

use domain::{
    Completion, Decision, Judged, PluginHealth, PluginKind, Reason, Sample, SamplePart, Score,
    Verdict,
};
use plugin_host::{PluginHost, PluginJob};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::shipped::HOST;
use crate::wat::Component;

const CURATORS: [&str; 3] = ["curator-rules", "near-duplicates", "secrets"];

/// The hostile one beside a good one; a host for each test, since traps make a plugin rest.
struct Hostile {
    host: PluginHost,
    _folder: Folder,
}

impl Hostile {
    fn new() -> Self {
        let folder = Folder::new();
        folder.install(&Component::new("good"), "");
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/plugins/hostile/curators");
        for file in ["plugin.toml", "hostile-curators.wasm"] {
            let bytes = std::fs::read(source.join(file)).unwrap();
            folder.write(&format!("hostile-curators/{file}"), bytes);
        }
        Self {
            host: folder.open(),
            _folder: folder,
        }
    }

    fn job(&self, kind: PluginKind) -> PluginJob {
        let job = self.host.job("hostile-curators", kind, &BTreeMap::new());
        job.unwrap_or_else(|error| panic!("{error}: {:?}", self.host.list()))
    }
}

fn settings(value: Value) -> BTreeMap<String, Value> {
    serde_json::from_value(value).unwrap()
}

fn shipped(name: &str, config: Value) -> PluginJob {
    HOST.job(name, PluginKind::Curator, &settings(config))
        .unwrap()
}

fn sample(text: &str) -> Sample {
    Sample {
        parts: vec![SamplePart {
            name: "text".to_owned(),
            text: text.to_owned(),
            learned: true,
        }],
        path: None,
        language: None,
    }
}

fn samples(texts: &[&str]) -> Vec<Sample> {
    texts.iter().map(|text| sample(text)).collect()
}

fn verdict(job: &PluginJob, text: &str) -> Result<Verdict, String> {
    let mut judged = job.curate(&[sample(text)]);
    assert_eq!(judged.len(), 1);
    judged.remove(0).result
}

fn completion(text: &str) -> Completion {
    Completion {
        prompt: String::new(),
        text: text.to_owned(),
        reference: None,
        language: Some("python".to_owned()),
    }
}

fn scores(job: &PluginJob, text: &str) -> Result<Vec<Score>, String> {
    job.score(&[completion(text)]).remove(0).result
}

#[test]
fn the_shipped_curators_and_the_scorer_are_ready_and_granted_their_settings() {
    for name in CURATORS.into_iter().chain(["parses"]) {
        let info = HOST.get(name).unwrap();
        assert_eq!(info.health, PluginHealth::Ready, "{name}");
        assert_eq!(info.granted, info.capabilities, "{name}");
        let kind = match name {
            "parses" => PluginKind::Scorer,
            _ => PluginKind::Curator,
        };
        assert_eq!(info.kinds, [PluginKind::Tool, kind], "{name}");
    }
}

#[test]
fn the_rules_keep_code_and_drop_what_the_settings_forbid() {
    let code = "def double(value):\n    return value + value\n";
    let job = shipped("curator-rules", json!({}));
    let kept = verdict(&job, code).unwrap();
    assert_eq!(kept.decision, Decision::Keep);
    assert!(kept.scores.iter().any(|score| score.name == "longest_line"));
    let job = shipped("curator-rules", json!({ "max_line_length": 20 }));
    let Decision::Drop {
        reason: Reason { code, message },
    } = verdict(&job, code).unwrap().decision
    else {
        panic!("a line of 24 is longer than 20")
    };
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("long-line", "longest line: 24, at most 20")
    );
}

#[test]
fn settings_that_do_not_fit_are_refused_by_name() {
    for (name, config, part) in [
        (
            "curator-rules",
            json!({ "max_line_length": "x" }),
            "max_line_length",
        ),
        ("curator-rules", json!({ "colour": 1 }), "colour"),
        ("curator-rules", json!({ "pack": "mine" }), "pack"),
        ("source-stats", json!({}), "no Curator"),
        ("nobody", json!({}), "nobody"),
    ] {
        let job = HOST.job(name, PluginKind::Curator, &settings(config));
        let message = job.err().unwrap().to_string();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn signatures_agree_on_what_is_alike() {
    let job = shipped("near-duplicates", json!({}));
    let text: String = (0..300)
        .map(|n| format!("name_{n} = call({n})\n"))
        .collect();
    let other = text.replace("name_7 ", "other ");
    let judged = job.curate(&samples(&[&text, &other, "x = 1"]));
    let values = |index: usize| -> Option<Vec<u32>> {
        let verdict: &Verdict = judged[index].result.as_ref().unwrap();
        verdict.signature.as_ref().map(|found| found.values.clone())
    };
    let (left, right) = (values(0).unwrap(), values(1).unwrap());
    let equal = left.iter().zip(&right).filter(|(a, b)| a == b).count();
    assert_eq!(left.len(), 256);
    assert!((220..256).contains(&equal), "{equal}");
    assert_eq!(values(2), None);
}

#[test]
fn a_secret_is_rewritten_and_never_named() {
    let job = shipped("secrets", json!({}));
    let secret = format!("ghp_{}", "A1b2C3d4".repeat(5));
    let found = verdict(&job, &format!("token: {secret}!")).unwrap();
    let Decision::Rewrite { edits, reasons } = found.decision else {
        panic!("{found:?}")
    };
    assert_eq!((edits[0].start, edits[0].end), (7, 7 + secret.len() as u32));
    assert_eq!(edits[0].replacement, "<KEY>");
    assert!(!reasons[0].message.contains(&secret));
}

#[test]
fn the_tool_of_a_curator_answers_for_one_text() {
    let execution = HOST
        .run("secrets", &json!({ "text": "mail jo@firm.org" }))
        .unwrap();
    let domain::ExecutionOutcome::Ok { output } = execution.outcome else {
        panic!("{execution:?}")
    };
    assert_eq!(output["decision"], "rewrite");
    assert_eq!(output["text"], "mail <EMAIL>");
}

#[test]
fn parses_says_why_not() {
    let job = HOST
        .job("parses", PluginKind::Scorer, &BTreeMap::new())
        .unwrap();
    assert_eq!(scores(&job, "x = 1\n").unwrap()[0].value, 1.0);
    let bad = &scores(&job, "x = (\n").unwrap()[0];
    assert_eq!((bad.name.as_str(), bad.value), ("parses", 0.0));
    assert!(bad.reason.starts_with("line "), "{}", bad.reason);
}

#[test]
fn the_same_sample_gets_the_same_verdict_for_the_same_fuel_in_any_job() {
    for name in CURATORS {
        let texts = samples(&["def f(x): return x", "a b c d e f g", ""]);
        let run = || shipped(name, json!({})).curate(&texts);
        assert_eq!(run(), run(), "{name}");
    }
}

#[test]
fn every_answer_that_breaks_the_contract_is_that_samples_error() {
    let hostile = Hostile::new();
    let job = hostile.job(PluginKind::Curator);
    for (word, part) in [
        ("nan-score", "the score \"score\" is NaN"),
        ("infinite-score", "is inf"),
        ("ansi-score", "a score is named"),
        ("long-name", "a score is named"),
        ("many-scores", "more than 64 scores"),
        ("long-signature", "a signature has 5000 values"),
        ("empty-signature", "a signature has 0 values"),
        ("ansi-signature", "a signature is named"),
        ("ansi-code", "a reason is named"),
        ("outside", "does not lie in"),
        ("backwards", "does not lie in"),
        ("huge", "does not lie in"),
        ("within-é", "does not lie in"),
        ("no-part", "is in part 9; the sample has 1"),
        ("overlap", "overlap or are out of order"),
        ("disorder", "overlap or are out of order"),
        ("no-edit", "no edit or no reason"),
        ("no-reason", "no edit or no reason"),
        ("twice", "names \"a\" twice"),
        ("no-answer", "did not answer one sample"),
        ("two-answers", "did not answer one sample"),
    ] {
        let message = verdict(&job, word).unwrap_err();
        assert!(message.starts_with("invalid_output: "), "{word}: {message}");
        assert!(message.contains(part), "{word}: {message}");
        assert!(!message.contains('\u{1b}'), "{word}: {message}");
    }
}

#[test]
fn whatever_ends_a_call_early_is_that_samples_error_and_the_others_have_their_verdicts() {
    let hostile = Hostile::new();
    let job = hostile.job(PluginKind::Curator);
    for (word, code) in [
        ("trap", "trap"),
        ("panic", "panic: panicked: told to"),
        ("loop", "fuel"),
        ("recursion", "stack"),
        ("memory", "memory"),
        ("flood", "output"),
    ] {
        let judged = job.curate(&samples(&["good", word, "good", word, "count", "count"]));
        for index in [1, 3] {
            let message = judged[index].result.as_ref().unwrap_err();
            assert!(message.starts_with(code), "{word}: {message}");
        }
        for index in [0, 2] {
            let good = judged[index].result.as_ref().unwrap();
            assert_eq!(good.decision, Decision::Keep, "{word}");
        }
        // After the trap the instance is a new one, which has seen nothing.
        let seen = |index: usize| judged[index].result.as_ref().unwrap().scores[0].value;
        assert_eq!((seen(4), seen(5)), (0.0, 1.0), "{word}");
    }
    assert_eq!(
        crate::folder::answer(&hostile.host, "good"),
        json!({"ok": true})
    );
}

#[test]
fn escape_sequences_and_long_texts_do_not_get_out() {
    let hostile = Hostile::new();
    let job = hostile.job(PluginKind::Curator);
    let Decision::Drop { reason } = verdict(&job, "drop").unwrap().decision else {
        panic!("it drops")
    };
    assert_eq!(reason.message, "red<script>alert(1)</script>");
    let Decision::Drop { reason } = verdict(&job, "long-message").unwrap().decision else {
        panic!("it drops")
    };
    assert_eq!(reason.message.chars().count(), 501);
    let Decision::Rewrite { edits, .. } = verdict(&job, "rewrite").unwrap().decision else {
        panic!("it rewrites")
    };
    assert_eq!(edits[0].replacement, "-red<script>alert(1)</script>-");
    assert_eq!(
        verdict(&job, "error").unwrap_err(),
        "plugin_error: red<script>alert(1)</script>"
    );
    let info = hostile.host.get("hostile-curators").unwrap();
    assert!(!format!("{info:?}").contains("\\u{1b}"));
}

#[test]
fn a_log_flood_costs_only_its_own_sample() {
    let hostile = Hostile::new();
    let job = hostile.job(PluginKind::Curator);
    let judged: Vec<Judged<Verdict>> = job.curate(&samples(&["good", "log-flood", "good"]));
    assert!(judged[0].result.is_ok() && judged[2].result.is_ok());
}

#[test]
fn scores_outside_0_to_1_are_errors() {
    let hostile = Hostile::new();
    let job = hostile.job(PluginKind::Scorer);
    for (word, part) in [
        ("nan", "the score s is NaN"),
        ("above", "not in 0 to 1"),
        ("below", "not in 0 to 1"),
        ("none", "gave 0 scores"),
        ("twice", "gave the score s twice"),
        ("ansi", "a score is named"),
        ("error", "plugin_error: red<script>"),
        ("loop", "fuel"),
        ("panic", "panicked: told to"),
    ] {
        let message = scores(&job, word).unwrap_err();
        assert!(message.contains(part), "{word}: {message}");
        assert!(!message.contains('\u{1b}'));
    }
    let good = scores(&job, "good").unwrap();
    assert_eq!(
        (good[0].value, good[0].reason.as_str()),
        (0.5, "red<script>alert(1)</script>")
    );
}

#[test]
fn json_that_breaks_the_schema_is_refused() {
    let execution = Hostile::new()
        .host
        .run("hostile-curators", &json!({}))
        .unwrap();
    assert!(matches!(
        execution.outcome,
        domain::ExecutionOutcome::Failed { ref code, .. } if code == "invalid_output"
    ));
}

#[test]
fn a_job_goes_on_with_the_version_that_it_began_with() {
    let folder = Folder::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../plugins/near-duplicates");
    for file in ["plugin.toml", "near-duplicates.wasm"] {
        let bytes = std::fs::read(source.join(file)).unwrap();
        folder.write(&format!("near-duplicates/{file}"), bytes);
    }
    let host = folder.open();
    let job = host
        .job("near-duplicates", PluginKind::Curator, &BTreeMap::new())
        .unwrap();
    let before = job.curate(&samples(&["one two three four five six"]));
    std::fs::remove_dir_all(folder.plugins().join("near-duplicates")).unwrap();
    host.reload().unwrap();
    assert!(host.get("near-duplicates").is_none());
    assert_eq!(
        job.curate(&samples(&["one two three four five six"])),
        before
    );
}
