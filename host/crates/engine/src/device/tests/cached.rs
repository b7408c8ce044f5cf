use std::sync::Arc;

use super::super::ops::{HeadsArgument, KeptRows};
use super::*;
use crate::ops::{self, Heads, Span};

/// Heads, key/value heads, width, window, cap; of each text what is kept of it and its new rows.
type Case = (
    usize,
    usize,
    usize,
    Option<usize>,
    Option<f32>,
    &'static [(usize, usize)],
);

const CASES: [Case; 7] = [
    (1, 1, 2, None, None, &[(0, 1)]),
    (4, 2, 16, None, None, &[(33, 1), (5, 3), (300, 2)]),
    (2, 1, 6, Some(3), None, &[(20, 1), (0, 5), (1, 1)]),
    (6, 2, 32, Some(37), Some(2.0), &[(65, 4), (100, 1)]),
    (3, 1, 80, None, Some(5.0), &[(40, 2), (31, 1)]),
    (2, 2, 128, Some(33), None, &[(70, 1), (7, 1)]),
    (2, 1, 144, None, None, &[(37, 1), (3, 2)]),
];

#[test]
fn new_rows_attend_to_what_is_kept_of_their_texts_as_on_the_cpu() {
    const LAYERS: usize = 3;
    for element in ELEMENTS {
        for (heads, kv_heads, dim, window, cap, texts) in CASES {
            let what =
                format!("{element:?} {heads}/{kv_heads} x {dim} window {window:?} cap {cap:?}");
            let (on, layer) = (device(element), 1);
            let (q_width, width) = (heads * dim, kv_heads * dim);
            // Each text has room of its own size, in which a layer begins elsewhere.
            let past =
                |text: usize| random(&format!("kept {text}"), texts[text].0 * 2 * width, element);
            let memories: Vec<(Rows, usize)> = texts
                .iter()
                .enumerate()
                .map(|(text, (kept, new))| {
                    let capacity = kept + new + text;
                    let memory = on.activations(LAYERS * capacity, 2 * width).unwrap();
                    if *kept > 0 {
                        let rows = memory.rows(layer * capacity, *kept);
                        rows.write(&past(text)).unwrap();
                    }
                    (memory, capacity)
                })
                .collect();
            let places: Vec<(KeptRows<'_>, usize)> = texts
                .iter()
                .zip(&memories)
                .flat_map(|((kept, new), (memory, capacity))| {
                    let capacity = *capacity;
                    (*kept..kept + new).map(move |at| (KeptRows { memory, capacity }, at))
                })
                .collect();
            let rows = places.len();
            let qkv = random("qkv", rows * (q_width + 2 * width), element);
            let qkv_on = put(&on, &qkv, rows, q_width + 2 * width, 0);
            let argument = HeadsArgument {
                heads: heads as i32,
                kv_heads: kv_heads as i32,
                dim: dim as i32,
                tokens: rows as i32,
                scale: 1.0 / (dim as f32).sqrt(),
                cap: cap.unwrap_or(0.0),
                window: window.unwrap_or(0) as i32,
            };
            let new = on.new_rows(&places).unwrap();
            on.keep(&qkv_on, &new, layer, argument).unwrap();
            let out = on.attention_step(&qkv_on, &new, layer, argument).unwrap();

            let mut expected = Vec::new();
            let all = qkv.chunks(q_width + 2 * width).collect::<Vec<_>>();
            let mut from = 0;
            for (text, (kept, new)) in texts.iter().enumerate() {
                let own = &all[from..from + new];
                from += new;
                let columns = |columns: std::ops::Range<usize>| -> Vec<f32> {
                    own.iter()
                        .flat_map(|row| row[columns.clone()].to_vec())
                        .collect()
                };
                let mut both = past(text);
                both.extend(columns(q_width..q_width + 2 * width));
                let (memory, capacity) = &memories[text];
                let held = memory.rows(layer * capacity, kept + new);
                assert_eq!(get(&on, &held), both, "{what} keeps");
                let part = |from: usize| -> Vec<f32> {
                    both.chunks(2 * width)
                        .flat_map(|row| row[from..from + width].to_vec())
                        .collect()
                };
                let cpu = Heads {
                    heads,
                    kv_heads,
                    head_dim: dim,
                    scale: argument.scale,
                    softcap: cap,
                    window,
                    in_bf16: false,
                    spans: Arc::new([Span {
                        start: 0,
                        len: *new,
                    }]),
                };
                let (keys, values_of) = (part(0), part(width));
                let attended = ops::attention_cached(
                    &tensor(&columns(0..q_width), *new, q_width),
                    &tensor(&keys, kept + new, width),
                    &tensor(&values_of, kept + new, width),
                    &cpu,
                );
                expected.extend(values(&attended.unwrap()));
            }
            assert_equal(&what, element, &get(&on, &out), &expected);
        }
    }
}

#[test]
fn a_row_that_its_text_has_no_room_for_is_refused() {
    let on = device(Element::F32);
    let memory = on.zeros(2 * 5, 8, Element::F32).unwrap();
    let kept = KeptRows {
        memory: &memory,
        capacity: 5,
    };
    assert!(on.new_rows(&[(kept, 4)]).is_ok());
    let error = on.new_rows(&[(kept, 5)]).unwrap_err().to_string();
    assert!(error.contains("room for 5"), "{error}");
}

#[test]
fn logits_are_capped_as_on_the_cpu() {
    for element in ELEMENTS {
        let on = device(element);
        let logits: Vec<f32> = random("logits", 3 * 1031, Element::F32)
            .iter()
            .map(|x| 9.0 * x)
            .collect();
        let capped = on.floats(&logits).unwrap();
        on.soft_cap(&capped, 7.0).unwrap();
        let expected = tensor(&logits, 3, 1031);
        ops::soft_cap(&expected, 7.0).unwrap();
        assert_near("capped", 1e-6, &capped.read().unwrap(), &values(&expected));
    }
}
