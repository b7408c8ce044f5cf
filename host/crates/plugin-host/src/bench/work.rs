//! Work to compare guests with native code by: `tests/plugins/compute` compiles this file too.
//!
//! Each kind is some milliseconds of what plugins do, gives a number that hangs on all of it, and takes nothing from outside.

use std::collections::BTreeMap;

/// One kind of work: from a seed to a result.
type Work = fn(u64) -> u64;

/// All kinds by their names.
pub(super) const KINDS: [(&str, Work); 6] = [
    ("words", words),
    ("signatures", signatures),
    ("sorting", sorting),
    ("trees", trees),
    ("allocations", allocations),
    ("numbers", numbers),
];

/// What the bench draws with.
#[allow(dead_code)]
pub(super) const SEED: u64 = 7;

/// A multiplicative generator (Knuth).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 20
    }
}

/// A text with words, numbers and marks.
fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut draw = Draw(seed);
    let bytes = *b"eeettaaooiinnsshhrrdlucmfwypvbgkjqxz_0123456789      ()=.,:\n\n\"";
    (0..length)
        // Not as `usize` before the division: a guest has 32 bits of it.
        .map(|_| bytes[(draw.next() % bytes.len() as u64) as usize])
        .collect()
}

/// Reads a text byte by byte and hashes its words: branches and a table.
fn words(seed: u64) -> u64 {
    let text = text(seed, 400_000);
    let mut counts = vec![0_u32; 1 << 12];
    let mut hash = 0_u64;
    for byte in &text {
        if byte.is_ascii_alphanumeric() || *byte == b'_' {
            hash = (hash.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
        } else if hash != 0 {
            counts[(hash >> 52) as usize] += 1;
            hash = 0;
        }
    }
    let sums = counts.iter().zip(1_u64..);
    sums.map(|(count, at)| u64::from(*count) * at).sum()
}

/// The least of many hashes, as for near duplicates: lanes of 32-bit integers.
fn signatures(seed: u64) -> u64 {
    let mut draw = Draw(seed);
    let grams: Vec<u32> = (0..40_000).map(|_| draw.next() as u32).collect();
    let mut all = 0_u64;
    for _ in 0..8 {
        let factors: [u32; 16] = std::array::from_fn(|_| draw.next() as u32 | 1);
        let offsets: [u32; 16] = std::array::from_fn(|_| draw.next() as u32);
        let mut least = [u32::MAX; 16];
        for gram in &grams {
            for lane in 0..16 {
                let value = factors[lane]
                    .wrapping_mul(*gram)
                    .wrapping_add(offsets[lane]);
                least[lane] = least[lane].min(value);
            }
        }
        all = least
            .iter()
            .fold(all, |all, value| all.rotate_left(7) ^ u64::from(*value));
    }
    all
}

/// Sorts numbers and looks them up again.
fn sorting(seed: u64) -> u64 {
    let mut draw = Draw(seed);
    let mut values: Vec<u64> = (0..60_000).map(|_| draw.next()).collect();
    values.sort_unstable();
    (0..60_000)
        .map(|_| {
            let sought = draw.next();
            values.partition_point(|value| *value < sought) as u64
        })
        .fold(0, |all, place| all.rotate_left(1) ^ place)
}

/// An expression as a parser makes it.
enum Tree {
    Leaf(u64),
    Add(Box<Tree>, Box<Tree>),
    Times(Box<Tree>, Box<Tree>),
    Not(Box<Tree>),
}

/// Grows trees and walks them: small allocations, pointers, recursion.
fn trees(seed: u64) -> u64 {
    fn grow(draw: &mut Draw, depth: u32) -> Tree {
        let kind = if depth == 0 { 0 } else { 1 + draw.next() % 3 };
        match kind {
            0 => Tree::Leaf(draw.next()),
            1 => Tree::Add(
                Box::new(grow(draw, depth - 1)),
                Box::new(grow(draw, depth - 1)),
            ),
            2 => Tree::Times(
                Box::new(grow(draw, depth - 1)),
                Box::new(grow(draw, depth - 1)),
            ),
            _ => Tree::Not(Box::new(grow(draw, depth - 1))),
        }
    }
    fn value(tree: &Tree) -> u64 {
        match tree {
            Tree::Leaf(value) => *value,
            Tree::Add(left, right) => value(left).wrapping_add(value(right)),
            Tree::Times(left, right) => value(left).wrapping_mul(value(right) | 1),
            Tree::Not(inner) => !value(inner),
        }
    }
    let mut draw = Draw(seed);
    (0..12).fold(0_u64, |all, _| {
        let tree = grow(&mut draw, 17);
        (0..3).fold(all, |all, _| all.rotate_left(3) ^ value(&tree))
    })
}

/// Strings in a map by number.
fn allocations(seed: u64) -> u64 {
    let mut draw = Draw(seed);
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    for _ in 0..30_000 {
        let name = names.entry(draw.next() % 5000).or_default();
        if name.len() > 24 {
            name.clear();
        }
        name.push_str(&draw.next().to_string());
    }
    names
        .iter()
        .map(|(number, name)| number.wrapping_mul(name.len() as u64))
        .fold(0, u64::wrapping_add)
}

/// A product of two matrices in 64-bit floats.
fn numbers(seed: u64) -> u64 {
    const SIDE: usize = 160;
    let mut draw = Draw(seed);
    // Small whole numbers: sums are exact, whatever their order.
    let mut matrix = || -> Vec<f64> {
        (0..SIDE * SIDE)
            .map(|_| (draw.next() % 1000) as f64)
            .collect()
    };
    let (left, right) = (matrix(), matrix());
    let mut product = vec![0.0_f64; SIDE * SIDE];
    for row in 0..SIDE {
        for inner in 0..SIDE {
            let factor = left[row * SIDE + inner];
            let sums = product[row * SIDE..][..SIDE].iter_mut();
            for (sum, value) in sums.zip(&right[inner * SIDE..][..SIDE]) {
                *sum += factor * value;
            }
        }
    }
    product
        .iter()
        .map(|value| *value as u64)
        .fold(0, u64::wrapping_add)
}
