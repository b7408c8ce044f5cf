use domain::{RunConfig, RunEvent};

use crate::harness::{config, random_rows, tensors, train, train_with};

fn streamed(folder: &std::path::Path, name: &str) -> RunConfig {
    let mut config = config("qwen2", folder, &random_rows(14, 24, 8));
    config.train.output = folder.join(name).display().to_string();
    config.data.streaming = true;
    config.data.shuffle_buffer = 5;
    config.train.batch_size = 2;
    config.train.max_steps = 12;
    config
}

#[test]
fn a_streamed_run_that_was_stopped_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for packing in [false, true] {
        let mut whole = streamed(
            folder.path(),
            if packing { "whole-packed" } else { "whole" },
        );
        whole.data.packing = packing;
        whole.data.max_seq_length = 64;
        let mut parted = whole.clone();
        parted.train.output += "-parted";
        let all = train(&whole);
        assert_eq!(all.losses().len(), 12);
        let first = train_with(&parted, false, |event, stop| {
            if matches!(event, RunEvent::Step { step: 5, .. }) {
                stop.stop();
            }
        });
        let second = train_with(&parted, true, |_, _| {});
        let losses = [first.losses(), second.losses()].concat();
        assert_eq!(losses, all.losses());
        let adapter = |run: &crate::harness::Run| {
            let folder = run.result.as_ref().unwrap().adapter.clone().unwrap();
            tensors(&folder.join("adapter_model.safetensors"))
        };
        assert_eq!(adapter(&second), adapter(&all));
    }
}

#[test]
fn a_stream_with_a_buffer_for_all_learns_what_the_data_in_memory_teaches() {
    let folder = tempfile::tempdir().unwrap();
    let mut held = streamed(folder.path(), "held");
    held.data.shuffle = false;
    held.data.max_seq_length = 64;
    let mut streamed = held.clone();
    streamed.train.output += "-streamed";
    held.data.streaming = false;
    let run = train(&streamed);
    assert!(run.result.is_ok(), "{:?}", run.result);
    assert_eq!(run.losses(), train(&held).losses());
}

#[test]
fn a_stream_needs_a_number_of_steps_and_held_out_data_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = streamed(folder.path(), "run");
    config.train.max_steps = 0;
    assert!(
        train(&config)
            .error()
            .contains("data.streaming: needs train.max_steps")
    );
    config.train.max_steps = 3;
    config.data.eval_split = 0.2;
    assert!(train(&config).error().contains("data.eval_split"));
}
