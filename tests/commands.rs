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
