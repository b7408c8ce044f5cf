//! `codetune generate`: its settings by what they do to the text, and a merged adapter.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{codetune, lines, stderr};

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample")
}

/// What `generate --json` says of the sample model and one prompt.
fn generate(folder: &Path, more: &[&str]) -> Value {
    let model = sample().join("model").display().to_string();
    let prompt = "# Task: Return the largest of the prices.\n";
    let mut arguments = vec!["generate", "--model", &model, "--prompt", prompt, "--json"];
    arguments.extend(more);
    let output = codetune(folder, &arguments);
    assert!(output.status.success(), "{more:?}: {}", stderr(&output));
    lines(&output).swap_remove(0)
}

fn text(folder: &Path, more: &[&str]) -> String {
    generate(folder, more)["text"].as_str().unwrap().to_owned()
}

#[test]
fn settings_that_leave_one_token_to_draw_from_write_the_likeliest() {
    let folder = tempfile::tempdir().unwrap();
    let greedy = text(folder.path(), &["--max-new-tokens", "24"]);
    assert!(!greedy.is_empty());
    for setting in [["--min-p", "1"], ["--top-k", "1"], ["--top-p", "0.0001"]] {
        let mut all = vec!["--max-new-tokens", "24", "--temperature", "2"];
        all.extend(setting);
        assert_eq!(text(folder.path(), &all), greedy, "{setting:?}");
    }
    assert_eq!(
        text(
            folder.path(),
            &["--max-new-tokens", "24", "--num-beams", "1"]
        ),
        greedy
    );
}

#[test]
fn a_seed_decides_what_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let with = |seed| {
        let all = [
            "--max-new-tokens",
            "24",
            "--temperature",
            "1.5",
            "--seed",
            seed,
        ];
        text(folder.path(), &all)
    };
    assert_eq!(with("7"), with("7"));
    assert_ne!(with("7"), with("8"));
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let greedy = text(folder.path(), &["--max-new-tokens", "24"]);
    let characters: Vec<char> = greedy.chars().collect();
    let stop: String = characters[characters.len() / 2..].iter().take(3).collect();
    let found = generate(folder.path(), &["--max-new-tokens", "24", "--stop", &stop]);
    let expected = greedy.split(&stop).next().unwrap();
    assert_eq!(found["text"], expected);
    assert_eq!(found["finish_reason"], "stop");
}

#[test]
fn lengths_beams_and_repeats_are_held_to() {
    let folder = tempfile::tempdir().unwrap();
    let least = ["--max-new-tokens", "70", "--min-new-tokens", "70"];
    assert_eq!(generate(folder.path(), &least)["new_tokens"], 70);
    let few = generate(folder.path(), &["--max-new-tokens", "5"]);
    assert_eq!(few["new_tokens"], 5);

    let mut once = least.to_vec();
    once.extend(["--no-repeat-ngram-size", "2"]);
    assert_ne!(text(folder.path(), &once), text(folder.path(), &least));

    let beams = ["--max-new-tokens", "16", "--num-beams", "4"];
    assert_eq!(text(folder.path(), &beams), text(folder.path(), &beams));
    let model = sample().join("model").display().to_string();
    let mut drawn = vec![
        "generate",
        "--model",
        &model,
        "--prompt",
        "x",
        "--temperature",
        "1",
    ];
    drawn.extend(beams);
    let output = codetune(folder.path(), &drawn);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("temperature"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_merged_adapter_writes_what_the_adapter_beside_its_base_writes() {
    let folder = tempfile::tempdir().unwrap();
    let run = format!(
        "[model]\npath = '{}'\n[data]\npath = '{}'\nmax_seq_length = 64\n[lora]\nuse_dora = true\n\
         [train]\noutput = 'out'\nmax_steps = 3\nbatch_size = 2\nlearning_rate = 1e-2\n",
        sample().join("model").display(),
        sample().join("data/held-out.jsonl").display(),
    );
    std::fs::write(folder.path().join("RUN.toml"), run).unwrap();
    let output = codetune(folder.path(), &["train", "RUN.toml", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let base = text(folder.path(), &["--max-new-tokens", "24"]);
    let beside = ["--max-new-tokens", "24", "--adapter", "out/adapter"];
    let mut merged = beside.to_vec();
    merged.push("--merge");
    let beside = text(folder.path(), &beside);
    assert_ne!(beside, base, "the adapter learned nothing to tell by");
    assert_eq!(text(folder.path(), &merged), beside);

    let model = sample().join("model").display().to_string();
    let alone = ["generate", "--model", &model, "--prompt", "x", "--merge"];
    assert_eq!(codetune(folder.path(), &alone).status.code(), Some(2));
}
