//! Which rows are kept apart to evaluate on.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A share of the rows that goes into a file of its own, past every step that is for training alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldOut {
    /// Of all rows: more than 0, at most 0.5.
    pub share: f64,
    /// Draws which rows.
    #[serde(default)]
    pub seed: u64,
}

/// Bits behind the point: shares are reckoned in whole numbers, so that stretches meet without a gap.
const POINT: u32 = 32;

impl HoldOut {
    /// Whether a row, by its place in the input (from 0), is held out: one of each stretch of `1 / share` rows is, drawn by the
    /// seed. Nothing but the place counts, so that neither threads nor a stop change the draw.
    pub(crate) fn takes(&self, row: u64) -> bool {
        let share = (self.share * (1_u64 << POINT) as f64) as u128;
        if share == 0 {
            return false;
        }
        let stretch = (u128::from(row) * share) >> POINT;
        let start = |stretch: u128| (stretch << POINT).div_ceil(share);
        let length = start(stretch + 1) - start(stretch);
        let drawn = u128::from(self.draw(stretch as u64)) % length;
        start(stretch) + drawn == u128::from(row)
    }

    fn draw(&self, stretch: u64) -> u64 {
        let hasher = Sha256::new()
            .chain_update(self.seed.to_le_bytes())
            .chain_update(stretch.to_le_bytes());
        let digest: [u8; 32] = hasher.finalize().into();
        u64::from_le_bytes(*digest.first_chunk().unwrap_or(&[0; 8]))
    }
}

#[cfg(test)]
mod tests {
    use super::HoldOut;

    fn taken(share: f64, seed: u64, rows: u64) -> Vec<u64> {
        let hold_out = HoldOut { share, seed };
        (0..rows).filter(|row| hold_out.takes(*row)).collect()
    }

    #[test]
    fn the_share_is_kept_and_the_seed_alone_draws() {
        for share in [0.01, 0.05, 0.1, 0.25, 1.0 / 3.0, 0.3, 0.49, 0.5] {
            let found = taken(share, 7, 1000).len() as f64;
            assert!((found - 1000.0 * share).abs() <= 1.0, "{share}: {found}");
            assert_eq!(taken(share, 7, 1000), taken(share, 7, 1000));
            assert_ne!(taken(share, 7, 1000), taken(share, 8, 1000), "{share}");
        }
        assert!(taken(0.0, 7, 1000).is_empty());
    }

    #[test]
    fn rows_that_come_later_change_nothing() {
        assert_eq!(taken(0.1, 3, 1000)[..10], taken(0.1, 3, 100));
    }
}
