//! `dataset curate` and `dataset explain`, with the plugins that are shipped.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{lines, stderr};

const PIPELINE: &str = "[[plugins]]\nname = 'curator-rules'\nconfig.max_line_length = 200\n\
    [[plugins]]\nname = 'secrets'\n[[plugins]]\nname = 'near-duplicates'\n";

fn curate(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_codetune"))
        .arg("dataset")
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

/// Row 2 has a long line, row 3 a key, row 4 is row 1 again.
fn write_rows(folder: &Path) {
    let plain = "def area(width, height):\n    \"\"\"Area of a rectangle.\"\"\"\n    return width * height\n";
    let long = format!("names = '{}'\n", "word ".repeat(80));
    let key = format!(
        "token = 'ghp_{}'\ndef use(client):\n    return client.login(token)\n",
        "a1B2".repeat(9)
    );
    let rows = [plain, &long, &key, plain].map(|text| json!({ "text": text }).to_string());
    std::fs::write(folder.join("rows.jsonl"), rows.join("\n")).unwrap();
    std::fs::write(folder.join("curate.toml"), PIPELINE).unwrap();
}

/// The rows of a folder through its pipeline, with the report as JSON.
fn into(folder: &Path, out: &str) -> Output {
    let arguments = [
        "curate",
        "rows.jsonl",
        "--pipeline",
        "curate.toml",
        "--out",
        out,
        "--json",
    ];
    curate(folder, &arguments)
}

fn report(output: &Output) -> Value {
    assert!(output.status.success(), "{}", stderr(output));
    lines(output).remove(0)
}

#[test]
fn a_dataset_is_curated_reported_and_every_row_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(folder.path());
    let output = into(folder.path(), "one");
    let found = report(&output);
    assert_eq!(found["rows"], 4);
    assert_eq!(
        (&found["kept"], &found["rewritten"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(found["exact_duplicates"], 1);
    assert_eq!(found["steps"][0]["reasons"]["long-line"]["rows"], 1);
    let progress: Value = serde_json::from_str(stderr(&output).lines().last().unwrap()).unwrap();
    assert_eq!(
        (&progress["event"], &progress["rows"]),
        (&json!("progress"), &json!(4))
    );
    assert!(progress["seconds_left"].is_number());
    let written = std::fs::read(folder.path().join("one/report.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), found);

    let explain = |row: &str| {
        report(&curate(
            folder.path(),
            &["explain", "one", "--row", row, "--json"],
        ))
    };
    let dropped = explain("2");
    assert_eq!(
        (&dropped["decision"], &dropped["by"]),
        (&json!("drop"), &json!("curator-rules"))
    );
    let step = &dropped["steps"][0];
    assert_eq!(step["digest"].as_str().unwrap().len(), 64);
    assert_eq!(step["config"]["max_line_length"], 200);
    assert_eq!(step["config_digest"].as_str().unwrap().len(), 64);
    assert!(step["fuel"].as_u64().unwrap() > 0);
    assert_eq!(explain("3")["decision"], "rewrite");
    assert_eq!(explain("4")["duplicate_of"], 1);
    let text = curate(folder.path(), &["explain", "one", "--output-row", "2"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("row 3,") && text.contains("rewrite") && text.contains("secrets"),
        "{text}"
    );
    assert!(!text.contains("ghp_"), "{text}");
    let none = curate(folder.path(), &["explain", "one", "--row", "9"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(stderr(&none).contains("has 4 rows"), "{}", stderr(&none));
}

#[test]
fn a_second_curation_asks_no_plugin_and_writes_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(folder.path());
    let into = |out: &str| {
        let output = into(folder.path(), out);
        report(&output);
        let progress: Value =
            serde_json::from_str(stderr(&output).lines().last().unwrap()).unwrap();
        progress["remembered"].as_u64().unwrap()
    };
    assert_eq!(into("one"), 0);
    // Of the four rows one is an exact duplicate, and one goes at the first of three plugins.
    assert_eq!(into("two"), 1 + 2 * 3);
    for file in [
        "data.jsonl",
        "provenance.jsonl",
        "report.json",
        "curation.json",
    ] {
        let read = |out: &str| std::fs::read(folder.path().join(out).join(file)).unwrap();
        assert_eq!(read("one"), read("two"), "{file}");
    }
}

#[test]
fn rows_that_a_pipeline_holds_out_lie_apart_and_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let text = |n: usize| format!("def add_{n}(value):\n    return value + {n}\n");
    let rows: Vec<String> = (0..20)
        .map(|n| json!({ "text": text(n) }).to_string())
        .collect();
    std::fs::write(folder.path().join("rows.jsonl"), rows.join("\n")).unwrap();
    let pipeline = "hold_out = {share = 0.2}\n\
        [[plugins]]\nname = 'nonsense'\nonly = 'train'\nconfig = {rate = 1.0, seed = 9}\n";
    std::fs::write(folder.path().join("curate.toml"), pipeline).unwrap();
    let found = report(&into(folder.path(), "one"));
    assert_eq!(
        (&found["kept"], &found["held_out"]),
        (&json!(16), &json!(4))
    );
    assert_eq!(found["rewritten"], 16);
    let held_out = std::fs::read_to_string(folder.path().join("one/held-out.jsonl")).unwrap();
    assert_eq!(held_out.lines().count(), 4);
    assert!(
        held_out
            .lines()
            .all(|line| rows.iter().any(|row| row == line))
    );
    // Rows are numbered from 1, their functions from 0.
    let function = |way: &Value| way["row"].as_u64().unwrap() - 1;
    let explain = |arguments: &[&str]| {
        report(&curate(
            folder.path(),
            &[&["explain", "one", "--json"], arguments].concat(),
        ))
    };
    // A number in data.jsonl is no number in held-out.jsonl.
    for output_row in ["1", "4"] {
        let way = explain(&["--output-row", output_row]);
        assert_eq!(way["steps"][0]["decision"], "rewrite");
        assert!(!held_out.contains(&format!("add_{}(", function(&way))));
    }
}

#[test]
fn a_folder_of_sources_is_split_for_filling_in_and_gives_its_files_back() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        (
            "a.py",
            "def area(width, height):\n    if width < 0:\n        return 0\n    return width * height\n",
        ),
        (
            "b.rs",
            "fn area(width: u32, height: u32) -> u32 {\n    width.saturating_mul(height)\n}\n",
        ),
        ("c.hs", "area :: Int -> Int -> Int\narea w h = w * h\n"),
        ("d.py", "END = \"<|fim_middle|>\"\nprint(END, 1)\n"),
    ];
    std::fs::create_dir(folder.path().join("sources")).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join("sources").join(name), text).unwrap();
    }
    let pipeline =
        "[[plugins]]\nname = 'fim-splits'\nconfig = {rate = 1.0, seed = 3, mode = 'psm'}\n";
    std::fs::write(folder.path().join("curate.toml"), pipeline).unwrap();
    let into = |out: &str| {
        let arguments = ["curate", "sources", "--format", "source-tree", "--pipeline"];
        let rest = ["curate.toml", "--out", out, "--json", "--forget"];
        report(&curate(folder.path(), &[&arguments[..], &rest].concat()))
    };
    let found = into("one");
    assert_eq!(
        (&found["rows"], &found["kept"], &found["rewritten"]),
        (&json!(4), &json!(4), &json!(3))
    );
    assert_eq!(
        found["steps"][0]["scores"]["left_for_its_tokens"]["before"]["bins"],
        json!([{ "up_to": 1.0, "rows": 1 }])
    );
    let written = std::fs::read_to_string(folder.path().join("one/data.jsonl")).unwrap();
    for (row, (name, original)) in written.lines().zip(files) {
        let row: Value = serde_json::from_str(row).unwrap();
        assert_eq!(row["path"], name);
        let text = row["text"].as_str().unwrap();
        if name == "d.py" {
            assert_eq!(text, original);
            continue;
        }
        let text = text.strip_prefix("<|fim_prefix|>").unwrap();
        let (around, middle) = text.split_once("<|fim_middle|>").unwrap();
        assert!(!middle.trim().is_empty(), "{row}");
        assert_eq!(around.replace("<|fim_suffix|>", middle), original);
    }
    into("two");
    for file in ["data.jsonl", "provenance.jsonl"] {
        let read = |out: &str| std::fs::read(folder.path().join(out).join(file)).unwrap();
        assert!(read("one") == read("two"), "{file}");
    }
}

#[test]
fn rows_that_do_not_fit_are_counted_with_their_places_and_the_others_are_curated() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(folder.path());
    let text = "def double(value):\n    return 2 * value\n";
    let rows = [
        json!({ "text": text }),
        json!({ "text": 7 }),
        json!({ "name": "no text" }),
        // Another format's: it has texts, which the plugins judge.
        json!({ "prompt": "def half(value):\n", "completion": "    return value / 2\n" }),
    ];
    let rows = rows.map(|row| row.to_string());
    std::fs::write(folder.path().join("rows.jsonl"), rows.join("\n")).unwrap();
    std::fs::write(
        folder.path().join("curate.toml"),
        "[[plugins]]\nname = 'secrets'\n",
    )
    .unwrap();
    let arguments = [
        "curate",
        "rows.jsonl",
        "--pipeline",
        "curate.toml",
        "--format",
        "text",
        "--out",
        "one",
    ];
    let output = curate(folder.path(), &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let told = String::from_utf8(output.stdout).unwrap();
    for part in [
        "2 of 4 rows kept",
        "3 rows do not fit: the first is row 2 (rows.jsonl line 2), which does not fit the format text: its text is a number",
        "dropped for want of any text: 2",
        "kept for the plugins to judge: 1",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let explained = curate(folder.path(), &["explain", "one", "--row", "3"]);
    let explained = String::from_utf8(explained.stdout).unwrap();
    for part in [
        "row 3, rows.jsonl line 3",
        "drop by no-text",
        "it lacks text",
    ] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    // Where none fits, nothing is curated.
    std::fs::write(folder.path().join("rows.jsonl"), &rows[2]).unwrap();
    let none = into(folder.path(), "two");
    assert_eq!(none.status.code(), Some(2), "{}", stderr(&none));
    assert!(
        stderr(&none).contains("rows.jsonl line 1 holds no text"),
        "{}",
        stderr(&none)
    );
}

#[test]
fn what_cannot_be_curated_is_wrong_usage_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_rows(folder.path());
    for (pipeline, part) in [
        ("[[plugins]]\nname = 'none-such'", "none-such"),
        ("[[plugins]]\nname = 'code-analyzer'", "code-analyzer"),
        (
            "[[plugins]]\nname = 'secrets'\nconfig.action = 'shout'",
            "action",
        ),
        ("colour = 1", "colour"),
        (
            "[[plugins]]\nname = 'nonsense'\nonly = 'train'",
            "add `hold_out",
        ),
    ] {
        std::fs::write(folder.path().join("curate.toml"), pipeline).unwrap();
        let arguments = [
            "curate",
            "rows.jsonl",
            "--pipeline",
            "curate.toml",
            "--out",
            "out",
        ];
        let output = curate(folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(
            stderr(&output).contains(part),
            "{pipeline}: {}",
            stderr(&output)
        );
        assert!(!folder.path().join("out/data.jsonl").exists());
    }
}
