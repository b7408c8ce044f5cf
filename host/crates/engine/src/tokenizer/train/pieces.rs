//! BPE as SentencePiece makes it, in Gemma's form: merges of characters, a blank written `▁`, bytes for what is rare. Nothing
//! is put before a text, so that every text comes back as it was.

use std::collections::{BTreeMap, BTreeSet};

use tokenizers::{
    AddedToken, Tokenizer as Inner, Trainer,
    decoders::{
        DecoderWrapper, byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence as Decoders,
    },
    models::bpe::{BPE, BpeTrainer},
    normalizers::Replace,
};

use super::TokenizerTraining;

/// How a blank is written.
const BLANK: char = '▁';

/// `special` are the special tokens, the one for what is unknown among them.
pub(super) fn learned(
    documents: &[String],
    training: &TokenizerTraining,
    special: &[String],
    unknown: &str,
    progress: &(dyn Fn(u64) + Sync),
) -> tokenizers::Result<Inner> {
    let added = |text: &str| AddedToken::from(text, true);
    let bytes: Vec<String> = (0..=u8::MAX).map(|byte| format!("<{byte:#04X}>")).collect();
    // The trainer numbers these first; to a tokenizer only the special ones are more than entries of its vocabulary.
    let first = special.iter().chain(&bytes).map(|text| added(text));
    let mut trainer = BpeTrainer::builder()
        .vocab_size(training.vocab_size)
        .min_frequency(training.min_frequency)
        .show_progress(false)
        .special_tokens(first.collect())
        .build();
    let room = training.vocab_size - special.len() - bytes.len();
    let alphabet = alphabet(documents, training.min_frequency, room / 2);
    let counted = documents.iter().inspect(|text| progress(text.len() as u64));
    trainer.feed(counted, |text| Ok(words(text, &alphabet)))?;
    let mut model = BPE::default();
    trainer.train(&mut model)?;
    model.unk_token = Some(unknown.to_owned());
    model.fuse_unk = true;
    model.byte_fallback = true;

    let mut tokenizer = Inner::new(model);
    let blank = BLANK.to_string();
    tokenizer.with_normalizer(Some(Replace::new(" ", blank.as_str())?))?;
    tokenizer.with_decoder(Some(Decoders::new(vec![
        DecoderWrapper::Replace(Replace::new(blank, " ")?),
        DecoderWrapper::ByteFallback(ByteFallback::new()),
        DecoderWrapper::Fuse(Fuse::new()),
    ])));
    tokenizer.add_special_tokens(special.iter().map(|text| added(text)))?;
    Ok(tokenizer)
}

/// The characters that get a token of their own: no more than `most`, the frequent ones first, and no control characters.
fn alphabet(documents: &[String], min_frequency: u64, most: usize) -> BTreeSet<char> {
    let mut counts = BTreeMap::new();
    for character in documents.iter().flat_map(|text| text.chars()) {
        *counts.entry(character).or_insert(0) += 1;
    }
    let mut counts: Vec<(char, u64)> = counts
        .into_iter()
        .filter(|&(character, count)| !character.is_control() && count >= min_frequency)
        .collect();
    counts.sort_by_key(|&(character, count)| (std::cmp::Reverse(count), character));
    counts.truncate(most);
    counts.into_iter().map(|(character, _)| character).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Blank,
    Letter,
    Digit,
    Other,
    /// Has no token of its own.
    Rare,
}

/// What merges are counted in, as SentencePiece cuts it: letters, a digit alone, or other characters, each with the one blank
/// before it; blanks before that one stand together.
fn words(text: &str, alphabet: &BTreeSet<char>) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut last = Kind::Rare;
    for character in text.chars() {
        let kind = match character {
            ' ' | BLANK => Kind::Blank,
            other if !alphabet.contains(&other) => Kind::Rare,
            other if other.is_alphabetic() => Kind::Letter,
            other if other.is_numeric() => Kind::Digit,
            _ => Kind::Other,
        };
        if last == Kind::Blank && kind != Kind::Blank && kind != Kind::Rare {
            let before = word.len() - BLANK.len_utf8();
            words.push(word[..before].to_owned());
            word.drain(..before);
        } else if kind != last || kind == Kind::Digit {
            words.push(std::mem::take(&mut word));
        }
        match kind {
            Kind::Rare => {}
            Kind::Blank => word.push(BLANK),
            _ => word.push(character),
        }
        last = kind;
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_are_counted_in_letters_digits_and_signs_with_one_blank_before_them() {
        let alphabet = "defx=+12é".chars().collect();
        let found = words("def  x2é12\n    += x\tqx", &alphabet);
        assert_eq!(
            found,
            [
                "def",
                "▁",
                "▁x",
                "2",
                "é",
                "1",
                "2",
                "▁▁▁",
                "▁+=",
                "▁x",
                "x"
            ]
        );
        assert!(words("\n", &alphabet).is_empty() && words("", &alphabet).is_empty());
    }

    #[test]
    fn frequent_characters_get_tokens_and_control_characters_never() {
        let found = alphabet(&["aab\n\n\n".into(), "bcc d".into()], 2, 2);
        assert_eq!(found, ['a', 'b'].into());
    }
}
