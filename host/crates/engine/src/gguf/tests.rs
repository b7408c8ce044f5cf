use std::path::{Path, PathBuf};

use candle_core::DType;
use serde_json::Value as Json;

use super::Gguf;
use crate::data::Sample;
use crate::model::{Batch, Decoder, Loading, Matrix};
use crate::tokenizer::Tokenizer;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures")
}

fn fixture(name: &str) -> PathBuf {
    fixtures().join("gguf").join(name)
}

fn logits(path: &Path) -> (Decoder, Vec<f32>) {
    let decoder = Decoder::load(path, Loading::frozen(DType::F32)).unwrap();
    let sample = Sample {
        input_ids: (3..40).map(|id| id * 7 % 320).collect(),
        labels: vec![-100; 37],
    };
    let batch = Batch::new([&sample]).unwrap();
    let logits = decoder.logits(&batch, false).unwrap();
    let logits = logits.flatten_all().unwrap().to_vec1().unwrap();
    (decoder, logits)
}

#[test]
fn a_gguf_in_f32_computes_the_same_bits_as_its_safetensors_twin() {
    let (_, got) = logits(&fixture("llama-tied-f32.gguf"));
    let (_, expected) = logits(&fixtures().join("goldens/llama-tied/model"));
    assert_eq!(got, expected);
}

#[test]
fn packed_tensors_stay_packed_and_compute_nearly_what_the_safetensors_twin_does() {
    for (file, case) in [
        ("llama-tied-q8_0.gguf", "llama-tied"),
        ("qwen2-q8_0.gguf", "qwen2"),
    ] {
        let (decoder, got) = logits(&fixture(file));
        let linears: Vec<_> = decoder.linears().map(|linear| &linear.weight).collect();
        assert!(
            linears
                .iter()
                .all(|weight| matches!(weight, Matrix::Packed(_)))
        );
        let (bytes, weights) = linears.iter().fold((0, 0), |(bytes, weights), matrix| {
            (bytes + matrix.bytes(), weights + matrix.len())
        });
        assert_eq!(bytes, weights * 34 / 32);
        let (_, expected) = logits(&fixtures().join("goldens").join(case).join("model"));
        let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
        for (got, expected) in got.iter().zip(&expected) {
            assert!(
                (got - expected).abs() < 0.03 * largest,
                "{file}: {got}, {expected}, largest {largest}"
            );
        }
    }
}

#[test]
fn tokenizers_of_the_metadata_cut_text_as_their_makers_do() {
    let text = std::fs::read_to_string(fixture("tokenizers.json")).unwrap();
    let expected: Json = serde_json::from_str(&text).unwrap();
    for kind in ["bpe", "spm"] {
        let tokenizer = Tokenizer::load(&fixture(&format!("tokenizer-{kind}.gguf"))).unwrap();
        let texts = expected["texts"].as_array().unwrap();
        for (text, ids) in texts.iter().zip(expected[kind].as_array().unwrap()) {
            let text = text.as_str().unwrap();
            let ids: Vec<u32> = ids
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_u64().unwrap() as u32)
                .collect();
            let got = tokenizer.encode(text, false).unwrap();
            assert_eq!(got, ids, "{kind}: {text:?}");
            assert_eq!(tokenizer.decode(&got, false).unwrap(), text, "{kind}");
        }
    }
    let bpe = Tokenizer::load(&fixture("tokenizer-bpe.gguf")).unwrap();
    assert_eq!(bpe.eos_ids(), [0, 6]);
    assert!(bpe.is_byte_level() && bpe.is_special(5) && bpe.prefix().is_empty());
    assert!(bpe.chat_template().unwrap().contains("im_start"));
    let spm = Tokenizer::load(&fixture("tokenizer-spm.gguf")).unwrap();
    assert_eq!(spm.prefix(), [1]);
    assert_eq!(spm.special_tokens().bos.as_deref(), Some("<s>"));
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.gguf");
    let whole = std::fs::read(fixture("qwen2-q8_0.gguf")).unwrap();
    let lengths = (0..3000)
        .step_by(7)
        .chain((3000..whole.len()).step_by(20_011));
    for len in lengths {
        std::fs::write(&path, &whole[..len]).unwrap();
        let error = Gguf::open(&path)
            .err()
            .expect("a file that is cut off")
            .to_string();
        assert!(error.contains("cut.gguf"), "{error}");
    }
}

#[test]
fn a_head_with_any_byte_changed_is_read_or_refused_but_never_taken_at_its_word() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bent.gguf");
    let whole = std::fs::read(fixture("qwen2-q8_0.gguf")).unwrap();
    let mut refused = 0;
    for at in (0..2500).step_by(7) {
        for value in [0x00, 0xff] {
            let mut bent = whole.clone();
            bent[at] = value;
            std::fs::write(&path, &bent).unwrap();
            if let Err(error) = Decoder::load(&path, Loading::frozen(DType::F32)) {
                assert!(
                    error.to_string().contains("bent.gguf"),
                    "byte {at}: {error}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 150, "{refused}");
}

/// A file that says what `head` holds and nothing more.
fn refusal(head: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.gguf");
    std::fs::write(&path, head).unwrap();
    Gguf::open(&path).err().expect("a bad file").to_string()
}

#[test]
fn bad_heads_are_refused_with_the_reason() {
    let counts = |tensors: u64, keys: u64| {
        [
            b"GGUF".as_slice(),
            &3u32.to_le_bytes(),
            &tensors.to_le_bytes(),
            &keys.to_le_bytes(),
        ]
        .concat()
    };
    assert!(refusal(b"PK\x03\x04 whatever").contains("no GGUF file"));
    assert!(refusal(&[b"GGUF".as_slice(), &9u32.to_le_bytes()].concat()).contains("version 9"));
    assert!(refusal(&counts(u64::MAX, 0)).contains("promises 18446744073709551615 tensors"));
    assert!(refusal(&counts(0, 1 << 60)).contains("keys"));
    let tensor = |sizes: &[u64], kind: u32, offset: u64| {
        let mut head = counts(1, 0);
        head.extend(1u64.to_le_bytes());
        head.push(b't');
        head.extend((sizes.len() as u32).to_le_bytes());
        sizes
            .iter()
            .for_each(|size| head.extend(size.to_le_bytes()));
        head.extend(kind.to_le_bytes());
        head.extend(offset.to_le_bytes());
        head.resize(head.len() + 256, 0);
        head
    };
    assert!(refusal(&tensor(&[1 << 40, 1 << 40], 0, 0)).contains("over the end"));
    assert!(refusal(&tensor(&[4, 4], 0, u64::MAX - 8)).contains("over the end"));
    assert!(refusal(&tensor(&[4, 4], 0, 4)).contains("alignment"));
    assert!(refusal(&tensor(&[33, 2], 8, 0)).contains("block of 32"));
    assert!(refusal(&tensor(&[256, 1], 10, 0)).contains("ggml type 10"));
    assert!(refusal(&tensor(&[1, 1, 1, 1, 1], 0, 0)).contains("5 dimensions"));
    let mut list = counts(0, 1);
    list.extend(1u64.to_le_bytes());
    list.push(b'k');
    list.extend(9u32.to_le_bytes());
    list.extend(0u32.to_le_bytes());
    list.extend((1u64 << 40).to_le_bytes());
    assert!(refusal(&list).contains("list of 1099511627776 values"));
}
