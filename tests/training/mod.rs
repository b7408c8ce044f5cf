//! Training as users do it: the program itself, its lines and its exit codes.

mod answers;
mod curate;
mod curated_runs;
mod generate;
#[cfg(unix)]
mod gpu;
mod queue_commands;
mod ranks;
mod worker;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn codetune(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_codetune"))
        .args(arguments)
        .current_dir(folder)
        .env("CODETUNE_DATA_DIR", folder.join("data"))
        .output()
        .expect("the program starts")
}

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/goldens")
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A RUN.toml that goes on from a golden case's adapter, on two rows of tokens.
fn write_run(folder: &Path, case: &str) {
    let rows = [
        r#"{"input_ids": [5, 9, 200, 31, 77, 12], "labels": [-100, -100, 200, 31, 77, 12]}"#,
        r#"{"input_ids": [8, 8, 100, 3], "labels": [8, 8, 100, 3]}"#,
    ];
    std::fs::write(folder.join("rows.jsonl"), rows.join("\n")).unwrap();
    let case = goldens().join(case);
    let run = format!(
        "[model]\npath = '{}'\n[data]\npath = 'rows.jsonl'\nformat = 'tokenized'\n[lora]\ninit_adapter = '{}'\n\
         [train]\noutput = 'out'\nmax_steps = 3\nbatch_size = 2\nlearning_rate = 2e-3\n",
        case.join("model").display(),
        case.join("adapter_init").display(),
    );
    std::fs::write(folder.join("RUN.toml"), run).unwrap();
}

#[test]
fn train_prints_one_event_a_line_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), "qwen2");
    let output = codetune(folder.path(), &["train", "RUN.toml", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let events = lines(&output);
    let names: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .filter(|name| *name != "log")
        .collect();
    assert_eq!(
        names,
        ["started", "step", "step", "step", "checkpoint", "finished"]
    );
    assert_eq!(events[0]["event"], "started");
    assert_eq!(events[0]["supervised_tokens_per_epoch"], 4 + 3);
    let steps: Vec<&Value> = events
        .iter()
        .filter(|event| event["event"] == "step")
        .collect();
    for (index, step) in steps.iter().enumerate() {
        assert_eq!(step["step"], index as u64 + 1);
        for key in [
            "epoch",
            "loss",
            "learning_rate",
            "grad_norm",
            "tokens_per_second",
        ] {
            assert!(
                step[key].as_f64().is_some_and(f64::is_finite),
                "{key}: {step}"
            );
        }
    }
    assert!(steps[2]["loss"].as_f64() < steps[0]["loss"].as_f64());
    assert_eq!(events.last().unwrap()["reason"], "max_steps");
    assert!(
        folder
            .path()
            .join("out/adapter/adapter_model.safetensors")
            .is_file()
    );

    let output = codetune(
        folder.path(),
        &[
            "train",
            "RUN.toml",
            "--resume",
            "--json",
            "--set",
            "train.max_steps=4",
        ],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let steps: Vec<Value> = lines(&output)
        .into_iter()
        .filter(|event| event["event"] == "step")
        .collect();
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0]["step"], 4);
}

#[test]
fn what_cannot_be_trained_ends_with_two_and_one_line_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), "qwen2");
    for (set, word) in [
        ("train.learning_rat=1", "learning_rat"),
        ("train.learning_rate=nan", "train.learning_rate"),
        ("train.batch_size=\"four\"", "train.batch_size"),
        ("model.path=nowhere", "nowhere"),
        ("data.path=missing.jsonl", "missing.jsonl"),
        ("lora.init_lora_weights=loftq", "lora.init_lora_weights"),
    ] {
        let output = codetune(
            folder.path(),
            &["train", "RUN.toml", "--json", "--set", set],
        );
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{set}: {message}");
        assert!(message.contains(word), "{set}: {message}");
        assert_eq!(message.trim_end().lines().count(), 1, "{set}: {message}");
        assert!(
            lines(&output).iter().all(|event| event["event"] == "error"),
            "{set}"
        );
    }
    assert!(!folder.path().join("out/adapter").exists());
}

#[test]
fn bench_measures_a_model_that_it_made() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [
        "bench",
        "make-model",
        "--output",
        "small",
        "--hidden-size",
        "64",
        "--intermediate-size",
        "96",
        "--layers",
        "2",
        "--heads",
        "4",
        "--kv-heads",
        "2",
        "--vocab-size",
        "500",
        "--json",
    ];
    let output = codetune(folder.path(), &sizes);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(lines(&output)[0]["parameters"].as_u64() > Some(50_000));
    let output = codetune(
        folder.path(),
        &[
            "bench",
            "train",
            "--model",
            "small",
            "--batch-size",
            "2",
            "--seq-len",
            "32",
            "--steps",
            "3",
            "--json",
        ],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let report = &lines(&output)[0];
    for key in [
        "tokens_per_second",
        "seconds_per_step",
        "peak_rss_bytes",
        "gemm_gflops",
        "model_flops_utilization",
    ] {
        assert!(
            report[key].as_f64().is_some_and(|value| value > 0.0),
            "{key}: {report}"
        );
    }
    assert!(report["peak_device_bytes"].is_null());
    let again = codetune(folder.path(), &sizes);
    assert_eq!(again.status.code(), Some(2));
}
