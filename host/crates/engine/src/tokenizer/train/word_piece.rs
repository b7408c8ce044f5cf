//! WordPiece, the same each time.

use std::collections::{BTreeMap, BTreeSet};

use tokenizers::{Trainer, models::ModelWrapper};

use super::{TokenizerTraining, untrained::untrained};

/// The trainer of the library numbers the pieces `##x` as it meets them in a hash map, and which of two equally frequent
/// pairs is merged hangs on those numbers. So they are given first, in order, in the one list that the trainer keeps to.
pub(super) fn learned(
    training: &TokenizerTraining,
    special: &[String],
    words: BTreeMap<String, u32>,
) -> tokenizers::Result<ModelWrapper> {
    let inside: BTreeSet<char> = words.keys().flat_map(|word| word.chars().skip(1)).collect();
    let mut first = special.to_vec();
    first.extend(inside.into_iter().map(|piece| format!("##{piece}")));
    let (tokenizer, mut trainer) = untrained(training, &first)?;
    let mut model = tokenizer.get_model().clone();
    let each = words
        .iter()
        .flat_map(|(word, &count)| std::iter::repeat_n(word, count as usize));
    trainer.feed(each, |word| Ok(vec![word.to_owned()]))?;
    trainer.train(&mut model)?;
    Ok(model)
}
