//! Added tokens in a text, such as the end of a turn.

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::{AddedToken, Tokenizer};

use super::spelling::BLANK;

/// Added tokens; `tokenizers` looks for those that are not normalized first, in all of the text.
pub(super) struct Added {
    rounds: Vec<Round>,
    /// Where any of these stands there may be a token that is looked for in normalized text, which is not made here.
    hidden: Option<AhoCorasick>,
}

/// What is done with a stretch of text, found at a byte: an added token of that id, or none.
type Each<'a> = dyn FnMut(usize, &str, Option<u32>) -> Option<()> + 'a;

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

    /// For a tokenizer that writes blanks as `▁` and puts one before a text. `None` where a token that is looked for in
    /// such text is all blanks.
    pub(super) fn before_blanks(tokenizer: &Tokenizer) -> Option<Self> {
        // Other characters stay what they are, one behind the other. Where the longest run of them in a token is not
        // in the text, the token is not in its normalized form.
        let runs = of(tokenizer, true).map(|(_, token)| {
            let runs = token.content.split([' ', BLANK]);
            runs.max_by_key(|run| run.len())
                .filter(|run| !run.is_empty())
        });
        let runs = runs.collect::<Option<Vec<_>>>()?;
        let hidden = match runs.is_empty() {
            true => None,
            false => Some(AhoCorasick::new(runs).ok()?),
        };
        Some(Self {
            rounds: Round::new(tokenizer, false)?.into_iter().collect(),
            hidden,
        })
    }

    /// Calls `each` with the place, the text and the id of every added token, and with every stretch between two.
    /// `None` where this text may hold tokens that are not found here.
    pub(super) fn pieces(&self, text: &str, each: &mut Each<'_>) -> Option<()> {
        if let Some(hidden) = &self.hidden
            && hidden.is_match(text)
        {
            return None;
        }
        within(&self.rounds, 0, text, each)
    }
}

/// Added tokens that are looked for in normalized text, or the others.
fn of(tokenizer: &Tokenizer, normalized: bool) -> impl Iterator<Item = (u32, &AddedToken)> {
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
        return each(start, text, None);
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
        each(start + from, &text[from..to], Some(token.id))?;
        // A token within the blanks that the one before it took ends before that one does: `tokenizers` goes on from there.
        done = to;
    }
    if done < text.len() {
        within(later, start + done, &text[done..], each)?;
    }
    Some(())
}
