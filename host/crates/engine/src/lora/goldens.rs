//! The cases that PyTorch, Transformers and PEFT computed: `tests/fixtures/goldens/make_goldens.py` made them.

use std::path::PathBuf;

use candle_core::{DType, Tensor};
use safetensors::SafeTensors;

use crate::data::Sample;
use crate::lora::{Settings, attach, read_adapter};
use crate::model::{Batch, Decoder, Loading};

/// Every folder with a case.
fn cases() -> Vec<String> {
    let folder = folder("");
    let mut cases: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("golden.safetensors").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    cases.sort();
    assert!(cases.len() >= 9, "{cases:?}");
    cases
}

fn folder(case: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/fixtures/goldens")
        .join(case)
}

struct Golden {
    samples: Vec<Sample>,
    bytes: Vec<u8>,
}

impl Golden {
    fn read(case: &str) -> Self {
        let bytes = std::fs::read(folder(case).join("golden.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let integers = |name: &str| -> Vec<i64> {
            let data = file.tensor(name).unwrap().data();
            data.as_chunks::<8>()
                .0
                .iter()
                .map(|bytes| i64::from_le_bytes(*bytes))
                .collect()
        };
        let (ids, mask, labels) = (
            integers("input_ids"),
            integers("attention_mask"),
            integers("labels"),
        );
        let width = file.tensor("input_ids").unwrap().shape()[1];
        let samples = ids
            .chunks(width)
            .zip(mask.chunks(width))
            .zip(labels.chunks(width))
            .map(|((ids, mask), labels)| {
                let len = mask.iter().filter(|&&on| on == 1).count();
                Sample {
                    input_ids: ids[..len].iter().map(|&id| id as u32).collect(),
                    labels: labels[..len].to_vec(),
                }
            })
            .collect();
        Self {
            samples,
            bytes: bytes.clone(),
        }
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let names: Vec<String> = file
            .names()
            .into_iter()
            .map(|name| name.to_string())
            .collect();
        names.into_iter()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let data = file
            .tensor(name)
            .unwrap_or_else(|_| panic!("no {name}"))
            .data();
        data.as_chunks::<4>()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    }

    /// Rows of padded logits that are no padding, one after the other.
    fn logits(&self, name: &str, vocab: usize) -> Vec<f32> {
        let all = self.floats(name);
        let width = all.len() / vocab / self.samples.len();
        let rows = self.samples.iter().enumerate();
        rows.flat_map(|(at, sample)| {
            all[at * width * vocab..][..sample.input_ids.len() * vocab].to_vec()
        })
        .collect()
    }
}

fn decoder(case: &str) -> Decoder {
    let loading = Loading::frozen(DType::F32);
    Decoder::load(&folder(case).join("model"), loading).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let size = expected.iter().fold(0f32, |size, x| size.max(x.abs()));
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs();
        assert!(
            error <= tolerance * size,
            "{what}[{i}]: {got}, expected {expected} (largest {size})"
        );
    }
}

#[test]
fn logits_of_the_base_and_with_an_adapter_are_those_of_transformers_and_peft() {
    for case in &cases() {
        let golden = Golden::read(case);
        let mut decoder = decoder(case);
        let batch = Batch::new(&golden.samples).unwrap();
        let resized = case.starts_with("resized");
        let base = |decoder: &Decoder| {
            let base = values(&decoder.logits(&batch, false).unwrap());
            let expected = golden.logits("logits_base", decoder.description.vocab);
            assert_close(&format!("{case} base"), &base, &expected, 1e-5);
            base
        };
        let before = (!resized).then(|| base(&decoder));
        read_adapter(&mut decoder, &folder(case).join("adapter_init"), false).unwrap();
        let vocab = decoder.description.vocab;
        let Some(before) = before else {
            // What became of the base is in the adapter's file, but where the adapter has both ends whole.
            if case != "resized-whole" {
                base(&decoder);
            }
            let adapted = values(&decoder.logits(&batch, true).unwrap());
            let expected = golden.logits("logits_adapter", vocab);
            assert_close(&format!("{case} adapter"), &adapted, &expected, 1e-5);
            continue;
        };
        let adapted = values(&decoder.logits(&batch, true).unwrap());
        assert_close(
            &format!("{case} adapter"),
            &adapted,
            &golden.logits("logits_adapter", vocab),
            1e-5,
        );
        let without = values(&decoder.logits(&batch, false).unwrap());
        let what = format!("{case}: the base shows through when adapters are off");
        match decoder.linears().any(|linear| linear.principal.is_some()) {
            // What was taken out of a weight is put back into the sum, not into the weight.
            true => assert_close(&what, &without, &before, 1e-5),
            false => assert_eq!(without, before, "{what}"),
        }
    }
}

#[test]
fn the_gradient_of_every_adapter_tensor_is_that_of_pytorch() {
    for case in &cases() {
        let golden = Golden::read(case);
        let mut decoder = decoder(case);
        read_adapter(&mut decoder, &folder(case).join("adapter_init"), true).unwrap();
        let batch = Batch::new(&golden.samples).unwrap();
        decoder
            .loss_and_gradient(&batch, 1.0 / batch.supervised as f32, None)
            .unwrap();
        let trainable = decoder.trainable();
        let expected = golden
            .names()
            .filter(|name| name.starts_with("grad."))
            .count();
        assert_eq!(trainable.len(), expected, "{case}");
        for parameter in trainable {
            let got = values(parameter.grad.as_ref().unwrap());
            let expected = golden.floats(&format!("grad.{}", parameter.name));
            assert!(
                got.iter().all(|x| x.is_finite()) && got.iter().any(|x| *x != 0.0),
                "{}",
                parameter.name
            );
            assert_close(&format!("{case} {}", parameter.name), &got, &expected, 2e-5);
        }
    }
}

#[test]
fn gradients_are_the_same_bits_on_any_number_of_threads() {
    let golden = Golden::read("qwen2");
    let gradients = |threads: usize| -> Vec<Vec<f32>> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut decoder = decoder("qwen2");
            read_adapter(&mut decoder, &folder("qwen2").join("adapter_init"), true).unwrap();
            let samples: Vec<&Sample> = (0..24).map(|i| &golden.samples[i % 3]).collect();
            let batch = Batch::new(samples).unwrap();
            decoder
                .loss_and_gradient(&batch, 1.0 / batch.supervised as f32, None)
                .unwrap();
            decoder
                .trainable()
                .iter()
                .map(|parameter| values(parameter.grad.as_ref().unwrap()))
                .collect()
        })
    };
    let one = gradients(1);
    assert!(one == gradients(2));
    assert!(one == gradients(5));
}

#[test]
fn a_base_held_in_half_precision_computes_nearly_the_same() {
    for dtype in [DType::BF16, DType::F16] {
        let golden = Golden::read("llama-tied");
        let loading = Loading::frozen(dtype);
        let mut half = Decoder::load(&folder("llama-tied").join("model"), loading).unwrap();
        let mut whole = decoder("llama-tied");
        let batch = Batch::new(&golden.samples).unwrap();
        let loss = |decoder: &mut Decoder| {
            read_adapter(decoder, &folder("llama-tied").join("adapter_init"), true).unwrap();
            decoder.loss_and_gradient(&batch, 1.0, None).unwrap() / batch.supervised as f64
        };
        let (half_loss, whole_loss) = (loss(&mut half), loss(&mut whole));
        assert!(
            (half_loss - whole_loss).abs() < 2e-2,
            "{dtype:?}: {half_loss}, f32 {whole_loss}"
        );
        assert_ne!(half_loss, whole_loss, "{dtype:?}");
        for (half, whole) in half.trainable().iter().zip(whole.trainable()) {
            let (got, expected) = (
                values(half.grad.as_ref().unwrap()),
                values(whole.grad.as_ref().unwrap()),
            );
            assert_close(&format!("{dtype:?} {}", half.name), &got, &expected, 0.1);
        }
    }
}

#[test]
fn a_fresh_adapter_changes_nothing_yet_and_begins_as_in_peft() {
    let mut decoder = decoder("qwen2");
    let settings = Settings::of_run(&domain::LoraConfig::default());
    attach(&mut decoder, &settings, 7).unwrap();
    for linear in decoder.linears() {
        let lora = linear.lora.as_ref().unwrap();
        let (a, b) = (values(&lora.a.value), values(&lora.b.value));
        let bound = 1.0 / (linear.weight.shape().1 as f32).sqrt();
        let largest = a.iter().fold(0f32, |largest, x| largest.max(x.abs()));
        assert!(
            largest <= bound && largest > 0.95 * bound,
            "{}: {largest}, bound {bound}",
            linear.name
        );
        assert!(b.iter().all(|x| *x == 0.0), "{}", linear.name);
        assert_eq!(lora.scale, 2.0);
    }
    let gaussian = domain::LoraConfig {
        init_lora_weights: domain::InitLoraWeights::Named("gaussian".into()),
        ..Default::default()
    };
    attach(&mut decoder, &Settings::of_run(&gaussian), 7).unwrap();
    let all: Vec<f32> = decoder
        .linears()
        .flat_map(|linear| values(&linear.lora.as_ref().unwrap().a.value))
        .collect();
    let deviation = (all.iter().map(|x| f64::from(x * x)).sum::<f64>() / all.len() as f64).sqrt();
    assert!((deviation - 1.0 / 16.0).abs() < 2e-3, "{deviation}");
}

#[test]
fn an_orthogonal_start_adds_nothing_though_neither_side_is_zero() {
    let mut decoder = decoder("qwen2");
    let mut settings = Settings::of_run(&domain::LoraConfig {
        init_lora_weights: domain::InitLoraWeights::Named("orthogonal".into()),
        ..Default::default()
    });
    attach(&mut decoder, &settings, 7).unwrap();
    let mut squares = (0.0, 0);
    for linear in decoder.linears() {
        let lora = linear.lora.as_ref().unwrap();
        let product = values(&lora.b.value.matmul(&lora.a.value).unwrap());
        assert!(product.iter().all(|x| x.abs() < 1e-5), "{}", linear.name);
        for x in [values(&lora.a.value), values(&lora.b.value)].concat() {
            squares = (squares.0 + f64::from(x * x), squares.1 + 1);
        }
    }
    // Half of the rows of an orthogonal matrix of normal values, a tenth of each.
    let deviation = (squares.0 / f64::from(squares.1)).sqrt();
    assert!((deviation - 0.1 / 2f64.sqrt()).abs() < 2e-3, "{deviation}");
    settings.r = 3;
    let message = attach(&mut decoder, &settings, 7).unwrap_err().to_string();
    assert!(message.contains("even rank"), "{message}");
}

#[test]
fn a_base_in_16_bits_has_the_loss_of_one_in_f32_within_half_a_percent() {
    for case in &cases() {
        let golden = Golden::read(case);
        let loss = |dtype| {
            let loading = Loading::frozen(dtype);
            let mut decoder = Decoder::load(&folder(case).join("model"), loading).unwrap();
            read_adapter(&mut decoder, &folder(case).join("adapter_init"), true).unwrap();
            let batch = Batch::new(&golden.samples).unwrap();
            let losses = decoder.token_losses(&batch, true).unwrap();
            losses
                .iter()
                .map(|token| f64::from(token.loss))
                .sum::<f64>()
        };
        let exact = loss(DType::F32);
        for dtype in [DType::BF16, DType::F16] {
            let error = (loss(dtype) - exact).abs() / exact;
            assert!(error < 0.005, "{case} {dtype:?}: {error}");
        }
    }
}

/// Runs these goldens again in a process of its own for each set of instructions, as a process looks its own up once.
/// The crate `gemm`, which multiplies below AVX-512, chooses its kernels itself; all other vector code obeys.
#[test]
fn every_fallback_of_the_vector_code_passes_the_goldens_when_forced() {
    for level in ["base", "avx2", "avx512", "avx512-bf16"] {
        let run = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["lora::goldens", "ops::", "--skip", "every_fallback"])
            .env("CODETUNE_TEST_VECTORS", level)
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{level}: {out}");
        assert!(!out.contains(" 0 passed"), "{level}: {out}");
    }
}

#[test]
fn gradients_are_the_same_bits_with_segments_of_any_size_and_without() {
    for case in ["llama-tied", "qwen2"] {
        let mut decoder = decoder(case);
        read_adapter(&mut decoder, &folder(case).join("adapter_init"), true).unwrap();
        for linear in decoder.linears_mut() {
            linear.lora.as_mut().unwrap().dropout = 0.1;
        }
        let samples: Vec<Sample> = [17u32, 30, 9]
            .iter()
            .map(|&len| Sample {
                input_ids: (3..3 + len).collect(),
                labels: (3..3 + i64::from(len)).collect(),
            })
            .collect();
        let batch = Batch::new(&samples).unwrap();
        let mut whole = None;
        for segment in [0, 1, 2, 3, 7] {
            decoder.segment = segment;
            for parameter in decoder.trainable() {
                crate::ops::zero(parameter.grad.as_ref().unwrap()).unwrap();
            }
            let loss = decoder.loss_and_gradient(&batch, 0.1, Some(5)).unwrap();
            let mut all = vec![vec![loss as f32]];
            for parameter in decoder.trainable() {
                all.push(values(parameter.grad.as_ref().unwrap()));
            }
            match &whole {
                None => whole = Some(all),
                Some(whole) => assert!(*whole == all, "{case}, segments of {segment}"),
            }
        }
    }
}

#[test]
fn pissa_and_olora_begin_with_the_product_that_peft_finds_and_leave_the_same_rest() {
    for (case, init, decomposed) in [
        ("pissa", "pissa", false),
        ("pissa-rslora-dora", "pissa", true),
        ("olora", "olora", false),
    ] {
        let reference = std::fs::read(folder(case).join("fresh.safetensors")).unwrap();
        let reference = SafeTensors::deserialize(&reference).unwrap();
        let expected = |name: String| -> Vec<f32> {
            let view = reference.tensor(&name).unwrap();
            let floats = view.data().as_chunks::<4>().0.iter();
            floats.map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        let mut decoder = decoder(case);
        let mut settings = Settings::read(&folder(case).join("adapter_init")).unwrap();
        assert_eq!(settings.use_dora, decomposed);
        settings.init = domain::InitLoraWeights::Named(init.into());
        attach(&mut decoder, &settings, 7).unwrap();
        let mut compared = 0;
        for linear in decoder.linears() {
            let Some(lora) = &linear.lora else { continue };
            let start = lora.b.value.matmul(&lora.a.value).unwrap();
            let start = values(&(start * f64::from(lora.scale)).unwrap());
            let rest = values(&linear.weight.dense().unwrap());
            let name = format!("base_model.model.{}", linear.name);
            // PEFT's own product, found in f32, lies up to 1.3e-5 from the exact one of these weights.
            assert_close(&name, &start, &expected(format!("start.{name}")), 1.5e-5);
            assert_close(&name, &rest, &expected(format!("rest.{name}")), 1.5e-5);
            compared += 1;
        }
        assert!(compared >= 4, "{case}");
    }
}

#[test]
fn an_adapter_merged_into_its_base_answers_the_same_without_one() {
    for case in &cases() {
        let golden = Golden::read(case);
        let mut decoder = decoder(case);
        read_adapter(&mut decoder, &folder(case).join("adapter_init"), false).unwrap();
        let batch = Batch::new(&golden.samples).unwrap();
        let apart = values(&decoder.logits(&batch, true).unwrap());
        decoder.merge_adapter().unwrap();
        assert!(decoder.adapter_parameters().is_empty(), "{case}");
        for adapter in [true, false] {
            let merged = values(&decoder.logits(&batch, adapter).unwrap());
            assert_close(&format!("{case} merged"), &merged, &apart, 1e-5);
        }
    }
}
