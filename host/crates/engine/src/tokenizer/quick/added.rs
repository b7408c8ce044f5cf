//! Added tokens in a text, such as the end of a turn.

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::{AddedToken, Tokenizer};

use super::hidden::Hidden;

/// Added tokens; `tokenizers` looks for those that are not normalized first, in all of the text.
pub(super) struct Added {
    rounds: Vec<Round>,
    /// Those that are looked for in normalized text, where that is not the given one.
    hidden: Option<Hidden>,
}

/// What a part of a text is.
#[derive(Clone, Copy)]
pub(super) enum Part {
    /// An added token of that id.
    Token(u32),
    /// A stretch without one.
    Text {
        /// What normalizers put before a text stands before this stretch.
        begins: bool,
    },
}

/// What is done with a part of a text, found at a byte.
pub(super) type Each<'a> = dyn FnMut(usize, &str, Part) -> Option<()> + 'a;

struct Round {
    searcher: AhoCorasick,
    tokens: Vec<Found>,
}

#[derive(Clone, Copy)]
struct Found {
    id: u32,
    /// It is a token only where no word goes on at either side.
    single_word: bool,
    /// It takes the blanks before it along, or those after it.
    lstrip: bool,
    rstrip: bool,
}

impl Added {
    /// For a tokenizer that normalizes nothing, or texts that are normalized already.
    pub(super) fn new(tokenizer: &Tokenizer) -> Option<Self> {
        let rounds = [false, true].map(|normalized| Round::new(tokenizer, normalized));
        let rounds: Option<Vec<_>> = rounds.into_iter().collect();
        Some(Self {
            rounds: rounds?.into_iter().flatten().collect(),
            hidden: None,
        })
    }

    /// For a tokenizer whose normalizers write blanks as `▁` and, where it `prepends`, put one before a text. `None` where
    /// a token that is looked for in such text is all blanks.
    pub(super) fn before_blanks(tokenizer: &Tokenizer, prepends: bool) -> Option<Self> {
        Some(Self {
            rounds: Round::new(tokenizer, false)?.into_iter().collect(),
            hidden: Hidden::new(tokenizer, prepends)?,
        })
    }

    /// Calls `each` with the place and the text of every added token, and of every stretch between two. `None` where
    /// this text may hold tokens that are not found here.
    pub(super) fn pieces(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        each: &mut Each<'_>,
    ) -> Option<()> {
        let Some(hidden) = &self.hidden else {
            return within(&self.rounds, 0, text, each);
        };
        within(&self.rounds, 0, text, &mut |at, text, part| match part {
            Part::Token(_) => each(at, text, part),
            Part::Text { .. } => hidden.within(tokenizer, (at, text), each),
        })
    }
}

/// Added tokens that are looked for in normalized text, or the others.
pub(super) fn of(
    tokenizer: &Tokenizer,
    normalized: bool,
) -> impl Iterator<Item = (u32, &AddedToken)> {
    let tokens = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    tokens
        .iter()
        .filter(move |(_, token)| token.normalized == normalized)
        .map(|(id, token)| (*id, token))
}

impl Round {
    /// `Some(None)` where there are no such tokens.
    fn new(tokenizer: &Tokenizer, normalized: bool) -> Option<Option<Self>> {
        let (texts, tokens): (Vec<_>, Vec<_>) = of(tokenizer, normalized)
            .map(|(id, token)| {
                let found = Found {
                    id,
                    single_word: token.single_word,
                    lstrip: token.lstrip,
                    rstrip: token.rstrip,
                };
                (token.content.as_str(), found)
            })
            .unzip();
        if texts.is_empty() {
            return Some(None);
        }
        let searcher = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(texts)
            .ok()?;
        Some(Some(Self { searcher, tokens }))
    }
}

fn within(rounds: &[Round], start: usize, text: &str, each: &mut Each<'_>) -> Option<()> {
    let Some((round, later)) = rounds.split_first() else {
        return each(start, text, Part::Text { begins: true });
    };
    let mut done = 0;
    for found in round.searcher.find_iter(text) {
        let token = round.tokens[found.pattern().as_usize()];
        if token.single_word {
            return None;
        }
        let (mut from, mut to) = (found.start(), found.end());
        if token.lstrip {
            from = text[..from].trim_end().len().max(done);
        }
        if token.rstrip {
            to = text.len() - text[to..].trim_start().len();
        }
        if from > to {
            return None;
        }
        if done < from {
            within(later, start + done, &text[done..from], each)?;
        }
        each(start + from, &text[from..to], Part::Token(token.id))?;
        // A token within the blanks that the one before it took ends before that one does: `tokenizers` goes on from there.
        done = to;
    }
    if done < text.len() {
        within(later, start + done, &text[done..], each)?;
    }
    Some(())
}
