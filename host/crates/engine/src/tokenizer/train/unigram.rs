//! Unigram, the same each time.

use std::collections::{BTreeMap, BTreeSet};

use tokenizers::models::unigram::{Unigram, UnigramTrainer};

/// The trainer of the library adds floating-point numbers in the order of a hash map, and in as many parts as there are
/// threads. Sorted words on one thread give the same pieces each time.
pub(super) fn learned(
    trainer: &UnigramTrainer,
    words: BTreeMap<String, u32>,
) -> tokenizers::Result<Unigram> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let learn = || {
        let mut model = Unigram::default();
        trainer.do_train(words.into_iter().collect(), &mut model)?;
        tokenizers::Result::Ok(model)
    };
    // It panics where a word is so long that its likelihood is no number.
    let model = pool
        .install(|| std::panic::catch_unwind(std::panic::AssertUnwindSafe(learn)))
        .unwrap_or_else(|_| {
            Err("the text holds a word that is too long to weigh; break it up".into())
        })?;
    in_order(&model, trainer)
}

/// The trainer gives the characters that it had dropped the lowest scores, a ten-thousandth apart, in the order of a hash
/// set. Here they get the same scores in the order of the characters.
fn in_order(model: &Unigram, trainer: &UnigramTrainer) -> tokenizers::Result<Unigram> {
    let mut vocab: Vec<(String, f64)> = model.iter().cloned().collect();
    let special = trainer.special_tokens.len().min(vocab.len());
    let pieces = &mut vocab[special..];
    let lowest = pieces
        .iter()
        .map(|piece| piece.1)
        .fold(f64::INFINITY, f64::min);
    let mut given = Vec::new();
    let mut penalty = 0.0;
    for _ in 0..=pieces.len() {
        given.push((lowest + penalty).to_bits());
        penalty += 0.0001;
    }
    let given: BTreeSet<u64> = given.into_iter().collect();
    let mut dropped: Vec<&mut (String, f64)> = pieces
        .iter_mut()
        .filter(|(text, score)| text.chars().count() == 1 && given.contains(&score.to_bits()))
        .collect();
    let mut scores: Vec<f64> = dropped.iter().map(|piece| piece.1).collect();
    scores.sort_by(f64::total_cmp);
    dropped.sort_by(|a, b| a.0.cmp(&b.0));
    for (piece, score) in dropped.into_iter().zip(scores) {
        piece.1 = score;
    }
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let unknown = trainer.unk_token.as_ref().and_then(|unknown| {
        trainer
            .special_tokens
            .iter()
            .position(|token| token.content == *unknown)
    });
    Unigram::from(vocab, unknown, false)
}
