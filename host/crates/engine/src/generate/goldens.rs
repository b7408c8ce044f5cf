//! What is written is what `transformers.generate` writes: `tests/fixtures/generation`, made by the script there.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use candle_core::DType;
use serde_json::Value;

use super::beams::Search;
use super::writing::{Writing, write_all};
use super::{GenerateRequest, TextModel};
use crate::device::fixtures;
use crate::model::{Decoder, Loading};

pub(super) fn fixture() -> Value {
    read("generated.json")
}

fn read(name: &str) -> Value {
    let text = std::fs::read_to_string(fixtures().join("generation").join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn decoder(name: &str) -> Decoder {
    let loading = Loading {
        dtype: DType::F32,
        quantize: None,
        trainable: false,
        random: None,
    };
    Decoder::load(
        &fixtures().join("goldens").join(name).join("model"),
        loading,
    )
    .unwrap()
}

struct Case {
    model: String,
    prompt: Vec<u32>,
    ends: Vec<u32>,
    request: GenerateRequest,
    ids: Vec<u32>,
}

fn cases(fixture: &Value) -> Vec<Case> {
    let ids = |value: &Value| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    fixture["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| {
            let mut request: GenerateRequest =
                serde_json::from_value(case["settings"].clone()).unwrap();
            request.max_new_tokens = fixture["max_new_tokens"].as_u64().unwrap() as usize;
            request.check().unwrap();
            Case {
                model: case["model"].as_str().unwrap().to_owned(),
                prompt: ids(&case["prompt"]),
                ends: ids(&case["eos_token_id"]),
                request,
                ids: ids(&case["ids"]),
            }
        })
        .collect()
}

pub(crate) fn decoders() -> BTreeMap<String, Decoder> {
    ["llama-tied", "qwen2"]
        .map(|name| (name.to_owned(), decoder(name)))
        .into()
}

fn told(case: &Case) -> String {
    format!(
        "{} {:?} {:?} {:?}",
        case.model, case.prompt, case.ends, case.request
    )
}

/// Holds every `each`th text without beams to what Transformers writes; how many these were.
pub(crate) fn hold_texts<M: TextModel>(models: &BTreeMap<String, M>, each: usize) -> usize {
    let all = cases(&fixture());
    let chosen = all.iter().filter(|case| case.request.num_beams == 1);
    let mut compared = 0;
    for case in chosen.step_by(each) {
        let limit = case.request.max_new_tokens;
        let prompt = case.prompt.clone();
        let mut writings = [Writing::new(0, &case.request, prompt, |_| limit, None)];
        let model = &models[&case.model];
        write_all(model, &case.ends, &mut writings, &mut |_, _| {
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(writings[0].new_ids(), case.ids, "{}", told(case));
        compared += 1;
    }
    compared
}

/// As [`hold_texts`], of those with beams.
pub(crate) fn hold_beams<M: TextModel>(models: &BTreeMap<String, M>, each: usize) -> usize {
    let all = cases(&fixture());
    let chosen = all.iter().filter(|case| case.request.num_beams > 1);
    let mut compared = 0;
    for case in chosen.step_by(each) {
        let search = Search {
            model: &models[&case.model],
            request: &case.request,
            ends: &case.ends,
            limit: case.request.max_new_tokens,
        };
        let found = search
            .run(&case.prompt, &|_| Ok(false), &mut || true)
            .unwrap();
        assert_eq!(found.as_deref(), Some(&case.ids[..]), "{}", told(case));
        compared += 1;
    }
    compared
}

/// Holds texts of Phi-3 that grow beyond the positions on which its angles change to what Transformers writes: alone, together
/// with shorter and longer ones, and by beams.
pub(crate) fn hold_crossing<M: TextModel>(model: &M) {
    let all = cases(&read("crossing.json"));
    let (beams, texts): (Vec<&Case>, Vec<&Case>) =
        all.iter().partition(|case| case.request.num_beams > 1);
    let alone = texts.iter().map(std::slice::from_ref);
    for together in alone.chain([&texts[..]]) {
        let mut writings: Vec<Writing<'_>> = together
            .iter()
            .map(|case| {
                Writing::new(
                    0,
                    &case.request,
                    case.prompt.clone(),
                    |_| case.request.max_new_tokens,
                    None,
                )
            })
            .collect();
        let go_on = &mut |_: usize, _: &str| ControlFlow::Continue(());
        write_all(model, &together[0].ends, &mut writings, go_on).unwrap();
        for (writing, case) in writings.iter().zip(together) {
            assert_eq!(writing.new_ids(), case.ids, "{}", told(case));
        }
    }
    for case in beams {
        let search = Search {
            model,
            request: &case.request,
            ends: &case.ends,
            limit: case.request.max_new_tokens,
        };
        let found = search.run(&case.prompt, &|_| Ok(false), &mut || true);
        assert_eq!(
            found.unwrap().as_deref(),
            Some(&case.ids[..]),
            "{}",
            told(case)
        );
    }
}

#[test]
fn phi3_reads_a_text_anew_where_its_angles_change() {
    hold_crossing(&decoder("phi3-longrope"));
}

#[test]
fn one_text_at_a_time_is_what_transformers_writes() {
    assert_eq!(hold_texts(&decoders(), 1), 126);
}

#[test]
fn texts_written_together_are_what_each_is_alone() {
    let decoders = decoders();
    let all = cases(&fixture());
    for (name, decoder) in &decoders {
        // Ends are the same for all texts of one call: group by them.
        let mut groups: BTreeMap<Vec<u32>, Vec<&Case>> = BTreeMap::new();
        for case in &all {
            if case.model == *name && case.request.num_beams == 1 {
                groups.entry(case.ends.clone()).or_default().push(case);
            }
        }
        // Prompts of 1, 7 and 40 tokens in one batch, with every setting.
        let everything: Vec<&Case> = groups.remove(&vec![319]).unwrap();
        for batch in everything.chunks(8) {
            let limit = batch[0].request.max_new_tokens;
            let mut writings: Vec<_> = batch
                .iter()
                .enumerate()
                .map(|(index, case)| {
                    Writing::new(index, &case.request, case.prompt.clone(), |_| limit, None)
                })
                .collect();
            write_all(decoder, &[319], &mut writings, &mut |_, _| {
                ControlFlow::Continue(())
            })
            .unwrap();
            for (writing, case) in writings.iter().zip(batch) {
                assert_eq!(writing.new_ids(), case.ids, "{}", told(case));
            }
        }
    }
}

#[test]
fn beams_find_what_transformers_finds() {
    assert_eq!(hold_beams(&decoders(), 1), 144);
}

#[test]
fn a_search_ends_when_it_is_told_to() {
    let decoder = decoder("qwen2");
    let request = GenerateRequest {
        num_beams: 2,
        ..Default::default()
    };
    let search = Search {
        model: &decoder,
        request: &request,
        ends: &[],
        limit: 10,
    };
    let mut asked = 0;
    let found = search.run(&[5, 6], &|_| Ok(false), &mut || {
        asked += 1;
        asked < 4
    });
    assert_eq!((found.unwrap(), asked), (None, 4));
}
