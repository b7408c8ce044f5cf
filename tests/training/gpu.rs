//! The GPU build beside the program: asked for its devices, and gone on as for runs on them.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// The program in a folder of its own, so that nothing but what a test puts there is beside it.
fn alone(folder: &Path) -> PathBuf {
    let program = folder.join("codetune");
    let built = env!("CARGO_BIN_EXE_codetune");
    if std::fs::hard_link(built, &program).is_err() {
        std::fs::copy(built, &program).unwrap();
    }
    program
}

/// A program in the GPU build's place: it answers `devices` with `answer`, and anything else with its arguments.
fn stand_in(folder: &Path, answer: &str) {
    let path = folder.join("codetune-cuda");
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = devices ]; then printf '%s' '{answer}'; else echo \"went on: $*\"; exit 7; fi\n"
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn run(folder: &Path, program: &Path, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("CODETUNE_DATA_DIR", folder.join("data"))
        .env("CODETUNE_PLUGINS_DIR", folder)
        .output()
        .expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const ONE: &str = r#"{"gpus":[{"index":0,"name":"A card","compute_capability":"9.0","memory_total":85899345920,"memory_free":42949672960,"temperature":41,"power":70.5,"utilization":0}],"missing":null}"#;

#[test]
fn without_the_gpu_build_every_question_is_answered_by_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let program = alone(folder.path());
    write_run(folder.path(), "qwen2");

    let output = run(folder.path(), &program, &["devices", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let devices: Value = serde_json::from_slice(&output.stdout).unwrap();
    let missing = devices["missing"].as_str().unwrap();
    assert!(missing.contains("codetune-cuda is not there") && missing.contains("--features cuda"));

    let doctor = stdout(&run(folder.path(), &program, &["doctor"]));
    assert!(
        doctor.contains("runs have the CPU: ") && doctor.contains(missing),
        "{doctor}"
    );

    let train = [
        "train",
        "RUN.toml",
        "--json",
        "--set",
        "model.device=cuda:1",
    ];
    let output = run(folder.path(), &program, &train);
    assert_eq!(output.status.code(), Some(2));
    let message = lines(&output)[0]["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("model.device: \"cuda:1\" cannot be had: "),
        "{message}"
    );

    let output = run(folder.path(), &program, &["train", "RUN.toml", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));

    let generate = ["generate", "--model", ".", "--prompt", "a", "--device"];
    let output = run(
        folder.path(),
        &program,
        &[&generate[..], &["cuda"]].concat(),
    );
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(
        message.contains("--device: \"cuda\" cannot be had: "),
        "{message}"
    );
}

#[test]
fn a_gpu_build_that_sees_a_card_trains_in_this_ones_place() {
    let folder = tempfile::tempdir().unwrap();
    let program = alone(folder.path());
    stand_in(folder.path(), ONE);
    write_run(folder.path(), "qwen2");

    let listed = stdout(&run(folder.path(), &program, &["devices"]));
    let expected =
        "cuda:0 A card, 80.0 GiB, 40.0 GiB free, compute capability 9.0, 41 °C, 70 W, 0 % busy";
    assert_eq!(listed.trim(), expected);
    for device in ["auto", "cuda", "cuda:0"] {
        let set = format!("model.device={device}");
        let output = run(
            folder.path(),
            &program,
            &["train", "RUN.toml", "--set", &set],
        );
        assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
        assert_eq!(
            stdout(&output).trim(),
            format!("went on: train RUN.toml --set {set}")
        );
    }
    let output = run(
        folder.path(),
        &program,
        &["train", "RUN.toml", "--set", "model.device=cpu"],
    );
    assert!(output.status.success(), "{}", stderr(&output));

    let generate = [
        "generate", "--model", "m", "--prompt", "a", "--device", "auto",
    ];
    let output = run(folder.path(), &program, &generate);
    assert_eq!(
        stdout(&output).trim(),
        format!("went on: {}", generate.join(" "))
    );
}

#[test]
fn a_gpu_build_without_a_driver_leaves_auto_to_the_cpu_and_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let program = alone(folder.path());
    stand_in(
        folder.path(),
        r#"{"gpus":[],"missing":"there is no NVIDIA driver"}"#,
    );
    write_run(folder.path(), "qwen2");
    let output = run(folder.path(), &program, &["train", "RUN.toml", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let named = ["train", "RUN.toml", "--json", "--set", "model.device=cuda"];
    let output = run(folder.path(), &program, &named);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("there is no NVIDIA driver"));
    // One that tells nothing sensible is no reason to fail either.
    stand_in(folder.path(), "nothing");
    let doctor = run(folder.path(), &program, &["doctor"]);
    assert!(
        stdout(&doctor).contains("does not tell its devices"),
        "{}",
        stdout(&doctor)
    );
}
