//! Scorers compare adapters and make data, with the shipped model and plugins.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{lines, stderr};

fn codetune(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_codetune"))
        .args(arguments)
        .current_dir(folder)
        .env("CODETUNE_DATA_DIR", crate::harness::data(folder))
        .env(
            "CODETUNE_PLUGINS_DIR",
            crate::harness::root().join("plugins"),
        )
        .env_remove("DATABASE_URL")
        .output()
        .expect("the program starts")
}

fn model() -> String {
    let folder = crate::harness::root().join("host/sample/model");
    folder.display().to_string()
}

fn write_prompts(folder: &Path, count: usize) {
    let rows: Vec<String> = (0..count)
        .map(|n| {
            let row = json!({
                "prompt": format!("def add_{n}(value):\n"),
                "completion": format!("    return value + {n}\n"),
            });
            row.to_string()
        })
        .collect();
    std::fs::write(folder.join("prompts.jsonl"), rows.join("\n")).unwrap();
}

/// The arguments that all generations here share.
fn generate(folder: &Path, out: &str, more: &[&str]) -> Output {
    let model = model();
    let mut arguments = vec![
        "dataset",
        "generate",
        "prompts.jsonl",
        "--model",
        &model,
        "--scorers",
        "similarity,parses",
        "--language",
        "python",
        "--max-new-tokens",
        "6",
        "--out",
        out,
        "--json",
    ];
    arguments.extend_from_slice(more);
    codetune(folder, &arguments)
}

fn jsonl(path: PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_best_of_several_answers_becomes_a_row_with_its_provenance() {
    let folder = tempfile::tempdir().unwrap();
    write_prompts(folder.path(), 3);
    let output = generate(folder.path(), "best", &["--answers", "3"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = &lines(&output)[0];
    assert_eq!(
        (&report["prompts"], &report["rows"]),
        (&json!(3), &json!(3))
    );
    assert!(report["chosen_score"].as_f64() >= report["mean_score"].as_f64());
    let progress: Value = serde_json::from_str(stderr(&output).lines().last().unwrap()).unwrap();
    assert_eq!(
        (&progress["prompts"], &progress["of"]),
        (&json!(3), &json!(3))
    );
    let best = folder.path().join("best");
    let (rows, ways) = (
        jsonl(best.join("data.jsonl")),
        jsonl(best.join("provenance.jsonl")),
    );
    for (row, way) in rows.iter().zip(&ways) {
        let answers = way["answers"].as_array().unwrap();
        assert_eq!(answers.len(), 3);
        let chosen = &answers[way["chosen"].as_u64().unwrap() as usize];
        assert_eq!(chosen["text"], row["completion"]);
        assert_eq!(chosen["score"], row["score"]);
        let most = answers.iter().filter_map(|answer| answer["score"].as_f64());
        assert_eq!(most.reduce(f64::max), row["score"].as_f64());
        assert_eq!(chosen["scores"].as_object().unwrap().len(), 1 + 4);
    }
    let about = std::fs::read(best.join("generation.json")).unwrap();
    let about: Value = serde_json::from_slice(&about).unwrap();
    assert_eq!(about["scorers"][0]["digest"].as_str().unwrap().len(), 64);
    let again = generate(folder.path(), "best", &["--answers", "3"]);
    assert_eq!(again.status.code(), Some(2));
}

#[test]
fn pairs_can_be_trained_on_and_a_half_finished_folder_is_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    write_prompts(folder.path(), 8);
    let more = ["--make", "preference", "--answers", "8"];
    let output = generate(folder.path(), "whole", &more);
    assert!(output.status.success(), "{}", stderr(&output));
    let read = |out: &str, name: &str| std::fs::read(folder.path().join(out).join(name)).unwrap();
    let rows = jsonl(folder.path().join("whole/data.jsonl"));
    assert!(!rows.is_empty());
    for row in &rows {
        assert!(row["score_chosen"].as_f64() > row["score_rejected"].as_f64());
    }

    // As a crash leaves it: two whole batches, half of a third in one file only.
    let work = folder.path().join("half/.generation");
    std::fs::create_dir_all(&work).unwrap();
    let mut about: Value = serde_json::from_slice(&read("whole", "generation.json")).unwrap();
    about.as_object_mut().unwrap().remove("output_sha256");
    std::fs::write(work.join("about.json"), about.to_string()).unwrap();
    let lines_of = |name: &str| String::from_utf8(read("whole", name)).unwrap();
    let ways = lines_of("provenance.jsonl");
    let kept: Vec<&str> = ways.lines().take(5).collect();
    std::fs::write(
        work.join("provenance.jsonl"),
        format!("{}\n{{\"half", kept.join("\n")),
    )
    .unwrap();
    std::fs::write(work.join("data.jsonl"), lines_of("data.jsonl")).unwrap();
    let output = generate(folder.path(), "half", &more);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = stderr(&output).matches("\"progress\"").count();
    assert_eq!(told, 2, "two batches of two prompts are left");
    for name in [
        "data.jsonl",
        "provenance.jsonl",
        "report.json",
        "generation.json",
    ] {
        assert_eq!(read("half", name), read("whole", name), "{name}");
    }

    let run = format!(
        "[model]\npath = '{}'\n[data]\npath = 'whole/data.jsonl'\n[lora]\nr = 2\n\
         [train]\nmethod = 'dpo'\noutput = 'out'\nmax_steps = 1\nbatch_size = 1\n",
        model()
    );
    std::fs::write(folder.path().join("RUN.toml"), run).unwrap();
    let output = codetune(folder.path(), &["train", "RUN.toml", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn a_model_is_compared_with_itself_without_a_difference() {
    let folder = tempfile::tempdir().unwrap();
    write_prompts(folder.path(), 4);
    let model = model();
    let eval = |more: &[&str]| {
        let mut arguments = vec![
            "eval",
            "--model",
            &model,
            "--data",
            "prompts.jsonl",
            "--scorers",
            "parses,similarity",
            "--language",
            "python",
            "--max-new-tokens",
            "6",
            "--json",
        ];
        arguments.extend_from_slice(more);
        codetune(folder.path(), &arguments)
    };
    let output = eval(&["--against", "base"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let found = &lines(&output)[0];
    assert_eq!(found["prompts"], 4);
    let score = &found["scores"]["similarity/edit_similarity"];
    assert_eq!(
        (&score["pairs"], &score["equal"]),
        (&json!(4), &json!(4)),
        "{found}"
    );
    assert_eq!(
        score["difference"],
        json!({"mean": 0.0, "low": 0.0, "high": 0.0})
    );
    let alone = eval(&[]);
    let alone = &lines(&alone)[0]["scores"]["similarity/edit_similarity"];
    assert_eq!(alone["mean"], score["mean"]);
    assert!(alone["low"].as_f64() <= alone["mean"].as_f64());
    let wrong = eval(&["--against", "nowhere"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
}

#[test]
fn what_cannot_be_generated_is_wrong_usage_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_prompts(folder.path(), 1);
    for (more, part) in [
        (
            &["--answers", "1", "--make", "preference"][..],
            "--answers 1",
        ),
        (&["--temperature", "0"], "--temperature 0"),
        (&["--min-score", "2"], "--min-score 2"),
        (&["--scorers", "secrets"], "secrets"),
        (&["--scorer-config", "lints.x=1"], "\"lints\" is none of"),
    ] {
        let output = generate(folder.path(), "out", more);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(part), "{}", stderr(&output));
    }
}
