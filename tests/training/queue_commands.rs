//! `submit`, `worker --once` and `db` as users call them.

use std::path::Path;

use serde_json::Value;

use super::{codetune, lines, stderr, write_run};

fn answer(folder: &Path, arguments: &[&str]) -> Value {
    let output = codetune(folder, arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        stderr(&output)
    );
    lines(&output).remove(0)
}

#[test]
fn a_submitted_run_is_trained_by_the_worker_from_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), "llama-tied");
    let submitted = answer(
        folder.path(),
        &["submit", "RUN.toml", "--name", "mine", "--json"],
    );
    assert_eq!(submitted["status"], "queued");
    assert_eq!(submitted["name"], "mine");
    let id = submitted["id"].as_str().unwrap();
    // The worker does not stand where the run was submitted: its paths were fixed there.
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_codetune"))
        .args(["worker", "--once"])
        .current_dir(&elsewhere)
        .env("CODETUNE_DATA_DIR", folder.path().join("data"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let adapter = folder
        .path()
        .join("data/runs")
        .join(id)
        .join("adapter/adapter_model.safetensors");
    assert!(adapter.is_file());
    assert!(!folder.path().join("out").exists());
    let status = answer(folder.path(), &["db", "status", "--json"]);
    assert_eq!(status["runs"], 1);
}

#[test]
fn a_run_that_cannot_be_trained_is_not_queued() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), "llama-tied");
    let output = codetune(
        folder.path(),
        &["submit", "RUN.toml", "--set", "train.batch_size=0"],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("train.batch_size"));
}

#[test]
fn the_database_is_looked_after_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let applied = answer(folder.path(), &["db", "migrate", "--json"]);
    assert!(!applied["applied"].as_array().unwrap().is_empty());
    let again = answer(folder.path(), &["db", "migrate", "--json"]);
    assert!(again["applied"].as_array().unwrap().is_empty());
    let status = answer(folder.path(), &["db", "status", "--json"]);
    assert_eq!(status["backend"], "sqlite");
    assert_eq!(status["fallback"], Value::Null);
    assert_eq!(status["migrations"][0]["applied"], true);
    let check = answer(folder.path(), &["db", "check", "--json"]);
    assert_eq!(check["damage"], serde_json::json!([]));

    let backup = codetune(folder.path(), &["db", "backup", "copy.db"]);
    assert!(backup.status.success(), "{}", stderr(&backup));
    let careless = codetune(folder.path(), &["db", "revert"]);
    assert_eq!(careless.status.code(), Some(2));
    assert!(stderr(&careless).contains("--yes"));
    let reverted = answer(folder.path(), &["db", "revert", "--yes", "--json"]);
    assert_eq!(reverted["reverted"].as_array().unwrap().len(), 1);
    let check = codetune(folder.path(), &["db", "check"]);
    assert_eq!(check.status.code(), Some(1));
    let restored = codetune(folder.path(), &["db", "restore", "copy.db"]);
    assert!(restored.status.success(), "{}", stderr(&restored));
    let check = codetune(folder.path(), &["db", "check"]);
    assert!(check.status.success(), "{}", stderr(&check));
}

#[test]
fn an_unreachable_postgresql_is_said_plainly_and_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let with_url = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_codetune"))
            .args(arguments)
            .current_dir(folder.path())
            .env("CODETUNE_DATA_DIR", folder.path().join("data"))
            .env(
                "DATABASE_URL",
                format!("postgres://ada:very-secret@127.0.0.1:{port}/studio"),
            )
            .env("LOG_LEVEL", "trace")
            .env("SQL_DEBUG", "true")
            .output()
            .unwrap()
    };
    let status = with_url(&["db", "status", "--json"]);
    assert!(status.status.success(), "{}", stderr(&status));
    let report = lines(&status).remove(0);
    assert_eq!(report["backend"], "sqlite");
    assert!(
        report["fallback"]
            .as_str()
            .unwrap()
            .contains("cannot be reached")
    );
    let migrate = with_url(&["db", "migrate"]);
    assert_eq!(
        migrate.status.code(),
        Some(1),
        "a change must not land elsewhere"
    );
    for output in [status, migrate] {
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            stderr(&output)
        );
        assert!(!said.contains("very-secret"), "{said}");
    }
}
