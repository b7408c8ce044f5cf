//! The index of near duplicates: locality-sensitive hashing over bands of MinHash signatures (Leskovec, Rajaraman and
//! Ullman, Mining of Massive Datasets, chapter 3).
//!
//! It is asked row by row in their order and holds kept rows only, so that what goes does not hang on anything else.

use std::collections::HashMap;

use crate::pipeline::NearDuplicates;

/// No earlier row in a chain.
const NONE: u32 = u32::MAX;

/// Signatures of one name.
pub(crate) struct Index {
    settings: NearDuplicates,
    length: usize,
    /// Row numbers of the entries.
    rows: Vec<u64>,
    /// All signatures, one behind the other.
    values: Vec<u32>,
    /// For each band: from a band's hash to the last entry that has it.
    heads: Vec<HashMap<u64, u32>>,
    /// For each entry and band: the entry before it with the same hash.
    chains: Vec<u32>,
}

/// An earlier row that is like this one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Match {
    pub(crate) row: u64,
    pub(crate) similarity: f64,
}

impl Index {
    /// # Errors
    /// When the bands need longer signatures.
    pub(crate) fn new(settings: NearDuplicates, length: usize) -> Result<Self, String> {
        let NearDuplicates { bands, rows, .. } = settings;
        if bands * rows > length {
            return Err(format!(
                "signatures have {length} values; near_duplicates.bands = {bands} times rows = {rows} need more"
            ));
        }
        Ok(Self {
            settings,
            length,
            rows: Vec::new(),
            values: Vec::new(),
            heads: vec![HashMap::new(); bands],
            chains: Vec::new(),
        })
    }

    /// Whether a signature can be compared with those here.
    pub(crate) fn fits(&self, signature: &[u32]) -> bool {
        signature.len() == self.length
    }

    /// The earliest row that is alike; otherwise the row joins the index.
    pub(crate) fn find_or_insert(&mut self, row: u64, signature: &[u32]) -> Option<Match> {
        let hashes = self.hashes(signature);
        let mut candidates: Vec<u32> = Vec::new();
        for (band, hash) in hashes.iter().enumerate() {
            let mut entry = self.heads[band].get(hash).copied().unwrap_or(NONE);
            while entry != NONE {
                candidates.push(entry);
                entry = self.chains[entry as usize * self.settings.bands + band];
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        let found = candidates.into_iter().find_map(|entry| {
            let start = entry as usize * self.length;
            let other = &self.values[start..start + self.length];
            let equal = other.iter().zip(signature).filter(|(a, b)| a == b).count();
            let similarity = equal as f64 / self.length as f64;
            let row = self.rows[entry as usize];
            (similarity >= self.settings.threshold).then_some(Match { row, similarity })
        });
        if found.is_none() {
            self.insert(row, signature, &hashes);
        }
        found
    }

    /// The row joins the index, whatever is like it.
    pub(crate) fn join(&mut self, row: u64, signature: &[u32]) {
        let hashes = self.hashes(signature);
        self.insert(row, signature, &hashes);
    }

    /// One for each band.
    fn hashes(&self, signature: &[u32]) -> Vec<u64> {
        let bands = signature.chunks_exact(self.settings.rows);
        bands.take(self.settings.bands).map(band_hash).collect()
    }

    fn insert(&mut self, row: u64, signature: &[u32], hashes: &[u64]) {
        let entry = u32::try_from(self.rows.len()).unwrap_or(NONE);
        // Four thousand million kept rows do not fit into memory either.
        if entry == NONE {
            return;
        }
        self.rows.push(row);
        self.values.extend_from_slice(signature);
        for (heads, hash) in self.heads.iter_mut().zip(hashes) {
            self.chains.push(heads.insert(*hash, entry).unwrap_or(NONE));
        }
    }
}

fn band_hash(values: &[u32]) -> u64 {
    let hash = values.iter().fold(0_u64, |hash, value| {
        (hash.rotate_left(29) ^ u64::from(*value)).wrapping_mul(0x9ddf_ea08_eb38_2d69)
    });
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::{Index, Match};
    use crate::NearDuplicates;

    fn index() -> Index {
        Index::new(NearDuplicates::default(), 256).unwrap()
    }

    /// A signature of its own for each seed, with the first `same` values of seed 0.
    fn signature(seed: u32, same: usize) -> Vec<u32> {
        let value = |seed: u32, at: u32| (seed * 1000 + at).wrapping_mul(2_654_435_761);
        (0..256)
            .map(|at| value(if (at as usize) < same { 0 } else { seed }, at))
            .collect()
    }

    #[test]
    fn the_earliest_kept_row_above_the_threshold_is_named() {
        let mut index = index();
        assert_eq!(index.find_or_insert(3, &signature(0, 0)), None);
        assert_eq!(index.find_or_insert(5, &signature(1, 150)), None);
        let found = index.find_or_insert(9, &signature(2, 192)).unwrap();
        assert_eq!(
            found,
            Match {
                row: 3,
                similarity: 0.75
            }
        );
        assert_eq!(index.find_or_insert(11, &signature(3, 0)), None);
        // Exactly the values of row 5, which is kept too.
        assert_eq!(index.find_or_insert(12, &signature(1, 150)).unwrap().row, 5);
    }

    #[test]
    fn a_row_that_was_dropped_draws_no_other_after_it() {
        let mut index = index();
        index.find_or_insert(0, &signature(0, 0));
        let middle = signature(2, 192);
        assert!(index.find_or_insert(1, &middle).is_some());
        // Like row 1, which is gone, and not enough like row 0.
        let mut far = middle.clone();
        far[..64].copy_from_slice(&signature(9, 0)[..64]);
        assert_eq!(index.find_or_insert(2, &far), None);
    }

    #[test]
    fn bands_that_need_more_values_are_refused() {
        assert!(Index::new(NearDuplicates::default(), 128).is_err());
    }
}
