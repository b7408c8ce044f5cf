use candle_core::DType;
use domain::Quantize;

use super::super::Decoder;
use super::super::emulated::Emulated;
use super::*;
use crate::data::Sample;
use crate::lora::{Settings, attach};
use crate::model::{self, Batch, Loading, Weigh};

pub(super) fn decoder(
    case: &str,
    quantize: Option<Quantize>,
    lora: domain::LoraConfig,
) -> model::Decoder {
    let folder = fixtures().join("goldens").join(case).join("model");
    let loading = Loading {
        quantize,
        ..Loading::frozen(DType::F32)
    };
    let mut decoder = model::Decoder::load(&folder, loading).unwrap();
    attach(&mut decoder, &Settings::of_run(&lora), 3).unwrap();
    // A fresh B is zero, and A would then have no gradient.
    for parameter in decoder
        .trainable()
        .iter()
        .filter(|p| p.name.contains("lora_B"))
    {
        let count = parameter.value.elem_count();
        let drawn = tensor(&random(&parameter.name, count, Element::F32), 1, count);
        let flat = parameter.value.reshape((1, count)).unwrap();
        crate::ops::assign(&flat, &(drawn * 0.02).unwrap()).unwrap();
    }
    decoder
}

fn samples(lens: &[usize]) -> Vec<Sample> {
    let ids = |sample: usize, len: usize| {
        (0..len).map(move |i| ((sample * 31 + i * i * 7) % 90 + 3) as u32)
    };
    lens.iter()
        .enumerate()
        .map(|(sample, &len)| Sample {
            input_ids: ids(sample, len).collect(),
            labels: ids(sample, len)
                .enumerate()
                .map(|(i, id)| if i % 3 == 1 { -100 } else { i64::from(id) })
                .collect(),
        })
        .collect()
}

/// Loss and gradients of both sides, for the same draw.
fn held_to_the_cpu(what: &str, cpu: &model::Decoder, lens: &[usize], draw: Option<u64>) {
    let batch = Batch::new(&samples(lens)).unwrap();
    let placed = Decoder::place(device(Element::F32), cpu).unwrap();
    let scale = 1.0 / batch.supervised as f32;
    let expected = cpu.loss_and_gradient(&batch, scale, draw).unwrap();
    let got = placed.loss_and_gradient(&batch, scale, draw).unwrap();
    assert!(
        (got - expected).abs() < 2e-5 * expected,
        "{what}: {got}, expected {expected}"
    );
    let check = |parameter: &model::Parameter, got: &[f32]| {
        let grad = parameter.grad.as_ref().unwrap();
        assert!(got.iter().any(|x| *x != 0.0), "{what} {}", parameter.name);
        assert_near(
            &format!("{what} {}", parameter.name),
            5e-5,
            got,
            &values(grad),
        );
        crate::ops::zero(grad).map_err(Into::into)
    };
    placed
        .adapters
        .pull_gradients(&cpu.trainable(), check)
        .unwrap();
}

#[test]
fn a_step_with_dropout_draws_and_counts_as_on_the_cpu() {
    for use_dora in [false, true] {
        let lora = domain::LoraConfig {
            lora_dropout: 0.25,
            use_dora,
            r: 4,
            ..domain::LoraConfig::default()
        };
        let cpu = decoder("qwen2", None, lora);
        held_to_the_cpu(&format!("dora {use_dora}"), &cpu, &[9, 40, 3], Some(77));
    }
}

#[test]
fn all_weights_of_a_family_train_as_on_the_cpu() {
    // Norms of heads, of whole rows and with biases, learned positions, own and tied heads.
    for case in [
        "qwen3",
        "gemma3",
        "starcoder2",
        "gpt-bigcode",
        "olmo2",
        "granite",
    ] {
        let folder = fixtures().join("goldens").join(case).join("model");
        let loading = Loading {
            trainable: true,
            ..Loading::frozen(DType::F32)
        };
        let cpu = model::Decoder::load(&folder, loading).unwrap();
        held_to_the_cpu(case, &cpu, &[9, 21, 3], None);
    }
}

#[test]
fn noise_on_embeddings_is_drawn_as_on_the_cpu() {
    let mut cpu = decoder("gemma2", None, domain::LoraConfig::default());
    cpu.neftune_noise_alpha = 5.0;
    held_to_the_cpu("noise", &cpu, &[9, 40, 3], Some(77));
    // It is on.
    let batch = Batch::new(&samples(&[9])).unwrap();
    let placed = Decoder::place(device(Element::F32), &cpu).unwrap();
    let loss = |draw| placed.loss_and_gradient(&batch, 1.0, draw).unwrap();
    assert_ne!(loss(Some(77)), loss(Some(78)));
    assert_ne!(loss(Some(77)), loss(None));
}

#[test]
fn losses_that_weigh_by_themselves_train_as_on_the_cpu() {
    let cpu = decoder("qwen2", None, domain::LoraConfig::default());
    let batch = Batch::new(&samples(&[30, 12])).unwrap();
    let placed = Decoder::place(device(Element::F32), &cpu).unwrap();
    let mut weigh = |losses: &[f32]| -> crate::Result<Vec<f32>> {
        assert_eq!(losses.len(), batch.supervised);
        Ok(losses.iter().map(|loss| loss * loss - 3.0).collect())
    };
    let weigh = &mut Weigh::ByLosses(&mut weigh);
    let expected = cpu.weighted_loss_and_gradient(&batch, weigh, None).unwrap();
    let got = placed
        .weighted_loss_and_gradient(&batch, weigh, None)
        .unwrap();
    assert!((got - expected).abs() < 2e-5 * expected);
    let check = |parameter: &model::Parameter, got: &[f32]| {
        let expected = values(parameter.grad.as_ref().unwrap());
        assert_near(&parameter.name, 5e-5, got, &expected);
        Ok(())
    };
    placed
        .adapters
        .pull_gradients(&cpu.trainable(), check)
        .unwrap();
}

#[test]
fn other_values_are_lent_for_as_long_as_they_are_used() {
    let lora = domain::LoraConfig {
        use_dora: true,
        ..domain::LoraConfig::default()
    };
    let cpu = decoder("qwen2", None, lora);
    let batch = Batch::new(&samples(&[30])).unwrap();
    for element in ELEMENTS {
        let placed = Decoder::place(device(element), &cpu).unwrap();
        let losses = || placed.token_losses(&batch, true).unwrap();
        let trainable = cpu.trainable();
        let others = trainable.iter().map(|one| (&one.value * 1.5).unwrap());
        let others: Vec<Tensor> = others.collect();
        let before = losses();
        let with = placed
            .adapters
            .with_values(&placed.device, &others, || Ok(losses()));
        assert_ne!(with.unwrap(), before);
        assert_eq!(losses(), before);
    }
}

#[test]
fn a_packed_base_trains_as_on_the_cpu() {
    for quantize in [Quantize::Nf4, Quantize::Q4k, Quantize::Q8_0] {
        let cpu = decoder(
            "mistral-window",
            Some(quantize),
            domain::LoraConfig::default(),
        );
        held_to_the_cpu(&format!("{quantize:?}"), &cpu, &[33, 8], None);
    }
}

#[test]
fn segments_change_no_bit_and_all_memory_is_given_back() {
    let mut cpu = decoder("gemma3", None, domain::LoraConfig::default());
    let batch = Batch::new(&samples(&[50, 20])).unwrap();
    let mut found: Vec<(f64, Vec<f32>)> = Vec::new();
    let mut peaks = Vec::new();
    for segment in [0, 1, 2] {
        cpu.segment = segment;
        let machine = std::sync::Arc::new(Emulated::default());
        let on = Device {
            machine: machine.clone(),
            element: Element::F32,
        };
        let placed = Decoder::place(on, &cpu).unwrap();
        // Tables of positions stay for the next batch.
        placed
            .tables
            .of(&placed.device, &cpu.description, 50)
            .unwrap();
        let at_rest = machine.held();
        let loss = placed.loss_and_gradient(&batch, 0.01, None).unwrap();
        assert_eq!(machine.held(), at_rest);
        found.push((loss, placed.adapters.gradients.read().unwrap()));
        peaks.push(machine.most());
        drop(placed);
        assert_eq!(machine.held(), 0);
    }
    assert!(found.iter().all(|one| *one == found[0]));
    assert!(peaks[1] < peaks[0], "{peaks:?}");
}

#[test]
fn losses_of_tokens_are_those_of_the_cpu() {
    let cpu = decoder("gemma2", None, domain::LoraConfig::default());
    let placed = Decoder::place(device(Element::F32), &cpu).unwrap();
    let batch = Batch::new(&samples(&[30, 12])).unwrap();
    for adapter in [true, false] {
        let expected = cpu.token_losses(&batch, adapter).unwrap();
        let got = placed.token_losses(&batch, adapter).unwrap();
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!(
                (got.loss - expected.loss).abs() < 1e-4,
                "{got:?}, expected {expected:?}"
            );
            assert_eq!(got.likeliest, expected.likeliest);
        }
    }
}

#[test]
fn moments_and_values_come_back_as_they_went() {
    let cpu = decoder("qwen2", None, domain::LoraConfig::default());
    for element in ELEMENTS {
        let placed = Decoder::place(device(element), &cpu).unwrap();
        let (adapters, on) = (&placed.adapters, &placed.device);
        let states: Vec<Vec<f32>> = cpu
            .trainable()
            .iter()
            .map(|parameter| {
                random(
                    &parameter.name,
                    2 * parameter.value.elem_count(),
                    Element::F32,
                )
            })
            .collect();
        let moments = adapters.moments(on).unwrap();
        adapters.push_moments(&moments, &states).unwrap();
        assert_eq!(adapters.pull_moments(&moments).unwrap(), states);
        let same = |parameter: &model::Parameter, got: &[f32]| {
            assert_eq!(got, values(&parameter.value), "{}", parameter.name);
            Ok(())
        };
        adapters.pull(&cpu.trainable(), same).unwrap();
    }
}
