//! Texts that are written on a device are those that the processor writes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use candle_core::DType;
use domain::{LoraConfig, Quantize};

use super::super::Decoder;
use super::super::emulated::{Emulated, plug};
use super::goldens::{cases, folder, loaded};
use super::*;
use crate::generate::{
    GenerateRequest, Generator, Held, Placement, TextModel, complete, goldens, greedy,
};
use crate::lora::read_adapter;
use crate::model::{self, Loading};
use crate::tokenizer::Tokenizer;

/// Prompts whose tokens go row by row, by tiles, and by tiles behind earlier ones.
fn prompts() -> Vec<Vec<u32>> {
    [5, 52, 17]
        .map(|len| (0..len).map(|i| (i * 37 + len) % 90 + 3).collect())
        .into()
}

fn on_a_gpu() -> bool {
    std::env::var("CODETUNE_TEST_DEVICE").is_ok()
}

/// Logits of both sides while a text is read in pieces and then token by token.
fn same_logits(what: &str, tolerance: f32, placed: &Decoder, cpu: &model::Decoder) {
    let ids: Vec<u32> = (0..60).map(|i| (i * 37 + 11) % 90 + 3).collect();
    for adapter in [true, false] {
        let mut expected = cpu.cache(60).unwrap();
        let mut got = placed.cache(60).unwrap();
        for (from, to) in [(0, 50), (50, 53), (53, 54), (54, 55), (55, 60)] {
            let tokens = &ids[from..to];
            let expected = cpu.read(&mut expected, tokens, adapter).unwrap();
            let got = placed.read(&mut got, tokens, adapter).unwrap();
            let what = format!("{what} adapter {adapter} upto {to}");
            assert_near(&what, tolerance, &got, &expected);
        }
    }
}

#[test]
fn every_family_writes_on_a_device_what_it_writes_on_the_processor() {
    for case in &cases() {
        let cpu = loaded(case);
        let placed = Decoder::place(device(Element::F32), &cpu).unwrap();
        same_logits(case, 1e-4, &placed, &cpu);
        let together = greedy(&placed, &prompts(), 8).unwrap();
        assert_eq!(together, greedy(&cpu, &prompts(), 8).unwrap(), "{case}");
        let alone = prompts().into_iter().map(|prompt| {
            let mut texts = greedy(&placed, &[prompt], 8).unwrap();
            texts.swap_remove(0)
        });
        assert_eq!(together, alone.collect::<Vec<_>>(), "{case}");
    }
}

#[test]
fn phi3_reads_a_text_anew_on_a_device_too() {
    let cpu = goldens::decoder("phi3-longrope");
    goldens::hold_crossing(&Decoder::place(device(Element::F32), &cpu).unwrap());
}

#[test]
fn in_bf16_the_logits_come_within_its_reach() {
    for case in [
        "qwen2",
        "gemma2",
        "starcoder2",
        "llama-dora",
        "qwen3",
        "phi3",
    ] {
        let loading = Loading::frozen(DType::BF16);
        let mut cpu = model::Decoder::load(&folder(case).join("model"), loading).unwrap();
        read_adapter(&mut cpu, &folder(case).join("adapter_init"), true).unwrap();
        let placed = Decoder::place(device(Element::Bf16), &cpu).unwrap();
        // Eight bits, rounded some twenty times on the way through three layers: of thousands of logits the worst is off
        // by a little more than a hundredth of the largest.
        same_logits(case, 2e-2, &placed, &cpu);
    }
}

#[test]
fn a_packed_base_with_an_adapter_writes_as_on_the_cpu() {
    for quantize in [Quantize::Nf4, Quantize::Q4k, Quantize::Q8_0] {
        let cpu = super::step::decoder("mistral-window", Some(quantize), LoraConfig::default());
        let placed = Decoder::place(device(Element::F32), &cpu).unwrap();
        same_logits(&format!("{quantize:?}"), 1e-4, &placed, &cpu);
        let expected = greedy(&cpu, &prompts(), 8).unwrap();
        assert_eq!(greedy(&placed, &prompts(), 8).unwrap(), expected);
    }
}

#[test]
fn beams_and_settings_on_a_device_write_what_transformers_writes() {
    let placed: BTreeMap<String, Decoder> = goldens::decoders()
        .iter()
        .map(|(name, cpu)| {
            let placed = Decoder::place(device(Element::F32), cpu).unwrap();
            (name.clone(), placed)
        })
        .collect();
    // Some of them: the emulated machine is slow. A GPU writes all.
    let each = if on_a_gpu() { 1 } else { 11 };
    assert!(goldens::hold_texts(&placed, each) > 10);
    assert!(goldens::hold_beams(&placed, each) > 10);
}

#[test]
fn a_text_gives_its_memory_back_and_takes_no_more_than_it_has_room_for() {
    let cpu = loaded("gpt-bigcode");
    let machine = Arc::new(Emulated::default());
    let on = Device {
        machine: machine.clone(),
        element: Element::F32,
    };
    let placed = Decoder::place(on, &cpu).unwrap();
    let at_rest = machine.held();
    greedy(&placed, &prompts(), 3).unwrap();
    assert_eq!(machine.held(), at_rest);

    let mut cache = placed.cache(4).unwrap();
    let mut refuses = |tokens: &[u32], words: &str| {
        let error = placed.read(&mut cache, tokens, true).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    };
    refuses(&[1, 2, 3, 4, 5], "room for 4");
    refuses(&[96], "token 96 in a vocabulary of 96");
    // Learned positions end: a kernel would read whatever lies behind them.
    let mut cache = placed.cache(70).unwrap();
    let error = placed.read(&mut cache, &[5; 65], true).unwrap_err();
    assert!(error.to_string().contains("position 64"), "{error}");
}

#[test]
fn a_copy_goes_on_alone() {
    let placed = Decoder::place(device(Element::F32), &loaded("gemma2")).unwrap();
    let mut cache = placed.cache(40).unwrap();
    placed.read(&mut cache, &prompts()[2], true).unwrap();
    let mut copy = placed.copied(&cache).unwrap();
    let other = placed.read(&mut copy, &[40], true).unwrap();
    let own = placed.read(&mut cache, &[41], true).unwrap();
    assert_ne!(own, other);
    let mut again = placed.cache(40).unwrap();
    let whole = [&prompts()[2][..], &[41]].concat();
    let expected = placed.read(&mut again, &whole, true).unwrap();
    assert_near("behind a copy", 1e-5, &own, &expected);
}

/// The shipped model, which has a tokenizer.
fn sample() -> std::path::PathBuf {
    fixtures().join("../../host/sample/model")
}

fn on(device: &str) -> Placement {
    Placement {
        device: device.into(),
        ..Placement::default()
    }
}

#[test]
fn a_generator_on_a_device_writes_the_texts_of_one_on_the_cpu() {
    let model = sample();
    let request = |prompt: &str, num_beams| GenerateRequest {
        prompt: prompt.into(),
        max_new_tokens: 6,
        num_beams,
        ..GenerateRequest::default()
    };
    let requests = [
        request("def add(a, b):", 1),
        request("import os\nimport", 2),
        request("class", 1),
    ];
    let texts = |generator: &Generator| -> Vec<String> {
        let mut nothing = |_: usize, _: &str| ControlFlow::Continue(());
        let all = generator.generate_all(&requests, &mut nothing).unwrap();
        all.into_iter().map(|one| one.text).collect()
    };
    let expected = texts(&Generator::load(&model, None).unwrap());
    if !on_a_gpu() {
        plug(Some(Arc::new(Emulated::default())));
    }
    let generator = Generator::load_on(&model, None, false, &on("cuda"));
    plug(None);
    assert_eq!(texts(&generator.unwrap()), expected);
}

#[test]
fn a_model_is_measured_on_a_device_as_on_the_cpu_however_little_fits_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.jsonl");
    let row = |n: usize| {
        let text = format!("def f{n}(x):\n    return x + {n}\n").repeat(6);
        format!("{}\n", serde_json::json!({ "text": text }))
    };
    std::fs::write(&path, (0..6).map(row).collect::<String>()).unwrap();
    let data = domain::DataConfig {
        path: Some(path.display().to_string()),
        ..domain::DataConfig::default()
    };
    let expected = crate::evaluate(&sample(), None, &data).unwrap();
    let measured = |machine: Arc<Emulated>| {
        if !on_a_gpu() {
            plug(Some(machine));
        }
        let measured = crate::evaluate_on(&sample(), None, &data, &on("cuda"));
        plug(None);
        measured.unwrap()
    };
    let roomy = Arc::new(Emulated::default());
    let whole = measured(roomy.clone());
    let tight = Emulated::limited(roomy.most() * 8 / 10);
    for found in [whole, measured(Arc::new(tight))] {
        let (got, loss) = (found.loss, expected.loss);
        assert!((got - loss).abs() < 1e-5 * loss, "{got}, expected {loss}");
        assert_eq!(found.supervised_tokens, expected.supervised_tokens);
    }
}

#[test]
fn auto_takes_the_cpu_where_a_model_does_not_fit_and_a_named_device_says_so() {
    let place = |device: &str| {
        plug(Some(Arc::new(Emulated::limited(1000))));
        let held = Held::place(loaded("qwen2"), &on(device));
        plug(None);
        held.map(|held| held.name())
    };
    assert_eq!(place("auto").unwrap(), "cpu");
    assert!(matches!(
        place("cuda").unwrap_err(),
        crate::Error::DeviceMemory(_)
    ));
    let error = place("gpu").unwrap_err().to_string();
    assert!(
        error.contains("must be auto, cpu, cuda or cuda:N"),
        "{error}"
    );
}

#[test]
fn texts_that_do_not_fit_together_are_written_by_halves() {
    let cpu = model::Decoder::load(&sample(), Loading::frozen(DType::F32)).unwrap();
    let tokenizer = Tokenizer::load(&sample()).unwrap();
    let prompts: Vec<Vec<u32>> = (0..4)
        .map(|text| (0..20).map(|i| (i * 37 + text * 11) % 4000).collect())
        .collect();
    let request = GenerateRequest {
        max_new_tokens: 4,
        ..GenerateRequest::default()
    };
    let written = |machine: &Arc<Emulated>, count: usize| {
        let on = Device {
            machine: machine.clone(),
            element: Element::F32,
        };
        let placed = Decoder::place(on, &cpu).unwrap();
        let prompts = &prompts[..count];
        complete(&placed, &tokenizer, &[], prompts, &request, &|| false)
    };
    let (alone, together): (Arc<Emulated>, Arc<Emulated>) = Default::default();
    written(&alone, 1).unwrap();
    let expected = written(&together, 4).unwrap();
    let limit = usize::midpoint(alone.most(), together.most());
    let tight = Arc::new(Emulated::limited(limit));
    assert_eq!(written(&tight, 4).unwrap(), expected);
    let tiny = Arc::new(Emulated::limited(alone.most() - 1));
    assert!(matches!(
        written(&tiny, 4).unwrap_err(),
        crate::Error::DeviceMemory(_)
    ));
}
