use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::GenerateRequest;
use crate::{Error, Result};

/// Chooses the next token: temperature, then top-k, top-p and min-p, in the order of Transformers.
pub(super) struct Sampler {
    temperature: f64,
    top_k: usize,
    top_p: f64,
    min_p: f64,
    generator: ChaCha8Rng,
}

impl Sampler {
    pub(super) fn new(request: &GenerateRequest) -> Self {
        Self {
            temperature: request.temperature,
            top_k: request.top_k,
            top_p: request.top_p,
            min_p: request.min_p,
            generator: ChaCha8Rng::seed_from_u64(request.seed),
        }
    }

    /// Index of the chosen logit; of equals the first.
    pub(super) fn choose(&mut self, logits: &[f32]) -> Result<u32> {
        refuse_nan(logits)?;
        let best = likeliest(logits);
        // With every token forbidden there is nothing to draw from.
        if self.temperature == 0.0 || logits[best] == f32::NEG_INFINITY {
            return Ok(best as u32);
        }
        let likely = self.likely(logits, best);
        let total: f64 = likely.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.generator.random::<f64>() * total;
        for (token, weight) in &likely {
            drawn -= weight;
            if drawn <= 0.0 {
                return Ok(*token);
            }
        }
        Ok(likely[likely.len() - 1].0)
    }

    /// Tokens to draw from, with weights that are their probabilities up to a factor, the likeliest first.
    fn likely(&self, logits: &[f32], best: usize) -> Vec<(u32, f64)> {
        let top = f64::from(logits[best]);
        // Every filter keeps the likeliest ones, so their order does not matter; min-p compares with the very
        // likeliest and needs no sorting, so it comes first.
        let mut likely: Vec<(u32, f64)> = logits
            .iter()
            .enumerate()
            .map(|(token, logit)| {
                let weight = ((f64::from(*logit) - top) / self.temperature).exp();
                (token as u32, weight)
            })
            .filter(|(_, weight)| *weight > 0.0 && *weight >= self.min_p)
            .collect();
        likely.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if self.top_k > 0 && self.top_k < likely.len() {
            let least = likely[self.top_k - 1].1;
            likely.retain(|(_, weight)| *weight >= least);
        }
        // The share that top-p means is one of what top-k left, without what min-p takes afterwards.
        let total: f64 = match self.min_p > 0.0 && self.top_k == 0 {
            true => logits
                .iter()
                .map(|logit| ((f64::from(*logit) - top) / self.temperature).exp())
                .sum(),
            false if self.min_p > 0.0 => self.top_k_weight(logits, top),
            false => likely.iter().map(|(_, weight)| weight).sum(),
        };
        let mut before = 0.0;
        let kept = likely.iter().take_while(|(_, weight)| {
            let keep = before < self.top_p * total;
            before += weight;
            keep
        });
        let kept = kept.count().max(1);
        likely.truncate(kept);
        likely
    }

    /// Weight of all that top-k keeps.
    fn top_k_weight(&self, logits: &[f32], top: f64) -> f64 {
        let mut weights: Vec<f64> = logits
            .iter()
            .map(|logit| ((f64::from(*logit) - top) / self.temperature).exp())
            .collect();
        weights.sort_unstable_by(|a, b| b.total_cmp(a));
        let least = weights[(self.top_k - 1).min(weights.len() - 1)];
        weights.iter().take_while(|weight| **weight >= least).sum()
    }
}

/// Weights that were damaged give no numbers; nothing can be chosen among them.
pub(super) fn refuse_nan(logits: &[f32]) -> Result<()> {
    if logits.iter().any(|logit| logit.is_nan()) {
        return Err(Error::Input(
            "the model computes no number for this prompt; its weights are damaged".into(),
        ));
    }
    Ok(())
}

fn likeliest(logits: &[f32]) -> usize {
    (0..logits.len())
        .reduce(|best, i| if logits[i] > logits[best] { i } else { best })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(request: GenerateRequest) -> Vec<u32> {
        let mut sampler = Sampler::new(&request);
        let logits = [1.0, 3.0, 2.0, 3.0, -4.0];
        (0..200).map(|_| sampler.choose(&logits).unwrap()).collect()
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_likeliest() {
        assert!(
            draws(GenerateRequest::default())
                .iter()
                .all(|&token| token == 1)
        );
    }

    #[test]
    fn draws_follow_the_seed_and_keep_to_top_k_and_top_p() {
        let warm = GenerateRequest {
            temperature: 1.0,
            ..Default::default()
        };
        let all = draws(warm.clone());
        assert_eq!(all, draws(warm.clone()));
        assert_ne!(
            all,
            draws(GenerateRequest {
                seed: 1,
                ..warm.clone()
            })
        );
        assert!((0..=3).all(|token| all.contains(&token)));
        let two = draws(GenerateRequest {
            top_k: 2,
            ..warm.clone()
        });
        assert!(
            two.iter().all(|token| [1, 3].contains(token)) && two.contains(&1) && two.contains(&3)
        );
        let most = draws(GenerateRequest {
            top_p: 0.75,
            ..warm
        });
        assert!(most.iter().all(|token| [1, 3].contains(token)), "{most:?}");
    }

    #[test]
    fn the_filters_keep_what_transformers_keeps_with_the_same_probabilities() {
        let fixture = super::super::goldens::fixture();
        let logits: Vec<f32> = serde_json::from_value(fixture["logits"].clone()).unwrap();
        let cases = fixture["filters"].as_array().unwrap();
        assert_eq!(cases.len(), 81);
        for case in cases {
            let sampler = Sampler::new(&GenerateRequest {
                temperature: case["temperature"].as_f64().unwrap(),
                top_k: case["top_k"].as_u64().unwrap() as usize,
                top_p: case["top_p"].as_f64().unwrap(),
                min_p: case["min_p"].as_f64().unwrap(),
                ..Default::default()
            });
            let likely = sampler.likely(&logits, likeliest(&logits));
            let total: f64 = likely.iter().map(|(_, weight)| weight).sum();
            let mut got = vec![0.0; logits.len()];
            for (token, weight) in likely {
                got[token as usize] = weight / total;
            }
            for (got, expected) in got.iter().zip(case["probabilities"].as_array().unwrap()) {
                assert!((got - expected.as_f64().unwrap()).abs() < 2e-6, "{case}");
            }
        }
    }
}
