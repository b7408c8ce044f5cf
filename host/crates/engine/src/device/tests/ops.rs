use std::sync::Arc;

use candle_core::Tensor;
use domain::Quantize;

use super::super::adapters::Adapters;
use super::super::matrix::Matrix;
use super::super::ops::{Along, HeadsArgument, NormShape};
use super::*;
use crate::model::{self, Kind, Packed};
use crate::ops::{self, Activation, Heads, RotaryTable, Span};

/// Rows, width and gap: odd sizes, single elements, vectors of 16 bytes and none.
const SHAPES: [(usize, usize, usize); 5] =
    [(1, 1, 0), (3, 7, 2), (9, 64, 0), (5, 129, 7), (17, 256, 64)];

fn floats(device: &Device, values: &[f32]) -> Rows {
    device.floats(values).unwrap()
}

#[test]
fn rows_of_one_id_are_added_up_into_its_row_or_column() {
    for element in ELEMENTS {
        for (rows, width, gap) in SHAPES {
            let what = format!("{element:?} {rows} x {width}");
            let on = device(element);
            let x = random("x", rows * width, element);
            let x_on = put(&on, &x, rows, width, gap);
            let ids: Vec<u32> = (0..rows as u32).map(|i| i * i % 5).collect();
            // Id 4 is the padding.
            let named = ids.iter().map(|id| Some(*id).filter(|id| *id != 4));
            let groups = on.groups(named).unwrap();
            let start = random("out", 5 * width, Element::F32);
            let mut expected = start.clone();
            for (id, row) in ids.iter().zip(x.chunks(width)) {
                let out = &mut expected[*id as usize * width..][..width];
                if *id != 4 {
                    out.iter_mut().zip(row).for_each(|(out, x)| *out += 0.5 * x);
                }
            }
            let out = floats(&on, &start).reshaped(5, width);
            on.add_groups(&out, Along::Rows, &x_on, &groups, 0.5)
                .unwrap();
            assert_near(&what, 1e-5, &out.read().unwrap(), &expected);

            let turned = |from: &[f32]| -> Vec<f32> {
                let all = (0..width).flat_map(|i| (0..5).map(move |id| id * width + i));
                all.map(|at| from[at]).collect()
            };
            let out = floats(&on, &turned(&start)).reshaped(width, 5);
            on.add_groups(&out, Along::Columns, &x_on, &groups, 0.5)
                .unwrap();
            assert_near(&what, 1e-5, &out.read().unwrap(), &turned(&expected));
        }
    }
}

#[test]
fn columns_are_gathered_as_rows_and_summed() {
    for element in ELEMENTS {
        for (rows, width, gap) in SHAPES {
            let what = format!("{element:?} {rows} x {width}");
            let on = device(element);
            let x = random("x", rows * width, element);
            let x_on = put(&on, &x, rows, width, gap);
            let ids: Vec<u32> = (0..7).map(|i| (i * 11 % width) as u32).collect();
            let placed = on.ids(&ids).unwrap();
            let got = on.gather_columns(&x_on, placed.address(), 7).unwrap();
            let expected = ids
                .iter()
                .flat_map(|id| (0..rows).map(move |row| row * width + *id as usize));
            let expected: Vec<f32> = expected.map(|at| x[at]).collect();
            assert_eq!(got.read().unwrap(), expected, "{what}");

            let mut sums = random("sums", width, Element::F32);
            let sums_on = floats(&on, &sums);
            on.column_sums(&sums_on, &x_on).unwrap();
            for row in x.chunks(width) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
            }
            assert_near(&what, 1e-5, &sums_on.read().unwrap(), &sums);
        }
    }
}

#[test]
fn noise_is_that_of_the_cpu() {
    for element in ELEMENTS {
        let on = device(element);
        let (spans, width) = ([Span { start: 0, len: 4 }, Span { start: 4, len: 9 }], 33);
        let x = random("x", 13 * width, element);
        let x_on = put(&on, &x, 13, width, 0);
        let bounds: Vec<f32> = (0..13)
            .map(|row| ops::noise_bound(5.0, if row < 4 { 4 } else { 9 }, width))
            .collect();
        on.add_noise(&x_on, &floats(&on, &bounds), ops::noise_seed(3))
            .unwrap();
        let expected = tensor(&x, 13, width);
        ops::add_noise(&expected, &spans, 5.0, 3).unwrap();
        assert_equal("noise", element, &get(&on, &x_on), &values(&expected));
    }
}

#[test]
fn norms_and_their_gradients_are_those_of_the_cpu() {
    for element in ELEMENTS {
        for (rows, width, gap) in SHAPES {
            for layer in [false, true] {
                let what = format!("{element:?} {rows} x {width} layer {layer}");
                let on = device(element);
                let [x, dy, dx] = ["x", "dy", "dx"].map(|name| random(name, rows * width, element));
                let [w, b] = ["w", "b"].map(|name| random(name, width, Element::F32));
                let (w_on, b_on) = (floats(&on, &w), floats(&on, &b));
                let offset = if layer { 0.0 } else { 1.0 };
                let norm = NormShape {
                    pieces: 1,
                    offset,
                    eps: 1e-5,
                };
                let [x_on, dy_on, dx_on] = [&x, &dy, &dx].map(|v| put(&on, v, rows, width, gap));
                let y_on = put(&on, &x, rows, width, gap + 1);
                let bias = layer.then_some(&b_on);
                on.norm(&y_on, &x_on, &w_on, bias, norm).unwrap();
                let given = (&x_on, &dy_on);
                on.norm_backward(&dx_on, given, (&w_on, layer), norm, true)
                    .unwrap();

                let t = |v: &[f32]| tensor(v, rows, width);
                let one = |v: &[f32], add: f32| {
                    let v: Vec<f32> = v.iter().map(|x| x + add).collect();
                    Tensor::from_slice(&v, width, &candle_core::Device::Cpu).unwrap()
                };
                let (x, dy, dx, w) = (t(&x), t(&dy), t(&dx), one(&w, offset));
                let y = match layer {
                    true => ops::layer_norm(&x, &w, &one(&b, 0.0), 1e-5).unwrap(),
                    false => ops::rms_norm(&x, &w, 1e-5).unwrap(),
                };
                match layer {
                    true => ops::layer_norm_backward(&dx, &x, &w, &dy, 1e-5).unwrap(),
                    false => ops::rms_norm_backward(&dx, &x, &w, &dy, 1e-5).unwrap(),
                }
                assert_equal(&what, element, &get(&on, &y_on), &values(&y));
                // A row of one element has a norm that divides by next to nothing; its gradient is a difference of
                // large numbers.
                let tolerance = if width == 1 { 1e-2 } else { 1e-5 };
                let tolerance = if element == Element::Bf16 {
                    1e-2
                } else {
                    tolerance
                };
                assert_near(
                    &format!("{what} gradient"),
                    tolerance,
                    &get(&on, &dx_on),
                    &values(&dx),
                );
            }
        }
    }
}

#[test]
fn rotary_turns_as_on_the_cpu_and_back() {
    for element in ELEMENTS {
        for (heads, dim, half) in [(3, 16, 8), (2, 10, 5), (5, 64, 16), (1, 2, 1)] {
            let (rows, width) = (6, (heads + 1) * dim);
            let on = device(element);
            let x = random("x", rows * width, element);
            let [cos, sin] = ["cos", "sin"].map(|name| random(name, 9 * half, Element::F32));
            let positions = [0u32, 1, 2, 8, 0, 3];
            let x_on = put(&on, &x, rows, width, 0);
            let table = |v: &[f32]| floats(&on, v).reshaped(9, half);
            let ids = on.ids(&positions).unwrap();
            let cpu = tensor(&x, rows, width);
            let tables = RotaryTable {
                cos: tensor(&cos, 9, half),
                sin: tensor(&sin, 9, half),
            };
            let at = Tensor::from_slice(&positions, rows, &candle_core::Device::Cpu).unwrap();
            for inverse in [false, true] {
                let pair = (&table(&cos), &table(&sin));
                on.rotary(&x_on, &ids, pair, (heads, dim), inverse).unwrap();
                ops::rotary(&cpu, &tables, &at, heads, dim, inverse).unwrap();
                assert_equal("rotary", element, &get(&on, &x_on), &values(&cpu));
            }
        }
    }
}

#[test]
fn activations_and_their_gradients_are_those_of_the_cpu() {
    let kinds = [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
    ];
    for element in ELEMENTS {
        for (rows, width, _) in SHAPES {
            for kind in kinds {
                for gated in [false, true] {
                    let wide = if gated { 2 * width } else { width };
                    let on = device(element);
                    let (x, dy) = (
                        random("x", rows * wide, element),
                        random("dy", rows * width, element),
                    );
                    let (x_on, dy_on) =
                        (put(&on, &x, rows, wide, 0), put(&on, &dy, rows, width, 0));
                    let y_on = on.activations(rows, width).unwrap();
                    on.activate(&y_on, &x_on, kind, gated).unwrap();
                    on.activate_backward(&x_on, &dy_on, kind, gated).unwrap();
                    let (x, dy) = (tensor(&x, rows, wide), tensor(&dy, rows, width));
                    let y = ops::activate(&x, kind, gated).unwrap();
                    ops::activate_backward(&x, &dy, kind, gated).unwrap();
                    let what = format!("{kind:?} gated {gated}");
                    assert_equal(&what, element, &get(&on, &y_on), &values(&y));
                    assert_equal(
                        &format!("{what} gradient"),
                        element,
                        &get(&on, &x_on),
                        &values(&x),
                    );
                }
            }
        }
    }
}

/// Heads, key/value heads, width, window, cap, lengths of the documents.
type AttentionCase = (
    usize,
    usize,
    usize,
    Option<usize>,
    Option<f32>,
    &'static [usize],
);

#[test]
fn attention_and_its_gradient_are_those_of_the_cpu() {
    let cases: [AttentionCase; 11] = [
        (2, 2, 8, None, None, &[1]),
        (4, 2, 16, None, None, &[33, 5, 70]),
        (2, 1, 6, Some(3), None, &[20, 40]),
        (2, 2, 32, Some(37), Some(2.0), &[65, 100]),
        (3, 1, 80, None, Some(5.0), &[40]),
        (2, 1, 128, Some(33), None, &[70]),
        // Long enough for tiles without a mask, and for several turns of every loop.
        (2, 1, 64, Some(150), None, &[200, 64]),
        (1, 1, 144, None, None, &[37, 3]),
        // The widest heads, of which several warps share the sums of a row.
        (2, 1, 256, Some(40), Some(5.0), &[70, 9]),
        (1, 1, 200, None, None, &[33]),
        // An odd width, of which nothing lies at a multiple of anything.
        (2, 1, 133, Some(7), None, &[19, 1]),
    ];
    for element in ELEMENTS {
        for (heads, kv_heads, dim, window, cap, lens) in cases {
            let what =
                format!("{element:?} {heads}/{kv_heads} x {dim} window {window:?} cap {cap:?}");
            let tokens: usize = lens.iter().sum();
            let mut start = 0;
            let spans: Arc<[Span]> = lens
                .iter()
                .map(|&len| {
                    start += len;
                    Span {
                        start: start - len,
                        len,
                    }
                })
                .collect();
            let width = (heads + 2 * kv_heads) * dim;
            let on = device(element);
            let qkv = random("qkv", tokens * width, element);
            let d_out = random("d_out", tokens * heads * dim, element);
            let argument = HeadsArgument {
                heads: heads as i32,
                kv_heads: kv_heads as i32,
                dim: dim as i32,
                tokens: tokens as i32,
                scale: 1.0 / (dim as f32).sqrt(),
                cap: cap.unwrap_or(0.0),
                window: window.unwrap_or(0) as i32,
            };
            let tiles = on.tiles(&spans, dim).unwrap();
            let (qkv_on, d_on) = (
                put(&on, &qkv, tokens, width, 0),
                put(&on, &d_out, tokens, heads * dim, 0),
            );
            let (out, log_sums) = on.attention(&qkv_on, &tiles, argument).unwrap();
            let attended = (&out, &log_sums);
            let d_qkv = on
                .attention_backward(&qkv_on, attended, &d_on, &tiles, argument)
                .unwrap();

            let cpu = Heads {
                heads,
                kv_heads,
                head_dim: dim,
                scale: argument.scale,
                softcap: cap,
                window,
                in_bf16: false,
                spans,
            };
            let qkv = tensor(&qkv, tokens, width);
            let expected = ops::attention(&qkv, &cpu).unwrap();
            assert_equal(&what, element, &get(&on, &out), &values(&expected));
            let d_out = tensor(&d_out, tokens, heads * dim);
            let expected = ops::attention_backward(&qkv, &d_out, &cpu).unwrap();
            assert_equal(
                &format!("{what} gradient"),
                element,
                &get(&on, &d_qkv),
                &values(&expected),
            );
        }
    }
}

#[test]
fn losses_and_gradients_of_logits_are_those_of_the_cpu() {
    for element in ELEMENTS {
        for (rows, width, cap) in [
            (1, 1, None),
            (5, 300, None),
            (3, 1031, Some(3.0)),
            (2, 5000, None),
        ] {
            let on = device(element);
            let logits: Vec<f32> = random("logits", rows * width, Element::F32)
                .iter()
                .map(|x| 4.0 * x)
                .collect();
            let targets: Vec<u32> = (0..rows as u32).map(|row| row * 7 % width as u32).collect();
            let weights: Vec<f32> = random("weights", rows, Element::F32);
            let logits_on = on.unwritten_apart(rows, width, Element::F32).unwrap();
            on.place(&logits_on, &floats(&on, &logits).reshaped(rows, width))
                .unwrap();
            let targets_on = on.ids(&targets).unwrap();
            let statistics = on.unwritten(rows, 3, Element::F32).unwrap();
            let targets_at = targets_on.address();
            on.cross_entropy(&statistics, &logits_on, targets_at, cap.unwrap_or(0.0))
                .unwrap();
            let gradient = on.unwritten_apart(rows, width, element).unwrap();
            let weights_on = floats(&on, &weights);
            let given = (targets_on.address(), weights_on.address);
            on.cross_entropy_gradient(
                &gradient,
                (&logits_on, &statistics),
                given,
                cap.unwrap_or(0.0),
                0.5,
            )
            .unwrap();

            let cpu = tensor(&logits, rows, width);
            if let Some(cap) = cap {
                ops::soft_cap(&cpu, cap).unwrap();
            }
            let targets = Tensor::from_slice(&targets, rows, &candle_core::Device::Cpu).unwrap();
            let expected = ops::cross_entropy(&cpu, &targets).unwrap();
            let likeliest = values(&ops::is_largest(&cpu, &targets).unwrap());
            let capped = ops::copy(&cpu).unwrap();
            let halves: Vec<f32> = weights.iter().map(|weight| weight * 0.5).collect();
            ops::cross_entropy_gradient(&cpu, &expected, &targets, &halves).unwrap();
            if let Some(cap) = cap {
                ops::soft_cap_backward(&cpu, &capped, cap).unwrap();
            }
            let statistics = statistics.read().unwrap();
            for row in 0..rows {
                let expected = &values(&expected)[2 * row..][..2];
                assert_near("losses", 1e-5, &statistics[3 * row..][..2], expected);
                assert_eq!(statistics[3 * row + 2], likeliest[row]);
            }
            assert_equal("gradient", element, &get(&on, &gradient), &values(&cpu));
        }
    }
}

#[test]
fn logits_that_are_no_numbers_make_a_loss_that_is_none() {
    for element in ELEMENTS {
        let on = device(element);
        let target = on.ids(&[1]).unwrap();
        for bad in [f32::NAN, f32::INFINITY] {
            // One, far from the target, and all of them.
            for logits in [vec![0.5, 1.0, 0.25, bad], vec![bad; 4]] {
                let logits = floats(&on, &logits);
                let statistics = on.unwritten(1, 3, Element::F32).unwrap();
                on.cross_entropy(&statistics, &logits, target.address(), 0.0)
                    .unwrap();
                assert!(!statistics.read().unwrap()[0].is_finite(), "{bad}");
            }
        }
    }
}

#[test]
fn a_device_adds_up_by_itself_and_the_host_reads_all_at_once() {
    for element in ELEMENTS {
        let on = device(element);
        let sums = on.sums(3).unwrap();
        let x = random("x", 3 * 700, Element::F32);
        let x_on = floats(&on, &x).reshaped(700, 3);
        // More than the mantissa of f32 holds beside them.
        let large = floats(&on, &[16_777_216.0, 0.5]);
        on.add_up(&sums, 0, &large, 1).unwrap();
        on.add_up(&sums, 1, &x_on, 3).unwrap();
        on.add_up(&sums, 1, &x_on, 3).unwrap();
        let squares = floats(&on, &x[..2048]);
        on.add_squares(&sums, 2, &squares).unwrap();
        let read = sums.read().unwrap();
        assert_eq!(read[0], 16_777_216.5);
        let sum = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
        let thirds = 2.0 * sum(&mut x.iter().step_by(3).map(|x| f64::from(*x)));
        assert!((read[1] - thirds).abs() < 1e-9, "{} {thirds}", read[1]);
        let expected = sum(&mut x[..2048].iter().map(|x| f64::from(*x).powi(2)));
        assert!((read[2] - expected).abs() < 1e-5 * expected);
    }
}

#[test]
fn columns_go_where_their_ids_say_or_become_zeros() {
    for element in ELEMENTS {
        let on = device(element);
        let (rows, width) = (5, 23);
        let table = random("table", rows * width, element);
        let own = random("own", 3 * rows, element);
        let ids = [20usize, 0, 7];
        let placed = on.ids(&ids.map(|id| id as u32)).unwrap();
        let columns = (placed.address(), ids.len());
        let own_on = put(&on, &own, 3, rows, 0);
        for x in [Some(&own_on), None] {
            let out = put(&on, &table, rows, width, 9);
            on.put_columns(&out, x, columns).unwrap();
            let mut expected = table.clone();
            for (i, id) in ids.iter().enumerate() {
                for row in 0..rows {
                    expected[row * width + id] = x.map_or(0.0, |_| own[i * rows + row]);
                }
            }
            assert_eq!(get(&on, &out), expected);
        }
    }
}

#[test]
fn packed_weights_come_out_as_on_the_cpu() {
    let weights = random("weights", 37 * 96, Element::F32);
    for element in ELEMENTS {
        let on = device(element);
        // Rows that are whole vectors, and rows that are none.
        let mut packed: Vec<Packed> = [96, 90]
            .into_iter()
            .flat_map(|inputs| {
                let kinds = [Quantize::Nf4, Quantize::Q4k, Quantize::Q8_0];
                kinds.map(|kind| (kind, (37, inputs)))
            })
            .map(|(quantize, shape)| {
                let mut read = |from: usize, len: usize| Ok(weights[from..from + len].to_vec());
                Packed::pack("w".into(), shape, quantize, &mut read).unwrap()
            })
            .collect();
        // Whatever bytes a file holds: both sides must read the same out of them.
        for kind in [
            Kind::Q4_0,
            Kind::Q4_1,
            Kind::Q5_0,
            Kind::Q5_1,
            Kind::Q5K,
            Kind::Q6K,
        ] {
            let shape = (8, 96);
            let blocks = shape.0 * shape.1 / kind.block();
            let mut bytes: Vec<u8> = (0..blocks * kind.bytes())
                .map(|i| (i * 89 % 251) as u8)
                .collect();
            for block in bytes.chunks_mut(kind.bytes()) {
                // Scales that are small numbers, not infinities.
                let at = if kind == Kind::Q6K { 208 } else { 0 };
                block[at + 1] = 0x1c;
                if kind != Kind::Q6K {
                    block[3] = 0x18;
                }
            }
            packed.push(Packed::of_blocks("w".into(), shape, kind, bytes));
        }
        let nothing = Adapters::place(&on, &[]).unwrap();
        for packed in packed {
            let what = format!("{packed:?}");
            let matrix = model::Matrix::Packed(packed);
            let placed = Matrix::place(&on, &matrix, &nothing).unwrap();
            let expected = values(&matrix.dense().unwrap());
            let mut got = Vec::new();
            placed
                .panels(&on, |_, panel| {
                    got.extend(get(&on, panel));
                    Ok(())
                })
                .unwrap();
            let tolerance = if element == Element::F32 { 1e-6 } else { 1e-2 };
            assert_near(&what, tolerance, &got, &expected);
            let ids = [3u32, 7, 3, 0];
            let rows = placed.gather(&on, &on.ids(&ids).unwrap(), 4, 2.0).unwrap();
            let inputs = matrix.shape().1;
            let named = ids
                .iter()
                .flat_map(|&id| &expected[id as usize * inputs..][..inputs]);
            let named: Vec<f32> = named.map(|x| 2.0 * x).collect();
            assert_near(&what, tolerance, &get(&on, &rows), &named);
        }
    }
}

#[test]
fn dropout_drops_what_the_cpu_drops() {
    for element in ELEMENTS {
        let on = device(element);
        let x = random("x", 5 * 300, element);
        let x_on = put(&on, &x, 5, 300, 0);
        let y_on = on.activations(5, 300).unwrap();
        on.dropout(&y_on, &x_on, 0.3, 99, false).unwrap();
        let expected = values(&ops::dropout(&tensor(&x, 5, 300), 0.3, 99).unwrap());
        assert_equal("dropout", element, &get(&on, &y_on), &expected);
        on.dropout(&y_on, &x_on, 0.3, 99, true).unwrap();
        let twice: Vec<f32> = expected.iter().map(|x| 2.0 * x).collect();
        assert_equal("added", element, &get(&on, &y_on), &twice);
    }
}

#[test]
fn small_ops_do_what_their_names_say_on_blocks_of_columns() {
    for element in ELEMENTS {
        for (rows, width, gap) in SHAPES {
            let on = device(element);
            let [x, y] = ["x", "y"].map(|name| random(name, rows * width, element));
            let factors = random("factors", width, Element::F32);
            let f_on = floats(&on, &factors);
            let x_on = put(&on, &x, rows, width, gap);
            let fresh = || put(&on, &y, rows, width, gap + 3);
            let each = |f: &dyn Fn(f32, f32, f32) -> f32| -> Vec<f32> {
                let all = x.iter().zip(&y).enumerate();
                all.map(|(i, (x, y))| f(*x, *y, factors[i % width]))
                    .collect()
            };
            let out = fresh();
            on.add_scaled(&out, &x_on, 0.5, -2.0).unwrap();
            assert_equal(
                "add",
                element,
                &get(&on, &out),
                &each(&|x, y, _| 0.5 * y - 2.0 * x),
            );
            let out = fresh();
            on.add_bias(&out, &f_on).unwrap();
            assert_equal("bias", element, &get(&on, &out), &each(&|_, y, f| y + f));
            let out = fresh();
            on.times_columns(&out, &x_on, &f_on, -1.0, true).unwrap();
            assert_equal(
                "columns",
                element,
                &get(&on, &out),
                &each(&|x, y, f| y + x * (f - 1.0)),
            );
            let out = fresh();
            on.place(&out, &x_on).unwrap();
            assert_eq!(get(&on, &out), x);
            let dots = floats(&on, &factors);
            on.column_dots(&dots, &f_on, &x_on, &fresh()).unwrap();
            let expected: Vec<f32> = (0..width)
                .map(|column| {
                    let rows =
                        (0..rows).map(|row| x[row * width + column] * y[row * width + column]);
                    factors[column] * (1.0 + rows.sum::<f32>())
                })
                .collect();
            assert_near("dots", 1e-5, &dots.read().unwrap(), &expected);
            let [inverse, of] = [(); 2].map(|()| on.unwritten(1, rows, Element::F32).unwrap());
            let magnitudes = floats(&on, &vec![3.0; rows]);
            on.row_norms(&inverse, &of, &magnitudes, &x_on).unwrap();
            let norms = x
                .chunks(width)
                .map(|row| 3.0 / row.iter().map(|x| x * x).sum::<f32>().sqrt());
            assert_near(
                "norms",
                1e-5,
                &of.read().unwrap(),
                &norms.collect::<Vec<_>>(),
            );
        }
    }
}

#[test]
fn rows_go_where_their_ids_say() {
    for element in ELEMENTS {
        let on = device(element);
        let table = random("table", 11 * 13, element);
        let table_on = put(&on, &table, 11, 13, 0);
        let ids = on.ids(&[10, 0, 4]).unwrap();
        let out = on.activations(3, 13).unwrap();
        on.gather(&out, &table_on, ids.address(), 1.0, false)
            .unwrap();
        let back = on.zeros(11, 13, element).unwrap();
        on.scatter(&back, &out, ids.address()).unwrap();
        let back = get(&on, &back);
        for row in 0..11 {
            let expected = match [10, 0, 4].contains(&row) {
                true => table[row * 13..][..13].to_vec(),
                false => vec![0.0; 13],
            };
            assert_eq!(back[row * 13..][..13], expected);
        }
        let x = random("x", 2 * 24, element);
        let turned = on.exchanged(&put(&on, &x, 2, 24, 0), 2, 3, 4).unwrap();
        let again = on.exchanged(&turned, 3, 2, 4).unwrap();
        assert_eq!(get(&on, &again), x);
        assert_eq!(get(&on, &turned)[4..8], x[12..16]);
    }
}
