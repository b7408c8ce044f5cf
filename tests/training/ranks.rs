//! Several processes that train one run: started by `--devices`, or by whatever sets torchrun's variables.

use std::net::TcpListener;
use std::process::Stdio;

use super::*;

fn losses(output: &Output) -> Vec<f64> {
    let events = lines(output);
    let steps = events.iter().filter(|event| event["event"] == "step");
    steps.map(|step| step["loss"].as_f64().unwrap()).collect()
}

fn close(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!(
            (got - expected).abs() < 1e-5 * expected,
            "{got}, expected {expected}"
        );
    }
}

#[test]
fn devices_start_a_process_each_and_the_first_one_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), "qwen2");
    let one = codetune(folder.path(), &["train", "RUN.toml", "--json"]);
    let expected = losses(&one);
    let output = codetune(
        folder.path(),
        &[
            "train",
            "RUN.toml",
            "--devices",
            "cpu,cpu",
            "--json",
            "--set",
            "train.output=two",
        ],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    close(&losses(&output), &expected);
    let events = lines(&output);
    let steps: Vec<&Value> = events
        .iter()
        .filter(|event| event["event"] == "step")
        .collect();
    assert!(
        steps.iter().all(|step| step["process_rank"] == 0),
        "{steps:?}"
    );
    assert_eq!(events.last().unwrap()["event"], "finished");
    assert!(
        folder
            .path()
            .join("two/adapter/adapter_model.safetensors")
            .is_file()
    );
}

#[test]
fn a_process_that_fails_is_named_and_ends_the_others() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), "qwen2");
    let train = |more: &[&str]| codetune(folder.path(), &[&["train", "RUN.toml"], more].concat());
    let output = train(&["--devices", "cpu,cpu,cpu"]);
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(
        told.contains("makes 2 sequences a step, which cannot be shared out among 3"),
        "{told}"
    );
    assert!(told.contains("error: process rank "), "{told}");
    assert!(
        told.contains(" of 3 on cpu failed (exit status: 2), and the others ended with it"),
        "{told}"
    );

    let output = train(&["--devices", "0,0"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cuda:0 stands there twice"));
}

#[test]
fn processes_that_torchrun_would_start_train_together() {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path(), "qwen2");
    let expected = losses(&codetune(folder.path(), &["train", "RUN.toml", "--json"]));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let started: Vec<_> = ["0", "1"]
        .into_iter()
        .map(|rank| {
            Command::new(env!("CARGO_BIN_EXE_codetune"))
                .args(["train", "RUN.toml", "--json", "--set", "train.output=two"])
                .current_dir(folder.path())
                .env("CODETUNE_DATA_DIR", folder.path().join("data"))
                .envs([("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", "2")])
                .env("MASTER_ADDR", "localhost")
                .env("MASTER_PORT", port.to_string())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for (rank, child) in started.into_iter().enumerate() {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        close(&losses(&output), &expected);
        for event in lines(&output)
            .iter()
            .filter(|event| event["event"] == "step")
        {
            assert_eq!(event["process_rank"], rank);
        }
    }
}
