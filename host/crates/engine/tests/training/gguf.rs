//! Training straight on a GGUF file.

use std::path::Path;

use domain::{Method, Quantize};

use crate::harness::{config, golden_rows, train};

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/gguf");
    folder.join(name).display().to_string()
}

#[test]
fn an_adapter_learns_on_a_gguf_as_on_its_safetensors_twin() {
    let rows = golden_rows("llama-tied");
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let twin = {
        let mut config = config("llama-tied", one.path(), &rows);
        config.train.max_steps = 3;
        train(&config).losses()
    };
    for (file, largest) in [("llama-tied-f32.gguf", 0.0), ("llama-tied-q8_0.gguf", 2e-3)] {
        let mut config = config("llama-tied", other.path(), &rows);
        config.train.max_steps = 3;
        config.model.path = Some(fixture(file));
        let run = train(&config);
        let losses = run.losses();
        assert_eq!(losses.len(), 3, "{:?}", run.result);
        for (got, expected) in losses.iter().zip(&twin) {
            assert!(
                (got / expected - 1.0).abs() <= largest,
                "{file}: {got}, {expected}"
            );
        }
    }
    // A GGUF that is not packed can be packed here.
    let mut config = config("llama-tied", other.path(), &rows);
    config.train.max_steps = 1;
    config.model.path = Some(fixture("llama-tied-f32.gguf"));
    config.model.quantize = Some(Quantize::Nf4);
    let losses = train(&config).losses();
    assert!(
        (losses[0] / twin[0] - 1.0).abs() < 0.02 && losses[0] != twin[0],
        "{losses:?}"
    );
}

#[test]
fn a_gguf_is_no_base_for_method_full() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config("llama-tied", folder.path(), &golden_rows("llama-tied"));
    config.model.path = Some(fixture("llama-tied-f32.gguf"));
    config.train.method = Method::Full;
    let error = train(&config).error();
    assert!(error.contains("frozen base"), "{error}");
}
