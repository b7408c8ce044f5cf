//! The program as the shell sees it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

#[test]
fn a_reader_that_has_seen_enough_ends_a_command_without_a_word() {
    let data = tempfile::tempdir().unwrap();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let output = Command::new(env!("CARGO_BIN_EXE_codetune"))
        .args(["db", "status"])
        .env("CODETUNE_DATA_DIR", data.path())
        .env_remove("DATABASE_URL")
        .stdout(writer)
        .output()
        .unwrap();
    const SIGPIPE: i32 = 13;
    assert_eq!(output.status.signal(), Some(SIGPIPE), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_split_of_a_folder_is_written_and_looked_at_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let card = "---\nconfigs:\n- config_name: words\n  data_files:\n  - split: train\n    path: a.jsonl\n  - split: test\n    \
                path: b.jsonl\n- config_name: rest\n  data_files: c.jsonl\n---\n";
    std::fs::write(data.join("README.md"), card).unwrap();
    for name in ["a", "b", "c"] {
        let row = format!("{{\"text\": \"{name}\"}}\n");
        std::fs::write(data.join(format!("{name}.jsonl")), row).unwrap();
    }
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_codetune"));
        command
            .arg("dataset")
            .args(args)
            .env("CODETUNE_DATA_DIR", folder.path());
        command.current_dir(folder.path()).output().unwrap()
    };
    let named = ["--subset", "words", "--split", "test"];
    let written = run(&[&["import", "data", "--output", "out.jsonl"], &named[..]].concat());
    assert!(written.status.success(), "{written:?}");
    let rows = std::fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
    assert_eq!(rows, "{\"text\":\"b\"}\n");
    let named = ["--subset", "words", "--data-split", "test+train", "--json"];
    let found = run(&[&["inspect", "data"], &named[..]].concat());
    let found: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert_eq!(found["rows"], 2);
    let refused = run(&["inspect", "data"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(
        told.contains("data.subset: data: is needed: README.md has words, rest"),
        "{told}"
    );
}

#[test]
fn files_are_analysed_side_by_side_and_printed_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let code = folder.path().join("code");
    std::fs::create_dir(&code).unwrap();
    // More than one core takes at a time.
    for number in 0..300 {
        let text = format!("x = {number}\n").repeat(number % 50);
        std::fs::write(code.join(format!("{number:03}.py")), text).unwrap();
    }
    std::fs::write(code.join("binary.py"), b"\0\0").unwrap();
    std::fs::write(code.join("bom.py"), "\u{feff}x\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_codetune"))
        .args(["analyze", "code", "--plugin", "source-stats", "--json"])
        .env("CODETUNE_DATA_DIR", &data)
        .env(
            "CODETUNE_PLUGINS_DIR",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins"),
        )
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<serde_json::Value> = output
        .stdout
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 301);
    for (number, line) in lines[..300].iter().enumerate() {
        assert_eq!(line["path"], format!("code/{number:03}.py"));
        let size = format!("x = {number}\n").len() * (number % 50);
        assert_eq!(line["bytes"], size);
        assert_eq!(line["metrics"]["bytes"], size as f64);
        assert!(line["unanalyzable"].is_null(), "{line}");
    }
    assert_eq!(
        (&lines[300]["path"], &lines[300]["bytes"]),
        (&"code/bom.py".into(), &2.into())
    );
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.contains("301 files") && told.contains("1 binary left out"),
        "{told}"
    );
}
