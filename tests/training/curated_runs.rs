//! Runs that name curators and scorers, with the plugins that are shipped.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::{goldens, lines, stderr};

fn train(folder: &Path, more: &[&str]) -> Output {
    codetune(folder, &[&["train", "RUN.toml", "--json"], more].concat())
}

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
fn a_split_is_evaluated_on_as_it_is_and_further_datasets_are_curated_and_streamed_too() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), "");
    let rows = std::fs::read_to_string(folder.path().join("rows.jsonl")).unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    let write = |name: &str, rows: &[&str]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, rows.join("\n") + "\n").unwrap();
    };
    // The last row has a key in it; the first of train is also what is evaluated on.
    write("set/train.jsonl", &rows[..6]);
    write("set/test.jsonl", &[rows[0], rows[9]]);
    write("docs.jsonl", &[rows[6], rows[7], rows[9]]);
    let overrides = [
        "data.path=set",
        "data.test_split=test",
        "data.eval_split=0.0",
        "data.mix.docs={path = \"docs.jsonl\"}",
        "data.streaming=true",
        "data.max_seq_length=256",
    ];
    let sets = overrides.iter().flat_map(|set| ["--set", *set]);
    let sets: Vec<&str> = sets.collect();
    let output = train(folder.path(), &sets);
    assert!(output.status.success(), "{}", stderr(&output));
    let events = lines(&output);
    let curated = find(&events, "curated");
    assert_eq!(
        (&curated["rows"], &curated["kept"], &curated["held_out"]),
        (&json!(11), &json!(8), &json!(2))
    );
    let read = |name: &str| std::fs::read_to_string(folder.path().join("out").join(name)).unwrap();
    let held_out = read("curated/held-out.jsonl");
    let parsed = |text: &str| -> Vec<Value> {
        let rows = text.lines();
        rows.map(|row| serde_json::from_str(row).unwrap()).collect()
    };
    assert_eq!(parsed(&held_out), parsed(&[rows[0], rows[9]].join("\n")));
    assert_eq!(
        parsed(&read("curated/data.jsonl")),
        parsed(&rows[1..6].join("\n"))
    );
    let docs = read("curated.docs/data.jsonl");
    assert_eq!(docs.lines().count(), 3);
    assert!(!docs.contains("ghp_"), "{docs}");
    assert!(find(&events, "eval")["eval_loss"].is_f64());

    let output = train(
        folder.path(),
        &[&sets[..], &["--resume", "--set", "train.max_steps=3"]].concat(),
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let events = lines(&output);
    assert!(events.iter().all(|event| event["event"] != "curating"));
    assert_eq!(find(&events, "step")["step"], 3);
}

#[test]
fn a_row_without_a_text_ends_no_run_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), "");
    let rows = folder.path().join("rows.jsonl");
    let text = std::fs::read_to_string(&rows).unwrap();
    std::fs::write(&rows, format!("{text}\n{{\"text\": null}}\n")).unwrap();
    let output = train(folder.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let events = lines(&output);
    let said = "1 row does not fit: the first is row 11 (rows.jsonl line 11)";
    let is_told = |event: &Value| {
        let message = event["message"].as_str();
        message.is_some_and(|message| message.contains(said))
    };
    assert!(events.iter().any(is_told), "{events:?}");
    assert_eq!(find(&events, "curated")["dropped"], 2);
}

#[test]
fn processes_that_train_together_curate_once() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), "");
    let expected = lines(&train(folder.path(), &["--set", "train.output=one"]));
    let loss = |events: &[Value]| find(events, "step")["loss"].as_f64().unwrap();
    let near = |events: &[Value]| {
        let (got, expected) = (loss(events), loss(&expected));
        assert!(
            (got - expected).abs() < 1e-5 * expected,
            "{got}, {expected}"
        );
    };
    let pipeline = &find(&expected, "curated")["pipeline"];

    let output = train(folder.path(), &["--devices", "cpu,cpu"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let events = lines(&output);
    assert_eq!(&find(&events, "curated")["pipeline"], pipeline);
    near(&events);

    // Started by somebody else, the first one there curates and the other waits for it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    drop(listener);
    let started = ["0", "1"].map(|rank| {
        Command::new(env!("CARGO_BIN_EXE_codetune"))
            .args(["train", "RUN.toml", "--json", "--set", "train.output=two"])
            .current_dir(folder.path())
            .env("CODETUNE_DATA_DIR", crate::harness::data(folder.path()))
            .env(
                "CODETUNE_PLUGINS_DIR",
                crate::harness::root().join("plugins"),
            )
            .env_remove("DATABASE_URL")
            .envs([("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", "2")])
            .envs([("MASTER_ADDR", "localhost"), ("MASTER_PORT", &port)])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let mut done_already = 0;
    for child in started {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let events = lines(&output);
        near(&events);
        let told = |event: &Value| event["message"] == "the data is curated already";
        done_already += usize::from(events.iter().any(told));
    }
    assert_eq!(done_already, 1);
}

/// The texts of a file in `curated`, sorted.
fn texts(path: &Path) -> Vec<String> {
    let file = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let rows = file
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut texts: Vec<String> = rows
        .map(|row| row["text"].as_str().unwrap().to_owned())
        .collect();
    texts.sort();
    texts
}

#[test]
fn nonsense_is_written_behind_training_rows_by_the_runs_seed_and_never_behind_what_is_held_out() {
    let folder = tempfile::tempdir().unwrap();
    write_run(
        folder.path(),
        "[[plugins]]\nname = 'nonsense'\nstage = 'curate'\nonly = 'train'\nconfig = {rate = 1.0}\n",
    );
    let run = |output: &str, seed: u64| {
        let (output, seed) = (
            format!("train.output={output}"),
            format!("train.seed={seed}"),
        );
        let settings = [
            "--set",
            &output,
            "--set",
            &seed,
            "--set",
            "train.eval_steps=1",
        ];
        let output = train(folder.path(), &settings);
        assert!(output.status.success(), "{}", stderr(&output));
        lines(&output)
    };
    let events = run("one", 5);
    let curated = find(&events, "curated");
    // Of ten rows one is another again; two of ten are held out.
    assert_eq!(curated["rows"], 10);
    assert_eq!(
        curated["steps"][1]["config"],
        json!({ "rate": 1.0, "seed": 5 })
    );
    let held_out = curated["held_out"].as_u64().unwrap();
    assert!((1..=3).contains(&held_out), "{curated}");
    assert_eq!(curated["kept"].as_u64().unwrap() + held_out, 9);
    assert_eq!(curated["steps"][1]["rewritten"], curated["kept"]);
    assert!(find(&events, "eval")["eval_loss"].is_f64());

    let one = folder.path().join("one/curated");
    let mut originals = texts(&folder.path().join("rows.jsonl"));
    originals.dedup();
    let is_cleaned = |text: &String| text.contains("<KEY>");
    for text in texts(&one.join("held-out.jsonl")) {
        assert!(originals.contains(&text) || is_cleaned(&text), "{text}");
        assert_eq!(text.matches("def ").count(), 1, "{text}");
    }
    for text in texts(&one.join("data.jsonl")) {
        let starts = originals
            .iter()
            .any(|original| text.starts_with(original.as_str()));
        assert!(starts || is_cleaned(&text), "{text}");
        assert!(text.matches("def ").count() > 1, "{text}");
    }

    // Every row says what was done to it, and by which seed.
    let explain = |row: &str| {
        let output = codetune(
            folder.path(),
            &["dataset", "explain", "one/curated", "--row", row, "--json"],
        );
        assert!(output.status.success(), "{}", stderr(&output));
        lines(&output).remove(0)
    };
    let ways: Vec<Value> = (1..=10).map(|row| explain(&row.to_string())).collect();
    let (apart, trained): (Vec<&Value>, Vec<&Value>) = ways
        .iter()
        .filter(|way| way["decision"] != "drop")
        .partition(|way| way["held_out"] == true);
    assert_eq!(apart.len() as u64, held_out);
    assert!(
        apart
            .iter()
            .all(|way| way["steps"][1]["decision"] == "passed by")
    );
    for way in trained {
        let step = &way["steps"][1];
        assert_eq!(
            (&step["plugin"], &step["config"]["seed"]),
            (&json!("nonsense"), &json!(5))
        );
        assert_eq!(step["reasons"][0]["code"], "nonsense", "{way}");
    }

    // One seed writes the same bytes; another holds out and writes others.
    let read = |name: &str, file: &str| {
        std::fs::read(folder.path().join(name).join("curated").join(file)).unwrap()
    };
    run("two", 5);
    run("three", 6);
    for file in ["data.jsonl", "held-out.jsonl", "provenance.jsonl"] {
        assert!(read("one", file) == read("two", file), "{file}");
    }
    assert!(read("one", "data.jsonl") != read("three", "data.jsonl"));

    // Held-out data in a file of its own is nobody's to touch, and all rows are trained on.
    std::fs::copy(
        folder.path().join("rows.jsonl"),
        folder.path().join("held.jsonl"),
    )
    .unwrap();
    let before = std::fs::read(folder.path().join("held.jsonl")).unwrap();
    let settings = [
        "--set",
        "train.output=four",
        "--set",
        "data.eval_path=held.jsonl",
    ];
    let output = train(folder.path(), &settings);
    assert!(output.status.success(), "{}", stderr(&output));
    let events = lines(&output);
    let curated = find(&events, "curated");
    assert_eq!(
        (&curated["kept"], &curated["held_out"]),
        (&json!(9), &json!(0))
    );
    assert_eq!(curated["steps"][1]["rewritten"], 9);
    assert!(std::fs::read(folder.path().join("held.jsonl")).unwrap() == before);
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
        (
            "[[plugins]]\nname = 'parses'\nstage = 'score'\nonly = 'train'\n",
            "plugins.0.only",
        ),
        (
            "[[plugins]]\nname = 'secrets'\nstage = 'curate'\nonly = 'eval'\n",
            "only",
        ),
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
    std::fs::write(folder.path().join("apart.toml"), "hold_out.share = 0.1\n").unwrap();
    let output = train(folder.path(), &["--set", "data.curate=apart.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("data.eval_split"),
        "{}",
        stderr(&output)
    );
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
