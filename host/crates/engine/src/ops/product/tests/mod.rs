use super::*;

fn values(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64)
        .map(|i| {
            let bits = crate::ops::seed_of(&[seed, i]);
            (bits >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        })
        .collect()
}

/// A matrix in memory by rows or by columns, with a gap behind each.
struct Stored {
    data: Vec<f32>,
    rs: usize,
    cs: usize,
}

impl Stored {
    fn new(rows: usize, columns: usize, by_rows: bool, seed: u64) -> Self {
        let (rs, cs) = if by_rows {
            (columns + 3, 1)
        } else {
            (1, rows + 5)
        };
        Self {
            data: values((rows + 5) * (columns + 5), seed),
            rs,
            cs,
        }
    }

    fn view(&self) -> View<'_> {
        View {
            data: &self.data,
            rs: self.rs,
            cs: self.cs,
        }
    }

    fn get(&self, row: usize, column: usize) -> f64 {
        f64::from(self.data[row * self.rs + column * self.cs])
    }
}

const SHAPES: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (5, 16, 7),
    (8, 48, 192),
    (9, 49, 193),
    (17, 100, 400),
    (70, 31, 33),
    (16, 577, 64),
    (130, 17, 500),
    (600, 97, 10),
    (64, 64, 32),
    (45, 90, 1300),
    (2100, 40, 31),
];

#[test]
fn a_sum_of_products_is_right_for_every_order_of_storage() {
    for (case, &(m, n, k)) in SHAPES.iter().enumerate() {
        for orders in 0..8 {
            let order = |bit: u32| orders >> bit & 1 == 0;
            let (a, b) = (
                Stored::new(m, k, order(0), 1),
                Stored::new(k, n, order(1), 2),
            );
            let (c, d) = (
                Stored::new(m, 16, order(1), 3),
                Stored::new(16, n, order(0), 4),
            );
            let mut out = Stored::new(m, n, order(2), 5);
            let before = Stored::new(m, n, order(2), 5);
            let terms = [
                Term::new(a.view(), b.view(), k),
                Term {
                    factor: 0.25,
                    ..Term::new(c.view(), d.view(), 16)
                },
            ];
            let beta = [0.0, 1.0, 0.5][case % 3];
            let (rs, cs) = (out.rs, out.cs);
            sum(&mut out.data, (rs, cs), (m, n), &terms, 2.0, beta);
            let mut written = vec![false; out.data.len()];
            for row in 0..m {
                for column in 0..n {
                    written[row * rs + column * cs] = true;
                    let mut expected = f64::from(beta) * before.get(row, column);
                    for at in 0..k {
                        expected += 2.0 * a.get(row, at) * b.get(at, column);
                    }
                    for at in 0..16 {
                        expected += 0.5 * c.get(row, at) * d.get(at, column);
                    }
                    let got = out.get(row, column);
                    assert!(
                        (got - expected).abs() < 1e-4,
                        "{m} x {n} x {k}, orders {orders}, ({row}, {column}): {got}, expected {expected}"
                    );
                }
            }
            for (at, written) in written.iter().enumerate() {
                assert!(
                    *written || out.data[at] == before.data[at],
                    "{m} x {n} x {k}, orders {orders}: wrote beside the matrix at {at}"
                );
            }
        }
    }
}

#[test]
fn a_product_has_the_same_bits_on_any_number_of_threads() {
    let (m, n, k) = (600, 700, 450);
    let (a, b) = (Stored::new(m, k, true, 1), Stored::new(k, n, false, 2));
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let mut out = vec![0f32; m * n];
        let terms = [Term::new(a.view(), b.view(), k)];
        pool.install(|| sum(&mut out, (n, 1), (m, n), &terms, 1.0, 0.0));
        out
    };
    let one = on(1);
    for threads in [2, 3, 16] {
        assert!(one == on(threads), "{threads} threads");
    }
}

#[cfg(target_arch = "x86_64")]
mod split;

#[cfg(target_arch = "x86_64")]
mod in_bf16 {
    use ::half::{bf16, f16};

    use super::*;

    /// What a value is after rounding: what a product in bf16 must be exact for.
    fn rounded(value: f64) -> f64 {
        f64::from(bf16::from_f32(value as f32).to_f32())
    }

    #[test]
    fn a_sum_of_products_in_bf16_is_the_sum_of_rounded_products() {
        if UNIT.is_none() {
            return;
        }
        for &(m, n, k) in &[
            (1, 1, 1),
            (8, 33, 40),
            (33, 16, 64),
            (100, 130, 2500),
            (17, 31, 31),
        ] {
            for order in [true, false] {
                let a = Stored::new(m, k, true, 1);
                let (b, c) = (Stored::new(k, n, order, 2), Stored::new(m, 16, true, 3));
                let d = Stored::new(16, n, order, 4);
                let brains: Vec<bf16> = b.data.iter().map(|&x| bf16::from_f32(x)).collect();
                let halves: Vec<f16> = b.data.iter().map(|&x| f16::from_f32(x)).collect();
                for right in [
                    Right::F32(b.view()),
                    Right::Bf16(&brains, b.rs, b.cs),
                    Right::F16(&halves, b.rs, b.cs),
                ] {
                    let beta = if order { 0.0 } else { 1.0 };
                    let before = Stored::new(m, n, true, 5);
                    let mut out = Stored::new(m, n, true, 5);
                    let terms = [
                        HalfTerm {
                            a: a.view(),
                            b: right,
                            k,
                            factor: 1.0,
                        },
                        HalfTerm {
                            a: c.view(),
                            b: Right::F32(d.view()),
                            k: 16,
                            factor: 0.5,
                        },
                    ];
                    let rs = out.rs;
                    let len = (m - 1) * rs + n;
                    sum_half(&mut out.data[..len], rs, (m, n), &terms, 1.0, beta);
                    for row in 0..m {
                        for column in 0..n {
                            let mut expected = f64::from(beta) * before.get(row, column);
                            for at in 0..k {
                                let y = match right {
                                    Right::F16(..) => halves[at * b.rs + column * b.cs].to_f64(),
                                    _ => b.get(at, column),
                                };
                                expected += rounded(a.get(row, at)) * rounded(y);
                            }
                            for at in 0..16 {
                                expected +=
                                    0.5 * rounded(c.get(row, at)) * rounded(d.get(at, column));
                            }
                            let got = out.get(row, column);
                            assert!(
                                (got - expected).abs() < 2e-4,
                                "{m} x {n} x {k}, ({row}, {column}): {got}, expected {expected}"
                            );
                        }
                    }
                    assert!(out.data[len..] == before.data[len..]);
                }
            }
        }
    }

    #[test]
    fn a_product_in_bf16_has_the_same_bits_on_any_number_of_threads() {
        if UNIT.is_none() {
            return;
        }
        let (m, n, k) = (200, 700, 2500);
        let (a, b) = (Stored::new(m, k, true, 1), Stored::new(k, n, false, 2));
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let mut out = vec![0f32; m * n];
            let terms = [HalfTerm {
                a: a.view(),
                b: Right::F32(b.view()),
                k,
                factor: 1.0,
            }];
            pool.install(|| sum_half(&mut out, n, (m, n), &terms, 1.0, 0.0));
            out
        };
        let one = on(1);
        for threads in [2, 3, 16] {
            assert!(one == on(threads), "{threads} threads");
        }
    }
}
