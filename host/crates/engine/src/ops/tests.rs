//! Every backward against central differences of its forward, and against sums in f64.

use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::*;

fn random(seed: u64, shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count)
        .map(|i| (seed_of(&[seed, i as u64]) % 2001) as f32 / 1000.0 - 1.0)
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Σ y·w in f64: a loss whose gradient with respect to y is w.
fn weigh(y: &Tensor, w: &Tensor) -> f64 {
    values(y)
        .iter()
        .zip(values(w))
        .map(|(y, w)| f64::from(*y) * f64::from(w))
        .sum()
}

/// Compares a gradient with the slope of `loss` along each of some elements of `x`.
fn assert_gradient(what: &str, x: &Tensor, gradient: &Tensor, loss: impl Fn(&Tensor) -> f64) {
    let (flat, gradient) = (values(x), values(gradient));
    assert_eq!(flat.len(), gradient.len(), "{what}");
    let step = 1e-2f32;
    let stride = (flat.len() / 40).max(1);
    for i in (0..flat.len()).step_by(stride) {
        let moved = |by: f32| {
            let mut flat = flat.clone();
            flat[i] += by;
            loss(&Tensor::from_vec(flat, x.shape(), &Device::Cpu).unwrap())
        };
        // Two widths, extrapolated: the error falls with the fourth power of the step.
        let slope = |h: f32| (moved(h) - moved(-h)) / (2.0 * f64::from(h));
        let expected = (4.0 * slope(step) - slope(2.0 * step)) / 3.0;
        let got = f64::from(gradient[i]);
        assert!(
            (got - expected).abs() < 2e-3 * expected.abs().max(0.5),
            "{what}[{i}]: {got}, slope {expected}"
        );
    }
}

#[test]
fn rms_norm_backward_is_the_slope_of_its_forward() {
    let (x, w, dy) = (random(1, &[5, 70]), random(2, &[70]), random(3, &[5, 70]));
    let dx = Tensor::zeros_like(&x).unwrap();
    rms_norm_backward(&dx, &x, &w, &dy, 1e-5).unwrap();
    assert_gradient("x", &x, &dx, |x| {
        weigh(&rms_norm(x, &w, 1e-5).unwrap(), &dy)
    });
    let dw = Tensor::zeros_like(&w).unwrap();
    rms_norm_weight_gradient(&dw, &x, &dy, 1e-5).unwrap();
    assert_gradient("w", &w, &dw, |w| {
        weigh(&rms_norm(&x, w, 1e-5).unwrap(), &dy)
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn norms_of_any_shape_have_the_slopes_of_their_forward(rows in 1usize..6, width in 2usize..150, seed: u64) {
        let shape = [rows, width];
        let (x, w, b) = (random(seed, &shape), random(seed ^ 2, &[width]), random(seed ^ 3, &[width]));
        let dy = random(seed ^ 4, &shape);
        let dx = Tensor::zeros_like(&x).unwrap();
        layer_norm_backward(&dx, &x, &w, &dy, 1e-2).unwrap();
        assert_gradient("x", &x, &dx, |x| weigh(&layer_norm(x, &w, &b, 1e-2).unwrap(), &dy));
        let dw = Tensor::zeros_like(&w).unwrap();
        layer_norm_weight_gradient(&dw, &x, &dy, 1e-2).unwrap();
        assert_gradient("w", &w, &dw, |w| weigh(&layer_norm(&x, w, &b, 1e-2).unwrap(), &dy));
        let db = Tensor::zeros_like(&b).unwrap();
        add_row_sum(&db, &dy).unwrap();
        assert_gradient("b", &b, &db, |b| weigh(&layer_norm(&x, &w, b, 1e-2).unwrap(), &dy));
        let dx = Tensor::zeros_like(&x).unwrap();
        rms_norm_backward(&dx, &x, &w, &dy, 1e-2).unwrap();
        assert_gradient("x", &x, &dx, |x| weigh(&rms_norm(x, &w, 1e-2).unwrap(), &dy));
    }

    #[test]
    fn activations_of_any_shape_have_the_slopes_of_their_forward(rows in 1usize..6, width in 1usize..90, seed: u64) {
        for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            for gated in [false, true] {
                let columns = if gated { 2 * width } else { width };
                let (x, dy) = (random(seed, &[rows, columns]), random(seed ^ 1, &[rows, width]));
                // relu has no slope at 0; the differences must not step over it.
                let away = |x: f32| if x.abs() < 0.05 { x + 0.1f32.copysign(x) } else { 3.0 * x };
                let flat: Vec<f32> = values(&x).into_iter().map(away).collect();
                let x = Tensor::from_vec(flat, (rows, columns), &Device::Cpu).unwrap();
                let gradient = copy(&x).unwrap();
                activate_backward(&gradient, &dy, activation, gated).unwrap();
                assert_gradient(&format!("{activation:?} {gated}"), &x, &gradient, |x| {
                    weigh(&activate(x, activation, gated).unwrap(), &dy)
                });
            }
        }
    }

    #[test]
    fn attention_of_any_shape_has_the_slopes_of_its_forward(
        kv_heads in 1usize..4, group in 1usize..4, half in 1usize..5, lens in (1usize..80, 1usize..80),
        window in prop::option::of(1usize..90), softcap in prop::option::of(0.5f32..5.0), seed: u64,
    ) {
        let span = |start, len| Span { start, len };
        let heads = Heads {
            heads: kv_heads * group, kv_heads, head_dim: 2 * half, scale: 0.6, softcap, window, in_bf16: false,
            spans: [span(0, lens.0), span(lens.0, lens.1)].into(),
        };
        let rows = lens.0 + lens.1;
        let (qkv, dy) = (random(seed, &[rows, heads.qkv_width()]), random(seed ^ 1, &[rows, heads.q_width()]));
        let expected = plain_attention(&qkv, &heads);
        for (got, expected) in values(&attention(&qkv, &heads).unwrap()).iter().zip(&expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-5, "{heads:?}: {got} {expected}");
        }
        let gradient = attention_backward(&qkv, &dy, &heads).unwrap();
        let dy: Vec<f64> = values(&dy).into_iter().map(f64::from).collect();
        assert_gradient(&format!("{heads:?}"), &qkv, &gradient, |qkv| {
            plain_attention(qkv, &heads).iter().zip(&dy).map(|(y, w)| y * w).sum()
        });
    }

    #[test]
    fn a_rotary_embedding_of_any_part_of_a_head_turns_its_gradient_back(
        heads in 1usize..4, half in 1usize..5, rest in 0usize..4, rows in 1usize..6, seed: u64,
    ) {
        let dim = 2 * half + rest;
        let table = RotaryTable { cos: random(seed, &[rows, half]), sin: random(seed ^ 1, &[rows, half]) };
        let positions = Tensor::from_vec((0..rows as u32).rev().collect::<Vec<_>>(), rows, &Device::Cpu).unwrap();
        let (x, dy) = (random(seed ^ 2, &[rows, heads * dim + 3]), random(seed ^ 3, &[rows, heads * dim + 3]));
        let turned = |x: &Tensor, inverse: bool| {
            let x = copy(x).unwrap();
            rotary(&x, &table, &positions, heads, dim, inverse).unwrap();
            x
        };
        assert_gradient("x", &x, &turned(&dy, true), |x| weigh(&turned(x, false), &dy));
        let got: Vec<Vec<f32>> = turned(&x, false).to_vec2().unwrap();
        let before: Vec<Vec<f32>> = x.to_vec2().unwrap();
        for (got, before) in got.iter().zip(&before) {
            for head in 0..heads {
                let untouched = head * dim + 2 * half..(head + 1) * dim;
                assert_eq!(got[untouched.clone()], before[untouched]);
            }
        }
    }

    #[test]
    fn soft_caps_and_column_factors_have_the_slopes_of_their_forward(rows in 1usize..5, width in 1usize..140, seed: u64) {
        let (x, dy) = (random(seed, &[rows, width]), random(seed ^ 1, &[rows, width]));
        let capped = |x: &Tensor| {
            let y = copy(x).unwrap();
            soft_cap(&y, 0.7).unwrap();
            y
        };
        let gradient = copy(&dy).unwrap();
        soft_cap_backward(&gradient, &capped(&x), 0.7).unwrap();
        assert_gradient("cap", &x, &gradient, |x| weigh(&capped(x), &dy));

        let factors = random(seed ^ 2, &[width]);
        let wide = random(seed ^ 3, &[rows, width + 4]);
        let times = |x: &Tensor, factors: &Tensor| {
            let wide = copy(&wide).unwrap();
            columns(&wide.narrow(1, 1, width).unwrap(), x, factors, false).unwrap();
            assert_eq!(values(&wide.narrow(1, 0, 1).unwrap()).len(), rows);
            wide.narrow(1, 1, width).unwrap().contiguous().unwrap()
        };
        let dots = Tensor::zeros_like(&factors).unwrap();
        column_dots(&dots, &dy, &x).unwrap();
        assert_gradient("factors", &factors, &dots, |factors| weigh(&times(&x, factors), &dy));
        let dx = times(&dy, &factors);
        assert_gradient("x", &x, &dx, |x| weigh(&times(x, &factors), &dy));
        let lengths = values(&row_norms(&x).unwrap());
        for (length, row) in lengths.iter().zip(x.to_vec2::<f32>().unwrap()) {
            let exact = row.iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
            assert!((f64::from(*length) - exact).abs() < 1e-5);
        }
    }
}

#[test]
fn swiglu_backward_is_the_slope_of_its_forward() {
    let (x, dy) = (random(1, &[4, 2 * 37]), random(2, &[4, 37]));
    let gradient = copy(&x).unwrap();
    swiglu_backward(&gradient, &dy).unwrap();
    assert_gradient("gate and up", &x, &gradient, |x| {
        weigh(&swiglu(x).unwrap(), &dy)
    });
}

#[test]
fn rotary_turns_back_to_where_it_began_and_keeps_lengths() {
    let x = random(1, &[6, 5 * 8]);
    let cos: Vec<f32> = (0..6 * 4).map(|i| (i as f32 * 0.37).cos()).collect();
    let sin: Vec<f32> = (0..6 * 4).map(|i| (i as f32 * 0.37).sin()).collect();
    let table = RotaryTable {
        cos: Tensor::from_vec(cos, (6, 4), &Device::Cpu).unwrap(),
        sin: Tensor::from_vec(sin, (6, 4), &Device::Cpu).unwrap(),
    };
    let positions = Tensor::new(&[0u32, 1, 2, 0, 1, 5], &Device::Cpu).unwrap();
    let turned = copy(&x).unwrap();
    rotary(&turned, &table, &positions, 3, 8, false).unwrap();
    assert_ne!(values(&turned), values(&x));
    assert!((squared_norm(&turned).unwrap() - squared_norm(&x).unwrap()).abs() < 1e-4);
    let untouched = |x: &Tensor| values(&x.narrow(1, 3 * 8, 2 * 8).unwrap());
    assert_eq!(untouched(&turned), untouched(&x), "values are not turned");
    rotary(&turned, &table, &positions, 3, 8, true).unwrap();
    for (a, b) in values(&turned).iter().zip(values(&x)) {
        assert!((a - b).abs() < 1e-6);
    }
}

/// Causal attention in plain f64, one sequence after the other.
fn plain_attention(qkv: &Tensor, heads: &Heads) -> Vec<f64> {
    let all: Vec<Vec<f32>> = qkv.to_vec2().unwrap();
    let (dim, group) = (heads.head_dim, heads.heads / heads.kv_heads);
    let mut out = Vec::new();
    for span in heads.spans.iter() {
        for i in 0..span.len {
            for head in 0..heads.heads {
                let k_at = (heads.heads + head / group) * dim;
                let v_at = k_at + heads.kv_heads * dim;
                let row = |at: usize| &all[span.start + at];
                let first = heads
                    .window
                    .map_or(0, |window| (i + 1).saturating_sub(window));
                let scores: Vec<f64> = (first..=i)
                    .map(|j| {
                        let dot: f64 = (0..dim)
                            .map(|d| {
                                f64::from(row(i)[head * dim + d]) * f64::from(row(j)[k_at + d])
                            })
                            .sum();
                        let score = dot * f64::from(heads.scale);
                        let capped = heads.softcap.map_or(score, |cap| {
                            f64::from(cap) * (score / f64::from(cap)).tanh()
                        });
                        capped.exp()
                    })
                    .collect();
                let total: f64 = scores.iter().sum();
                out.extend((0..dim).map(|d| {
                    let sum: f64 = scores
                        .iter()
                        .enumerate()
                        .map(|(j, s)| s * f64::from(row(first + j)[v_at + d]))
                        .sum();
                    sum / total
                }));
            }
        }
    }
    out
}

/// Full attention, a window within a block, one over blocks, a soft cap, and both together.
fn kinds_of_heads() -> Vec<Heads> {
    let span = |start, len| Span { start, len };
    [
        (None, None),
        (Some(7), None),
        (Some(100), None),
        (None, Some(1.5)),
        (Some(65), Some(0.8)),
        (Some(1), None),
    ]
    .into_iter()
    .map(|(window, softcap)| Heads {
        heads: 4,
        kv_heads: 2,
        head_dim: 6,
        scale: 0.7,
        softcap,
        window,
        in_bf16: false,
        spans: [span(0, 70), span(70, 1), span(71, 133)].into(),
    })
    .collect()
}

#[test]
fn attention_of_packed_sequences_is_plain_attention_of_each() {
    for heads in kinds_of_heads() {
        let qkv = random(1, &[204, heads.qkv_width()]);
        let expected = plain_attention(&qkv, &heads);
        let close = |got: &Tensor, expected: &[f64]| {
            for (got, expected) in values(got).iter().zip(expected) {
                let error = (f64::from(*got) - expected).abs();
                assert!(error < 1e-5, "{heads:?}: {got} {expected}");
            }
        };
        close(&attention(&qkv, &heads).unwrap(), &expected);
        // The same for the last rows of one sequence over cached keys.
        let one = Heads {
            spans: [Span { start: 0, len: 133 }].into(),
            ..heads.clone()
        };
        let tail = qkv.narrow(0, 71, 133).unwrap();
        let block = |column: usize, width: usize, from: usize| {
            tail.narrow(1, column, width)
                .unwrap()
                .narrow(0, from, 133 - from)
                .unwrap()
                .contiguous()
                .unwrap()
        };
        let (q, k, v) = (block(0, 24, 30), block(24, 12, 0), block(36, 12, 0));
        let cached = attention_cached(&q, &k, &v, &one).unwrap();
        close(&cached, &expected[(71 + 30) * 24..]);
    }
}

#[test]
fn attention_backward_is_the_slope_of_its_forward() {
    for heads in kinds_of_heads() {
        let (qkv, dy) = (
            random(1, &[204, heads.qkv_width()]),
            random(2, &[204, heads.q_width()]),
        );
        let gradient = attention_backward(&qkv, &dy, &heads).unwrap();
        let dy: Vec<f64> = values(&dy).into_iter().map(f64::from).collect();
        assert_gradient(&format!("{heads:?}"), &qkv, &gradient, |qkv| {
            plain_attention(qkv, &heads)
                .iter()
                .zip(&dy)
                .map(|(y, w)| y * w)
                .sum()
        });
    }
}

#[test]
fn attention_in_bf16_is_attention_but_for_rounding() {
    if !half_products() {
        return;
    }
    let wide = Heads {
        head_dim: 72,
        heads: 3,
        kv_heads: 1,
        scale: 0.1,
        ..kinds_of_heads().remove(2)
    };
    for exact in kinds_of_heads().into_iter().chain([wide]) {
        let heads = Heads {
            in_bf16: true,
            ..exact.clone()
        };
        let (qkv, dy) = (
            random(1, &[204, heads.qkv_width()]),
            random(2, &[204, heads.q_width()]),
        );
        let near = |got: Tensor, expected: Tensor| {
            let (got, expected) = (values(&got), values(&expected));
            let square = |x: f32| f64::from(x) * f64::from(x);
            let error: f64 = got.iter().zip(&expected).map(|(a, b)| square(a - b)).sum();
            let size: f64 = expected.iter().map(|&x| square(x)).sum();
            let share = (error / size).sqrt();
            assert!(share < 1e-2, "{heads:?}: off by {share}");
        };
        near(
            attention(&qkv, &heads).unwrap(),
            attention(&qkv, &exact).unwrap(),
        );
        near(
            attention_backward(&qkv, &dy, &heads).unwrap(),
            attention_backward(&qkv, &dy, &exact).unwrap(),
        );
    }
}

#[test]
fn attention_in_bf16_reads_nothing_of_keys_that_are_hidden() {
    if !half_products() {
        return;
    }
    for mut heads in kinds_of_heads() {
        heads.in_bf16 = true;
        let qkv = random(1, &[204, heads.qkv_width()]);
        let mut rows: Vec<Vec<f32>> = qkv.to_vec2().unwrap();
        // The second sequence's first rows, and all behind row 150 of the third.
        for row in [70].into_iter().chain(150..204) {
            rows[row].fill(1e6);
        }
        let changed = Tensor::new(rows, &Device::Cpu).unwrap();
        let outputs = [qkv, changed].map(|qkv| values(&attention(&qkv, &heads).unwrap()));
        let width = heads.q_width();
        for kept in [0..70, 71..150] {
            let kept = kept.start * width..kept.end * width;
            assert!(outputs[0][kept.clone()] == outputs[1][kept], "{heads:?}");
        }
    }
}

#[test]
fn cross_entropy_gradient_is_the_slope_of_its_weighted_loss() {
    let logits = random(1, &[3, 130]);
    let targets = Tensor::new(&[7u32, 129, 0], &Device::Cpu).unwrap();
    let loss = |logits: &Tensor, weights: [f64; 3]| {
        let rows: Vec<Vec<f32>> = logits.to_vec2().unwrap();
        rows.iter()
            .zip([7, 129, 0])
            .zip(weights)
            .map(|((row, target), weight): ((_, usize), f64)| {
                let log_sum = row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
                weight * (log_sum - f64::from(row[target]))
            })
            .sum::<f64>()
    };
    let statistics = cross_entropy(&logits, &targets).unwrap();
    let sum: f64 = statistics
        .to_vec2::<f32>()
        .unwrap()
        .iter()
        .map(|row| f64::from(row[0]))
        .sum();
    assert!((sum - loss(&logits, [1.0; 3])).abs() < 1e-5);
    let gradient = copy(&logits).unwrap();
    cross_entropy_gradient(&gradient, &statistics, &targets, &[0.5, -2.0, 0.0]).unwrap();
    assert_gradient("logits", &logits, &gradient, |logits| {
        loss(logits, [0.5, -2.0, 0.0])
    });
}

#[test]
fn a_target_counts_as_likeliest_when_no_logit_is_above_its_own() {
    let logits = Tensor::new(&[[1f32, 3.0, 2.0], [4.0, 1.0, 4.0]], &Device::Cpu).unwrap();
    let likeliest = |targets: [u32; 2]| {
        let targets = Tensor::new(&targets, &Device::Cpu).unwrap();
        is_largest(&logits, &targets)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
    };
    assert_eq!(likeliest([1, 0]), [1.0, 1.0]);
    assert_eq!(likeliest([2, 1]), [0.0, 0.0]);
}

#[test]
fn a_logit_that_is_not_a_number_shows_in_the_loss() {
    let logits = Tensor::new(&[[1f32, f32::NAN, 0.5]], &Device::Cpu).unwrap();
    let targets = Tensor::new(&[0u32], &Device::Cpu).unwrap();
    assert!(
        cross_entropy(&logits, &targets)
            .unwrap()
            .to_vec2::<f32>()
            .unwrap()[0][0]
            .is_nan()
    );
}

#[test]
fn products_take_any_strides_and_add_to_what_is_there() {
    for (m, k, n) in [(1, 70, 33), (2, 5, 200), (40, 64, 3), (65, 130, 66)] {
        let (a, b) = (random(1, &[m, k]), random(2, &[n, k]));
        let expected: Vec<f64> = {
            let (a, b): (Vec<Vec<f32>>, Vec<Vec<f32>>) =
                (a.to_vec2().unwrap(), b.to_vec2().unwrap());
            let dot = |a: &[f32], b: &[f32]| {
                a.iter()
                    .zip(b)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum::<f64>()
            };
            a.iter()
                .flat_map(|a| b.iter().map(|b| dot(a, b)).collect::<Vec<_>>())
                .collect()
        };
        let wide = random(3, &[m, n + 5]);
        let block = wide.narrow(1, 2, n).unwrap();
        let before = values(&block.contiguous().unwrap());
        let close = |got: &[f32], factor: f64, start: f64| {
            for ((got, expected), before) in got.iter().zip(&expected).zip(&before) {
                let expected = factor * expected + start * f64::from(*before);
                assert!(
                    (f64::from(*got) - expected).abs() < 1e-4,
                    "{m} x {k} x {n}: {got} {expected}"
                );
            }
        };
        close(&values(&matmul(&a, &b.t().unwrap()).unwrap()), 1.0, 0.0);
        matmul_into(&block, &a, &b.t().unwrap(), 2.0, 1.0).unwrap();
        close(&values(&block.contiguous().unwrap()), 2.0, 1.0);
        matmul_into(&block, &a, &b.t().unwrap(), 1.0, 0.0).unwrap();
        close(&values(&block.contiguous().unwrap()), 1.0, 0.0);
        assert_eq!(
            values(&wide.narrow(1, 0, 2).unwrap()),
            values(&random(3, &[m, n + 5]).narrow(1, 0, 2).unwrap())
        );
    }
    assert!(matmul(&random(1, &[2, 3]), &random(2, &[2, 3])).is_err());
}

#[test]
fn rows_of_an_id_that_comes_twice_add_up() {
    let table = Tensor::zeros((4, 130), candle_core::DType::F32, &Device::Cpu).unwrap();
    let ids = Tensor::new(&[2u32, 0, 2], &Device::Cpu).unwrap();
    let rows = random(1, &[3, 130]);
    scatter_add(&table, &ids, &rows).unwrap();
    let (table, rows): (Vec<Vec<f32>>, Vec<Vec<f32>>) =
        (table.to_vec2().unwrap(), rows.to_vec2().unwrap());
    assert_eq!(table[0], rows[1]);
    assert!(table[1].iter().chain(&table[3]).all(|x| *x == 0.0));
    for i in 0..130 {
        assert_eq!(table[2][i], rows[0][i] + rows[2][i]);
    }
}

#[test]
fn dropout_drops_its_share_and_the_same_seed_drops_the_same() {
    let x = Tensor::ones((100, 300), candle_core::DType::F32, &Device::Cpu).unwrap();
    let y = values(&dropout(&x, 0.25, 7).unwrap());
    assert_eq!(y, values(&dropout(&x, 0.25, 7).unwrap()));
    assert_ne!(y, values(&dropout(&x, 0.25, 8).unwrap()));
    let dropped = y.iter().filter(|y| **y == 0.0).count();
    assert!((7200..7800).contains(&dropped), "{dropped}");
    assert!(y.iter().all(|y| *y == 0.0 || (*y - 4.0 / 3.0).abs() < 1e-6));
}

/// candle-nn's fused ops have no backward, so we cannot train with them; forward they are the reference.
#[test]
fn norm_and_gate_are_forward_what_candle_computes() {
    let close = |ours: &Tensor, theirs: &Tensor| {
        for (ours, theirs) in values(ours).into_iter().zip(values(theirs)) {
            assert!(
                (ours - theirs).abs() <= 1e-5 * theirs.abs().max(1.0),
                "{ours} {theirs}"
            );
        }
    };
    let (x, w) = (random(31, &[7, 70]), random(32, &[70]));
    close(
        &rms_norm(&x, &w, 1e-5).unwrap(),
        &candle_nn::ops::rms_norm(&x, &w, 1e-5).unwrap(),
    );
    let gate_up = random(33, &[7, 2 * 35]);
    let (gate, up) = (
        gate_up.narrow(1, 0, 35).unwrap(),
        gate_up.narrow(1, 35, 35).unwrap(),
    );
    let theirs = (candle_nn::ops::silu(&gate).unwrap() * up).unwrap();
    close(&swiglu(&gate_up).unwrap(), &theirs);
}
