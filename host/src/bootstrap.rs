//! How sure a mean over some prompts is: percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
//! chapter 13).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::Serialize;

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Samples that are drawn anew.
    pub resamples: usize,
    /// Share of them whose means lie in the interval.
    pub confidence: f64,
    /// The same seed gives the same interval.
    pub seed: u64,
}

/// A mean and where it would lie on other prompts of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Of the values themselves.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Bootstrap {
    /// The mean of `values` with its interval; `None` where there are no values.
    ///
    /// The ends are percentiles of the resamples' means, between two of them in proportion, as numpy's are.
    pub fn interval(&self, values: &[f64]) -> Option<Interval> {
        let count = values.len();
        if count == 0 || self.resamples == 0 {
            return None;
        }
        let mean_of = |sum: f64| sum / count as f64;
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut means: Vec<f64> = (0..self.resamples)
            .map(|_| {
                let drawn = (0..count).map(|_| values[below(&mut random, count)]);
                mean_of(drawn.sum())
            })
            .collect();
        means.sort_by(f64::total_cmp);
        let outside = (1.0 - self.confidence) / 2.0;
        Some(Interval {
            mean: mean_of(values.iter().sum()),
            low: percentile(&means, outside),
            high: percentile(&means, 1.0 - outside),
        })
    }
}

/// A number below `bound`, each as likely (Lemire, arXiv 1805.10941, whose bias is below 2^-32 for so few values).
fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    ((u128::from(random.next_u64()) * bound as u128) >> 64) as usize
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - place.floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOTSTRAP: Bootstrap = Bootstrap {
        resamples: 10_000,
        confidence: 0.95,
        seed: 7,
    };

    #[test]
    fn the_interval_of_a_proportion_is_that_of_the_normal_approximation() {
        let values: Vec<f64> = (0..400).map(|n| f64::from(n % 4 == 0)).collect();
        let found = BOOTSTRAP.interval(&values).unwrap();
        assert_eq!(found.mean, 0.25);
        // 1.96 standard errors of 100 among 400; a resample's mean is a multiple of 1/400.
        let half = 1.959_964 * (0.25_f64 * 0.75 / 400.0).sqrt();
        assert!((found.low - (0.25 - half)).abs() < 0.004, "{found:?}");
        assert!((found.high - (0.25 + half)).abs() < 0.004, "{found:?}");
    }

    #[test]
    fn a_seed_gives_one_interval_and_more_confidence_a_wider_one() {
        let values = [0.1, 0.9, 0.4, 0.4, 0.7, 0.2];
        assert_eq!(BOOTSTRAP.interval(&values), BOOTSTRAP.interval(&values));
        let other = Bootstrap {
            seed: 8,
            resamples: 100,
            ..BOOTSTRAP
        };
        assert_ne!(other.interval(&values), BOOTSTRAP.interval(&values));
        let wide = Bootstrap {
            confidence: 0.99,
            ..BOOTSTRAP
        };
        let (wide, usual) = (
            wide.interval(&values).unwrap(),
            BOOTSTRAP.interval(&values).unwrap(),
        );
        assert!(wide.low < usual.low && wide.high > usual.high);
        assert_eq!(BOOTSTRAP.interval(&[]), None);
        let same = BOOTSTRAP.interval(&[0.5; 9]).unwrap();
        assert_eq!((same.low, same.mean, same.high), (0.5, 0.5, 0.5));
    }

    #[test]
    fn percentiles_lie_between_their_neighbours() {
        assert_eq!(percentile(&[0.0, 1.0, 2.0, 3.0, 4.0], 0.5), 2.0);
        assert_eq!(percentile(&[0.0, 10.0], 0.25), 2.5);
    }
}
