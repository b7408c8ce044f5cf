use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::GenerateRequest;
use crate::{Error, Result};

/// Chooses the next token: temperature, then top-k, then top-p, in the order of Transformers.
pub(super) struct Sampler {
    temperature: f64,
    top_k: usize,
    top_p: f64,
    generator: ChaCha8Rng,
}

impl Sampler {
    pub(super) fn new(request: &GenerateRequest) -> Self {
        Self {
            temperature: request.temperature,
            top_k: request.top_k,
            top_p: request.top_p,
            generator: ChaCha8Rng::seed_from_u64(request.seed),
        }
    }

    /// Index of the chosen logit; of equals the first.
    pub(super) fn choose(&mut self, logits: &mut [f32]) -> Result<u32> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(Error::Input(
                "the model computes no number for this prompt; its weights are damaged".into(),
            ));
        }
        let best =
            (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best });
        let best = best.unwrap_or_default();
        if self.temperature == 0.0 {
            return Ok(best as u32);
        }
        let top = f64::from(logits[best]);
        let mut likely: Vec<(usize, f64)> = logits
            .iter()
            .enumerate()
            .map(|(token, logit)| (token, ((f64::from(*logit) - top) / self.temperature).exp()))
            .collect();
        likely.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if self.top_k > 0 {
            likely.truncate(self.top_k);
        }
        let total: f64 = likely.iter().map(|(_, weight)| weight).sum();
        let mut before = 0.0;
        let kept = likely.iter().take_while(|(_, weight)| {
            let keep = before < self.top_p * total;
            before += weight;
            keep
        });
        let kept = kept.count().max(1);
        likely.truncate(kept);
        let total: f64 = likely.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.generator.random::<f64>() * total;
        for (token, weight) in &likely {
            drawn -= weight;
            if drawn <= 0.0 {
                return Ok(*token as u32);
            }
        }
        Ok(likely[likely.len() - 1].0 as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(request: GenerateRequest) -> Vec<u32> {
        let mut sampler = Sampler::new(&request);
        let logits = [1.0, 3.0, 2.0, 3.0, -4.0];
        (0..200)
            .map(|_| sampler.choose(&mut logits.clone()).unwrap())
            .collect()
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
}
