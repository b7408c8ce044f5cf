//! Documents as sequences of one length, for training a model from the start and for bits per byte.

use rayon::prelude::*;

use super::Sample;
use crate::{Error, Result, tokenizer::Tokenizer};

/// Cuts documents into sequences of at most `length` tokens.
///
/// Every sequence begins with the token that ends a document, so that each token of the text is predicted from
/// something; the last sequence of a document ends with it. With `join`, short rests are put together until a
/// sequence is full, as is usual when pretraining; without, no sequence holds two documents.
///
/// # Errors
/// [`Error::Input`] without an end-of-document token, with a length under 8, or where the tokenizer fails.
pub fn windows(
    documents: &[String],
    tokenizer: &Tokenizer,
    length: usize,
    join: bool,
) -> Result<Vec<Sample>> {
    let end = tokenizer.eos_id().ok_or_else(|| {
        Error::Input(
            "the tokenizer names no eos_token in tokenizer_config.json, which must stand between documents"
                .to_owned(),
        )
    })?;
    if length < 8 {
        return Err(Error::Input(format!(
            "sequence length: must be at least 8, not {length}"
        )));
    }
    let encoded = documents
        .par_iter()
        .map(|text| tokenizer.encode(text, false))
        .collect::<Result<Vec<_>>>()?;
    let mut samples = Vec::new();
    let mut open: Vec<u32> = vec![end];
    let mut close = |open: &mut Vec<u32>| {
        if open.len() > 1 {
            let input_ids = std::mem::replace(open, vec![end]);
            let labels = input_ids.iter().map(|id| i64::from(*id)).collect();
            samples.push(Sample { input_ids, labels });
        }
    };
    for ids in encoded.into_iter().filter(|ids| !ids.is_empty()) {
        for id in ids.into_iter().chain([end]) {
            if open.len() == length {
                close(&mut open);
            }
            open.push(id);
        }
        if !join {
            close(&mut open);
        }
    }
    close(&mut open);
    Ok(samples)
}
