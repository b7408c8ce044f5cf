//! Added tokens in a text, such as the end of a turn.

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::Tokenizer;

/// Added tokens; `tokenizers` looks for those that are not normalized first, in all of the text.
pub(super) struct Added {
    rounds: Vec<Round>,
}

/// What is done with a stretch of text, found at a byte: an added token of that id, or none.
type Each<'a> = dyn FnMut(usize, &str, Option<u32>) -> Option<()> + 'a;

struct Round {
    searcher: AhoCorasick,
    ids: Vec<u32>,
}

impl Added {
    /// `None` where a token takes the blanks beside it along, or counts as a word of its own only.
    pub(super) fn new(tokenizer: &Tokenizer) -> Option<Self> {
        let tokens = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
        if tokens
            .values()
            .any(|token| token.lstrip || token.rstrip || token.single_word)
        {
            return None;
        }
        let mut rounds = Vec::new();
        for normalized in [false, true] {
            let (texts, ids): (Vec<_>, Vec<_>) = tokens
                .iter()
                .filter(|(_, token)| token.normalized == normalized)
                .map(|(id, token)| (token.content.as_str(), *id))
                .unzip();
            if !texts.is_empty() {
                let searcher = AhoCorasick::builder()
                    .match_kind(MatchKind::LeftmostLongest)
                    .build(texts)
                    .ok()?;
                rounds.push(Round { searcher, ids });
            }
        }
        Some(Self { rounds })
    }

    /// Calls `each` with the place, the text and the id of every added token, and with every stretch between two.
    pub(super) fn pieces(&self, text: &str, each: &mut Each<'_>) -> Option<()> {
        within(&self.rounds, 0, text, each)
    }
}

fn within(rounds: &[Round], start: usize, text: &str, each: &mut Each<'_>) -> Option<()> {
    let Some((round, later)) = rounds.split_first() else {
        return each(start, text, None);
    };
    let mut done = 0;
    for found in round.searcher.find_iter(text) {
        if done < found.start() {
            within(later, start + done, &text[done..found.start()], each)?;
        }
        each(
            start + found.start(),
            &text[found.range()],
            Some(round.ids[found.pattern().as_usize()]),
        )?;
        done = found.end();
    }
    if done < text.len() {
        within(later, start + done, &text[done..], each)?;
    }
    Some(())
}
