//! The cases that PyTorch, Transformers and PEFT computed, trained on the emulated device.

use std::path::{Path, PathBuf};

use candle_core::DType;

use super::super::Decoder;
use super::super::adapters::AdamWStep;
use super::*;
use crate::data::Sample;
use crate::lora::read_adapter;
use crate::model::{self, Batch, Loading};
use crate::optim::clip_factor;

pub(super) fn folder(case: &str) -> PathBuf {
    fixtures().join("goldens").join(case)
}

/// Every folder with a case.
pub(super) fn cases() -> Vec<String> {
    let entries = std::fs::read_dir(folder(""))
        .unwrap()
        .map(|entry| entry.unwrap());
    let mut cases: Vec<String> = entries
        .filter(|entry| entry.path().join("golden.safetensors").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    cases.sort();
    assert!(cases.len() >= 9, "{cases:?}");
    cases
}

/// Tensors of a file, in f32.
fn tensors(path: &Path) -> std::collections::HashMap<String, candle_core::Tensor> {
    candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap()
}

fn batch(case: &str) -> Batch {
    let all = tensors(&folder(case).join("golden.safetensors"));
    let rows = |name: &str| all[name].to_vec2::<i64>().unwrap();
    let (ids, mask, labels) = (rows("input_ids"), rows("attention_mask"), rows("labels"));
    let samples: Vec<Sample> = ids
        .iter()
        .zip(&mask)
        .zip(&labels)
        .map(|((ids, mask), labels)| {
            let len = mask.iter().filter(|&&on| on == 1).count();
            Sample {
                input_ids: ids[..len].iter().map(|&id| id as u32).collect(),
                labels: labels[..len].to_vec(),
            }
        })
        .collect();
    Batch::new(&samples).unwrap()
}

pub(super) fn loaded(case: &str) -> model::Decoder {
    let loading = Loading::frozen(DType::F32);
    let mut decoder = model::Decoder::load(&folder(case).join("model"), loading).unwrap();
    read_adapter(&mut decoder, &folder(case).join("adapter_init"), true).unwrap();
    decoder
}

#[test]
fn rows_of_tokens_that_do_not_train_are_read_as_on_the_cpu() {
    for case in ["resized-tokens", "tokens-apart", "tokens-gemma3"] {
        let mut cpu = loaded(case);
        read_adapter(&mut cpu, &folder(case).join("adapter_init"), false).unwrap();
        let placed = Decoder::place(device(Element::F32), &cpu).unwrap();
        for adapter in [false, true] {
            let batch = batch(case);
            let losses = |tokens: Vec<model::TokenLoss>| {
                let losses = tokens.into_iter().map(|token| token.loss);
                losses.collect::<Vec<f32>>()
            };
            let expected = losses(cpu.token_losses(&batch, adapter).unwrap());
            let got = losses(placed.token_losses(&batch, adapter).unwrap());
            assert_near(case, 2e-5, &got, &expected);
        }
    }
}

/// Losses and norms of the golden's first steps of AdamW, of twelve, and the decoder behind them.
fn trained(
    case: &str,
    element: Element,
    cpu: &model::Decoder,
    steps: i32,
) -> (Vec<f64>, Vec<f64>, Decoder) {
    let placed = Decoder::place(device(element), cpu).unwrap();
    let (batch, trainable) = (batch(case), cpu.trainable());
    let moments = placed.adapters.moments(&placed.device).unwrap();
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 1..=steps {
        placed.adapters.gradients.zero().unwrap();
        let scale = 1.0 / batch.supervised as f32;
        let loss = placed.loss_and_gradient(&batch, scale, None).unwrap();
        losses.push(loss / batch.supervised as f64);
        let norm = placed.gradient_norm().unwrap();
        norms.push(norm);
        let rate = 2e-3 / (1.0 - 0.9f64.powi(step));
        let rates = trainable.iter().map(|parameter| {
            let decays =
                parameter.value.rank() > 1 || parameter.name.ends_with("lora_magnitude_vector");
            (
                rate as f32,
                if decays {
                    (1.0 - 2e-3 * 0.01) as f32
                } else {
                    1.0
                },
            )
        });
        let update = AdamWStep {
            clip: clip_factor(norm, 1.0),
            betas: [0.9, 0.999],
            inverse_root: (1.0 / (1.0 - 0.999f64.powi(step)).sqrt()) as f32,
            epsilon: 1e-8,
            rates: rates.collect(),
        };
        placed
            .adapters
            .adamw(&placed.device, &moments, &update)
            .unwrap();
    }
    (losses, norms, placed)
}

fn expected(case: &str, what: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(folder(case).join("golden.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(golden[what].clone()).unwrap()
}

#[test]
fn every_loss_norm_and_trained_adapter_are_those_of_peft() {
    for case in &cases() {
        let cpu = loaded(case);
        // All steps of a few: the emulated machine is slow. A GPU makes all of all.
        let whole = [
            "qwen2",
            "gemma2",
            "llama-dora",
            "ends-dora",
            "saved-modules-norms",
            "tokens-apart",
        ];
        let whole = whole.contains(&case.as_str());
        let whole = whole || std::env::var("CODETUNE_TEST_DEVICE").is_ok();
        let steps = if whole { 12 } else { 3 };
        let (losses, norms, placed) = trained(case, Element::F32, &cpu, steps);
        for (step, (got, expected)) in losses.iter().zip(expected(case, "losses")).enumerate() {
            let error = (got - expected).abs() / expected;
            assert!(
                error < 2e-5,
                "{case} step {}: {got}, expected {expected}",
                step + 1
            );
        }
        for (step, (got, expected)) in norms.iter().zip(expected(case, "grad_norms")).enumerate() {
            let error = (got - expected).abs() / expected;
            assert!(
                error < 1e-4,
                "{case} step {}: norm {got}, expected {expected}",
                step + 1
            );
        }
        if !whole {
            continue;
        }
        let reference = tensors(&folder(case).join("adapter_trained/adapter_model.safetensors"));
        let first = tensors(&folder(case).join("golden.safetensors"));
        let check = |parameter: &model::Parameter, got: &[f32]| {
            let expected = values(&reference[&parameter.name]);
            let gradient = values(&first[&format!("grad.{}", parameter.name)]);
            let size = expected.iter().fold(0f32, |size, x| size.max(x.abs()));
            for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
                // Where a gradient is below Adam's epsilon rounding chooses the first step, on any machine.
                let decided = !(f32::MIN_POSITIVE..1e-8).contains(&gradient[i].abs());
                let error = (got - expected).abs();
                assert!(
                    !decided || error < 2e-3 * size,
                    "{case} {}[{i}]: {got}, expected {expected}",
                    parameter.name
                );
            }
            Ok(())
        };
        placed.adapters.pull(&cpu.trainable(), check).unwrap();
    }
}

#[test]
fn in_bf16_every_loss_comes_within_its_reach() {
    for case in [
        "qwen2",
        "gemma2",
        "starcoder2",
        "llama-dora",
        "qwen3",
        "phi3",
        "ends-dora",
        "ends-padding",
        "saved-modules-norms",
        "saved-modules-bigcode",
        "tokens-apart",
        "tokens-gemma3",
    ] {
        let cpu = loaded(case);
        let (losses, _, _) = trained(case, Element::Bf16, &cpu, 4);
        for (step, (got, expected)) in losses.iter().zip(expected(case, "losses")).enumerate() {
            let error = (got - expected).abs() / expected;
            assert!(
                error < 1e-2,
                "{case} step {}: {got}, expected {expected}",
                step + 1
            );
        }
    }
}

#[test]
fn gradients_of_every_adapter_tensor_are_those_of_pytorch() {
    for case in &cases() {
        let cpu = loaded(case);
        let placed = Decoder::place(device(Element::F32), &cpu).unwrap();
        let batch = batch(case);
        placed
            .loss_and_gradient(&batch, 1.0 / batch.supervised as f32, None)
            .unwrap();
        let golden = tensors(&folder(case).join("golden.safetensors"));
        let check = |parameter: &model::Parameter, got: &[f32]| {
            let expected = values(&golden[&format!("grad.{}", parameter.name)]);
            assert_near(&format!("{case} {}", parameter.name), 2e-5, got, &expected);
            Ok(())
        };
        placed
            .adapters
            .pull_gradients(&cpu.trainable(), check)
            .unwrap();
    }
}
