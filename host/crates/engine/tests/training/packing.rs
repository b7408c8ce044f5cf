use std::path::Path;

use domain::RunConfig;
use serde_json::Value;

use crate::harness::{config, random_rows, tensors, train};

fn packed(folder: &Path, rows: &[Value], name: &str) -> RunConfig {
    let mut config = config("qwen2", folder, rows);
    config.train.output = folder.join(name).display().to_string();
    config.train.epochs = 1.0;
    config.data.shuffle = false;
    config
}

#[test]
fn a_packed_run_learns_what_the_same_sequences_teach_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let rows = random_rows(12, 24, 5);
    // All sequences in one step on either side: the order within it is all that differs.
    let mut unpacked = packed(folder.path(), &rows, "unpacked");
    unpacked.train.batch_size = 12;
    unpacked.train.epochs = 3.0;
    // The weights then follow the gradients in proportion; Adam would divide small ones by their own size.
    unpacked.train.optim = domain::Optim::Sgd;
    unpacked.train.learning_rate = 0.1;
    let mut packing = packed(folder.path(), &rows, "packed");
    packing.data.packing = true;
    packing.data.max_seq_length = 64;
    packing.train.batch_size = 12;
    packing.train.epochs = 3.0;
    packing.train.optim = unpacked.train.optim;
    packing.train.learning_rate = unpacked.train.learning_rate;
    let (one, other) = (train(&unpacked), train(&packing));
    let (one_losses, other_losses) = (one.losses(), other.losses());
    assert_eq!(one_losses.len(), 3);
    assert_eq!(other_losses.len(), 3);
    for (a, b) in one_losses.iter().zip(&other_losses) {
        assert!((a - b).abs() <= 1e-5 * a.abs(), "{a} and {b}");
    }
    let weights = |run: &crate::harness::Run| {
        let adapter = run.result.as_ref().unwrap().adapter.clone().unwrap();
        tensors(&adapter.join("adapter_model.safetensors"))
    };
    for ((name, a), (_, b)) in weights(&one).into_iter().zip(weights(&other)) {
        let scale = a.iter().fold(0f32, |most, value| most.max(value.abs()));
        for (a, b) in a.iter().zip(&b) {
            assert!((a - b).abs() <= 1e-5 * scale, "{name}: {a} and {b}");
        }
    }
}

#[test]
fn batch_size_counts_packed_rows() {
    let folder = tempfile::tempdir().unwrap();
    let rows = random_rows(16, 24, 6);
    let mut config = packed(folder.path(), &rows, "run");
    config.data.packing = true;
    config.data.max_seq_length = 96;
    config.train.batch_size = 1;
    let run = train(&config);
    let steps = run.losses().len();
    assert!(
        (2..=5).contains(&steps),
        "16 sequences of 12 to 23 tokens filled {steps} rows of 96"
    );
}
