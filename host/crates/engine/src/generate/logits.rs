//! What a request changes about logits before a token is chosen, in the order of Transformers' processors.

use std::collections::BTreeSet;

use super::GenerateRequest;

/// Applies the repetition penalty, forbids n-grams that were there, and holds back the end of the text.
///
/// `ids` are prompt and text so far, `new` how many of them are text; `ends` end a text. Works on logits and, with
/// beams, on log-probabilities.
pub(super) fn process(
    logits: &mut [f32],
    request: &GenerateRequest,
    ids: &[u32],
    new: usize,
    ends: &[u32],
) {
    if request.repetition_penalty != 1.0 {
        let penalty = request.repetition_penalty as f32;
        for &id in &ids.iter().collect::<BTreeSet<_>>() {
            if let Some(logit) = logits.get_mut(*id as usize) {
                *logit = if *logit < 0.0 {
                    *logit * penalty
                } else {
                    *logit / penalty
                };
            }
        }
    }
    forbid_ngrams(logits, ids, request.no_repeat_ngram_size);
    if new < request.min_new_tokens {
        for &end in ends {
            if let Some(logit) = logits.get_mut(end as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

fn forbid_ngrams(logits: &mut [f32], ids: &[u32], size: usize) {
    if size == 0 || ids.len() + 1 < size {
        return;
    }
    let begun = &ids[ids.len() + 1 - size..];
    for ngram in ids.windows(size) {
        let (start, last) = ngram.split_at(size - 1);
        if start == begun
            && let Some(logit) = logits.get_mut(last[0] as usize)
        {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Logarithms of the probabilities, in place.
pub(super) fn log_softmax(logits: &mut [f32]) {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - top).exp()).sum();
    let shift = top + sum.ln() as f32;
    for logit in logits {
        *logit -= shift;
    }
}
