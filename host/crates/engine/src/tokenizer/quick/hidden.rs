//! Added tokens that are looked for in text as SentencePiece's normalizers write it.

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::{NormalizedString, Normalizer, Tokenizer, normalizer::Range};

use super::{
    added::{Each, Part, of},
    spelling::BLANK,
};

/// Tokens that are `normalized`, for a tokenizer whose normalizers write blanks as `▁` or put one before a text.
pub(super) struct Hidden {
    /// Of each token the longest run without blanks. Normalizers leave it as it is, so where none of these stands there is
    /// no token, and the text need not be normalized.
    runs: AhoCorasick,
    /// The tokens as the normalizers write them.
    searcher: AhoCorasick,
    /// For each its id; `None` where more than its text decides.
    ids: Vec<Option<u32>>,
    /// A `▁` is put before a text.
    prepends: bool,
}

impl Hidden {
    /// `Some(None)` where there are no such tokens; `None` where one of them is all blanks.
    pub(super) fn new(tokenizer: &Tokenizer, prepends: bool) -> Option<Option<Self>> {
        let normalizer = tokenizer.get_normalizer()?;
        let (mut runs, mut texts, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for (id, token) in of(tokenizer, true) {
            let run = token
                .content
                .split([' ', BLANK])
                .max_by_key(|run| run.len());
            runs.push(run.filter(|run| !run.is_empty())?);
            let mut text = NormalizedString::from(token.content.as_str());
            normalizer.normalize(&mut text).ok()?;
            texts.push(text.get().to_owned());
            let plain = !(token.single_word || token.lstrip || token.rstrip);
            ids.push(plain.then_some(id));
        }
        if ids.is_empty() {
            return Some(None);
        }
        let searcher = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(texts);
        Some(Some(Self {
            runs: AhoCorasick::new(runs).ok()?,
            searcher: searcher.ok()?,
            ids,
            prepends,
        }))
    }

    /// Calls `each` as [`super::added::Added::pieces`] does, within a stretch that begins at the byte `start`.
    pub(super) fn within(
        &self,
        tokenizer: &Tokenizer,
        (start, text): (usize, &str),
        each: &mut Each<'_>,
    ) -> Option<()> {
        if !self.runs.is_match(text) {
            return each(start, text, Part::Text { begins: true });
        }
        let mut normalized = NormalizedString::from(text);
        tokenizer
            .get_normalizer()?
            .normalize(&mut normalized)
            .ok()?;
        let whole = normalized.get();
        let mut part = |from: usize, to: usize, token: Option<u32>| {
            if from == to {
                return Some(());
            }
            let origin = normalized.convert_offsets(Range::Normalized(from..to))?;
            let given = &text[origin.clone()];
            let part = match token {
                Some(id) => Part::Token(id),
                None => {
                    let begins = from == 0;
                    self.is_written(given, &whole[from..to], begins)?;
                    Part::Text { begins }
                }
            };
            each(start + origin.start, given, part)
        };
        let mut done = 0;
        for found in self.searcher.find_iter(whole) {
            let id = self.ids[found.pattern().as_usize()]?;
            part(done, found.start(), None)?;
            part(found.start(), found.end(), Some(id))?;
            done = found.end();
        }
        part(done, whole.len(), None)
    }

    /// `Some` where `given` is what `normalized` was made of and nothing else: the `▁` before a text shares its origin with
    /// the character behind it, which a token may have taken.
    fn is_written(&self, given: &str, normalized: &str, begins: bool) -> Option<()> {
        let rest = match begins && self.prepends {
            true => normalized.strip_prefix(BLANK)?,
            false => normalized,
        };
        let blank = |character| if character == ' ' { BLANK } else { character };
        let same = given.chars().map(blank).eq(rest.chars().map(blank));
        same.then_some(())
    }
}
