//! Runs that name curators and scorers, with the plugins that are shipped.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{goldens, lines, stderr};

fn train(folder: &Path, more: &[&str]) -> Output {
    codetune(folder, &[&["train", "RUN.toml", "--json"], more].concat())
}

fn codetune(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_codetune"))
        .args(arguments)
        .current_dir(folder)
        .env("CODETUNE_DATA_DIR", folder.join("data"))
        .env(
            "CODETUNE_PLUGINS_DIR",
            crate::harness::root().join("plugins"),
        )
        .env_remove("DATABASE_URL")
        .output()
        .expect("the program starts")
}

/// Eight functions, one of them twice and one with a key in it.
fn write_run(folder: &Path, plugins: &str) {
    let mut texts: Vec<String> = (0..8)
        .map(|n| format!("def add_{n}(value):\n    total = value + {n}\n    return total\n"))
        .collect();
    texts.push(texts[0].clone());
    texts.push(format!(
        "token = 'ghp_{}'\ndef use(client):\n    return client.login(token)\n",
        "a1B2".repeat(9)
    ));
    let rows: Vec<String> = texts
        .iter()
        .map(|text| json!({ "text": text }).to_string())
        .collect();
    std::fs::write(folder.join("rows.jsonl"), rows.join("\n")).unwrap();
    std::fs::write(
        folder.join("curate.toml"),
        "[[plugins]]\nname = 'secrets'\n",
    )
    .unwrap();
    let model = goldens().join("../../../host/sample/model");
    let run = format!(
        "[model]\npath = '{}'\n[data]\npath = 'rows.jsonl'\ncurate = 'curate.toml'\neval_split = 0.25\n\
         languages = ['python']\n[lora]\nr = 2\n[train]\noutput = 'out'\nmax_steps = 2\nbatch_size = 2\n\
         score_prompts = 2\nscore_max_new_tokens = 8\n{plugins}",
        model.display(),
    );
    std::fs::write(folder.join("RUN.toml"), run).unwrap();
}

fn find<'a>(events: &'a [Value], name: &str) -> &'a Value {
    let found = events.iter().find(|event| event["event"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {events:?}"))
}

#[test]
fn a_run_trains_on_what_its_curators_leave_and_says_so_in_its_card() {
    let folder = tempfile::tempdir().unwrap();
    write_run(
        folder.path(),
        "[[plugins]]\nname = 'curator-rules'\nstage = 'curate'\n",
    );
    let output = train(folder.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let events = lines(&output);
    let curated = find(&events, "curated");
    assert_eq!(
        (&curated["rows"], &curated["kept"], &curated["rewritten"]),
        (&json!(10), &json!(9), &json!(1))
    );
    assert_eq!(curated["steps"][0]["plugin"], "secrets");
    assert_eq!(curated["steps"][1]["plugin"], "curator-rules");
    let pipeline = curated["pipeline"].as_str().unwrap();
    let data = std::fs::read_to_string(folder.path().join("out/curated/data.jsonl")).unwrap();
    assert_eq!(data.lines().count(), 9);
    assert!(!data.contains("ghp_"));
    let card = std::fs::read_to_string(folder.path().join("out/adapter/README.md")).unwrap();
    assert!(
        card.contains(pipeline) && card.contains("9 of 10 rows kept"),
        "{card}"
    );
    let origin = std::fs::read(folder.path().join("out/adapter/codetune.json")).unwrap();
    let origin: Value = serde_json::from_slice(&origin).unwrap();
    assert_eq!(origin["run"]["curation"]["pipeline"], pipeline);

    // The same rows and pipeline are not curated again; a changed pipeline is, and what was there stays.
    let output = train(folder.path(), &["--resume", "--set", "train.max_steps=3"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let events = lines(&output);
    assert!(events.iter().all(|event| event["event"] != "curating"));
    assert_eq!(find(&events, "curated")["pipeline"], pipeline);
    assert_eq!(find(&events, "step")["step"], 3);
    std::fs::write(
        folder.path().join("curate.toml"),
        "[[plugins]]\nname = 'secrets'\nconfig.action = 'drop'\n",
    )
    .unwrap();
    let output = train(folder.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let events = lines(&output);
    let curated = find(&events, "curated");
    assert_eq!(curated["kept"], 8);
    assert_ne!(curated["pipeline"], pipeline);
    assert!(
        folder
            .path()
            .join("out/curated-earlier-1/data.jsonl")
            .is_file()
    );
}

#[test]
fn scorers_judge_the_same_answers_at_each_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    write_run(
        folder.path(),
        "[[plugins]]\nname = 'parses'\nstage = 'score'\n",
    );
    let scores = || {
        let output = train(folder.path(), &["--set", "train.eval_steps=1"]);
        assert!(output.status.success(), "{}", stderr(&output));
        let events = lines(&output);
        let evals = events.into_iter().filter(|event| event["event"] == "eval");
        evals
            .map(|event| {
                let score = event["scores"]["parses/parses"].as_f64();
                score.unwrap_or_else(|| panic!("no score in {event}"))
            })
            .collect::<Vec<f64>>()
    };
    let first = scores();
    assert_eq!(first.len(), 3);
    assert!(
        first.iter().all(|score| [0.0, 0.5, 1.0].contains(score)),
        "{first:?}"
    );
    assert_eq!(scores(), first);
}

#[test]
fn a_run_whose_plugins_cannot_be_used_ends_with_two_and_names_them() {
    let folder = tempfile::tempdir().unwrap();
    for (plugins, part) in [
        (
            "[[plugins]]\nname = 'none-such'\nstage = 'curate'\n",
            "none-such",
        ),
        (
            "[[plugins]]\nname = 'secrets'\nstage = 'score'\n",
            "secrets",
        ),
        (
            "[[plugins]]\nname = 'secrets'\nstage = 'curate'\nconfig = {action = 'shout'}\n",
            "action",
        ),
        ("[[plugins]]\nname = 'parses'\nstage = 'taste'\n", "stage"),
    ] {
        write_run(folder.path(), plugins);
        let output = train(folder.path(), &[]);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{plugins}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(part),
            "{plugins}: {}",
            stderr(&output)
        );
    }
    write_run(folder.path(), "");
    let output = train(folder.path(), &["--set", "data.curate=nowhere.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("data.curate: nowhere.toml"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_worker_curates_a_run_keeps_what_came_of_it_and_draws_its_scores() {
    let folder = tempfile::tempdir().unwrap();
    write_run(
        folder.path(),
        "[[plugins]]\nname = 'parses'\nstage = 'score'\n",
    );
    let wrong = ["submit", "RUN.toml", "--set", "data.curate=nowhere.toml"];
    assert_eq!(codetune(folder.path(), &wrong).status.code(), Some(2));
    let output = codetune(folder.path(), &["submit", "RUN.toml", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let id: domain::RunId = lines(&output)[0]["id"].as_str().unwrap().parse().unwrap();
    let output = codetune(folder.path(), &["worker", "--once"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let config = crate::harness::config(folder.path(), &[]);
    let store = store::Store::open(&config.store_config()).unwrap();
    let run = store.find_run(id).unwrap().unwrap();
    assert_eq!(run.status, domain::RunStatus::Completed, "{:?}", run.error);
    let curation = run.curation.unwrap();
    assert_eq!(
        (curation.rows, curation.kept, curation.rewritten),
        (10, 9, 1)
    );
    let scores = store.metrics(id, "parses/parses", 10).unwrap();
    assert_eq!(scores.len(), 1);
    assert!(
        config
            .paths
            .run(id)
            .join("curated/provenance.jsonl")
            .is_file()
    );
}
