//! Which rows are held out.

use sha2::{Digest, Sha256};

use super::{Pair, Sample};

/// Holds out `share` of the samples, drawn by `seed`.
///
/// The draw ranks samples by a hash of seed and content. So exact duplicates stay together and none stands on
/// both sides, and a sample's side does not depend on the order of the file. At least one sample is held out
/// where the share is above 0 and at least one is left to train on, if there are two that differ.
pub(super) fn split(samples: Vec<Sample>, share: f64, seed: u64) -> (Vec<Sample>, Vec<Sample>) {
    split_by(samples, share, |sample| rank(&[sample], seed))
}

/// As [`split`], for pairs.
pub(super) fn split_pairs(pairs: Vec<Pair>, share: f64, seed: u64) -> (Vec<Pair>, Vec<Pair>) {
    split_by(pairs, share, |pair| {
        rank(&[&pair.chosen, &pair.rejected], seed)
    })
}

fn split_by<T>(samples: Vec<T>, share: f64, rank: impl Fn(&T) -> [u8; 32]) -> (Vec<T>, Vec<T>) {
    if share <= 0.0 || samples.len() < 2 {
        return (samples, Vec::new());
    }
    let ranks: Vec<[u8; 32]> = samples.iter().map(rank).collect();
    let mut sorted = ranks.clone();
    sorted.sort_unstable();
    let wanted = ((samples.len() as f64 * share).round() as usize).clamp(1, samples.len() - 1);
    // The first rank that stays: behind the last duplicate of the last one that goes, or, where only duplicates
    // of it are left, before the first.
    let last = sorted[wanted - 1];
    let mut boundary = sorted.partition_point(|rank| *rank <= last);
    if boundary == sorted.len() {
        boundary = sorted.partition_point(|rank| *rank < last);
    }
    let Some(first_kept) = sorted.get(boundary).copied().filter(|_| boundary > 0) else {
        return (samples, Vec::new());
    };
    let (mut train, mut eval) = (Vec::new(), Vec::new());
    for (sample, rank) in samples.into_iter().zip(ranks) {
        if rank < first_kept {
            eval.push(sample);
        } else {
            train.push(sample);
        }
    }
    (train, eval)
}

fn rank(samples: &[&Sample], seed: u64) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(seed.to_le_bytes());
    for id in samples.iter().flat_map(|sample| &sample.input_ids) {
        hasher.update(id.to_le_bytes());
    }
    hasher.finalize().into()
}
