//! Finds what the rules say, without a pattern looking at a whole text: each rule names a place where it can match, places
//! are found by skipping through the bytes, and a pattern sees nothing but the run of bytes around one.
//!
//! A run is as long as it can be and holds every byte that a match or a letter beside it can have. So a pattern finds the
//! same in it as in the text: no match reaches out of it, and what lies at its ends is no letter.

use std::cell::OnceCell;
use std::ops::Range;

use memchr::{memchr, memchr_iter, memmem};
use regex::{Captures, Regex};
use source_text::{Kind, kind, long_runs, run_around};

use crate::assigned::assigned;
use crate::rules::{Place, Rule};
use crate::unquoted;

/// Letters, and what tokens and addresses have between them.
static WORD: Kind =
    kind!(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'%' | b'+' | b'-' | b'@');
/// The same and what a URL has between its parts.
static URL: Kind = kind!(
    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'%' | b'+' | b'-' | b'@'
        | b':' | b'/' | b'!' | b'$' | b'&' | b'*' | b'=' | b'~' | b'#'
);
static DOTTED: Kind = kind!(b'0'..=b'9' | b'.');
/// `0.0.0.0`.
const SHORTEST_DOTTED: usize = 7;
/// The shortest token of any rule: `xoxb-` and ten letters.
const SHORTEST_WORD: usize = 15;

/// A rule that is ready to search.
pub struct Search {
    /// Which.
    pub rule: &'static Rule,
    /// Made when a text first has a place for it: all of them take tens of milliseconds.
    regex: OnceCell<Regex>,
}

impl Search {
    /// Looks for a rule.
    pub fn new(rule: &'static Rule) -> Self {
        Self {
            rule,
            regex: OnceCell::new(),
        }
    }

    fn regex(&self) -> &Regex {
        let rule = self.rule;
        self.regex.get_or_init(|| {
            let regex = Regex::new(&format!("(?-u){}", rule.pattern));
            regex.unwrap_or_else(|error| panic!("{}: {error}", rule.code))
        })
    }

    /// Places of the text that are secrets, in order; `words` are its marked words.
    pub fn find(&self, text: &str, words: &[Range<usize>]) -> Vec<Range<usize>> {
        let bytes = text.as_bytes();
        let mut found = Vec::new();
        match self.rule.place {
            Place::Word(piece) => {
                for word in words {
                    if text[word.clone()].contains(piece) {
                        self.within(text, word.clone(), &mut found);
                    }
                }
            }
            Place::Address => {
                let is_between = |at: &usize| {
                    let before = at.checked_sub(1).map(|at| bytes[at]);
                    let next = bytes.get(at + 1);
                    before.is_some_and(|byte| WORD[usize::from(byte)])
                        && next.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
                };
                let places = memchr_iter(b'@', bytes).filter(is_between);
                self.around(text, &WORD, places, &mut found);
            }
            Place::Dotted => {
                let runs = long_runs(bytes, &DOTTED, SHORTEST_DOTTED);
                let has_dots =
                    |run: &Range<usize>| memchr_iter(b'.', &bytes[run.clone()]).count() >= 3;
                let places = runs.filter(has_dots).map(|run| run.start);
                self.around(text, &WORD, places, &mut found);
            }
            Place::Url => {
                let places = memmem::find_iter(bytes, "://");
                self.around(text, &URL, places, &mut found);
            }
            Place::Assignment => {
                let is_one = |place: &Range<usize>| (self.rule.accept)(&text[place.clone()]);
                found.extend(assigned(bytes).filter(is_one));
            }
            Place::Line => {
                for line in unquoted::lines(bytes) {
                    self.within(text, line, &mut found);
                }
            }
            Place::Text(piece) => {
                if memmem::find(bytes, piece.as_bytes()).is_some() {
                    self.within(text, 0..text.len(), &mut found);
                }
            }
        }
        found
    }

    /// Searches the runs around some places, each run once.
    fn around(
        &self,
        text: &str,
        kind: &Kind,
        places: impl Iterator<Item = usize>,
        found: &mut Vec<Range<usize>>,
    ) {
        let mut searched = 0;
        for at in places {
            if at >= searched {
                let run = run_around(text.as_bytes(), kind, at);
                searched = run.end;
                // Of an address and of a URL with a user it is a part; most URLs have none.
                let is_one = matches!(self.rule.place, Place::Dotted)
                    || memchr(b'@', &text.as_bytes()[run.clone()]).is_some();
                if is_one {
                    self.within(text, run, found);
                }
            }
        }
    }

    /// Searches one run.
    fn within(&self, text: &str, run: Range<usize>, found: &mut Vec<Range<usize>>) {
        let place = |captures: Captures<'_>| {
            let place = captures.get(1).or_else(|| captures.get(0))?.range();
            Some(run.start + place.start..run.start + place.end)
        };
        let matches = self.regex().captures_iter(&text[run.clone()]);
        let is_one = |place: &Range<usize>| {
            let is_piece =
                matches!(self.rule.place, Place::Dotted) && has_more_numbers(text, place);
            !is_piece && (self.rule.accept)(&text[place.clone()])
        };
        found.extend(matches.filter_map(place).filter(is_one));
    }
}

/// 1.2.3.4.5 is a version, not an address.
fn has_more_numbers(text: &str, place: &Range<usize>) -> bool {
    let (before, after) = (&text[..place.start], &text[place.end..]);
    let mut after = after.bytes();
    before.ends_with('.')
        || after.next() == Some(b'.') && after.next().is_some_and(|byte| byte.is_ascii_digit())
}

/// Words in which a token may stand: long enough, and a letter's start in them has what a token begins with.
pub fn marked_words(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_marked = |word: &Range<usize>| {
        let word = &bytes[word.clone()];
        let mut before = b' ';
        word.iter().enumerate().any(|(at, byte)| {
            let begins = !is_letter(std::mem::replace(&mut before, *byte));
            begins && begins_a_token(&word[at..])
        })
    };
    long_runs(bytes, &WORD, SHORTEST_WORD)
        .filter(is_marked)
        .collect()
}

/// Whether a word begins as one of the patterns for `Place::Word` does.
fn begins_a_token(word: &[u8]) -> bool {
    matches!(
        word,
        [b'A', b'K' | b'S' | b'B' | b'C', b'I' | b'C', b'A', ..]
            | [b'g', b'h', _, b'_', ..]
            | [b'g', b'i', b't', b'h', b'u', b'b', b'_', ..]
            | [b'g', b'l', b'p', b'a', b't', b'-', ..]
            | [b'x', b'o', b'x', ..]
            | [b'r' | b's', b'k', b'_' | b'-', ..]
            | [b'A', b'I', b'z', b'a', ..]
            | [b'h', b'f', b'_', ..]
            | [b'n', b'p', b'm', b'_', ..]
            | [b'e', b'y', b'J', ..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RULES;

    /// What the pattern alone finds in the whole text.
    fn by_pattern(search: &Search, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        search.within(text, 0..text.len(), &mut found);
        found
    }

    #[test]
    fn every_rule_finds_what_its_pattern_finds_in_the_whole_text() {
        let body = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8";
        let upper = "QWERTYUIOPASDFGH";
        // Pieces of secrets and of code, drawn by a multiplicative generator and put together.
        let pieces = [
            body,
            upper,
            "AKIA",
            "ACCA",
            "ghp_",
            "gho_",
            "github_pat_",
            "glpat-",
            "xoxb-",
            "sk_live_",
            "rk_test_",
            "AIza",
            "hf_",
            "sk-",
            "npm_",
            "eyJ",
            "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.",
            "password",
            "api_key",
            "Token",
            "SECRET",
            "credentials",
            "privatekey",
            "'",
            "\"",
            "=",
            ":",
            "=>",
            ":=",
            "==",
            ">",
            " ",
            "     ",
            "\n",
            "\u{b}",
            "x9Kq4vT7_mP2w",
            "postgres://",
            "http://",
            "me",
            ":",
            "@",
            "firm",
            ".co.uk",
            "@b.de",
            ".",
            "8.8.4.77",
            "10.",
            "203",
            "1.2.3.4.5",
            "é",
            "-",
            "_",
            "%",
            "/",
            "#",
            "x = f(y)",
            "ENV A_",
            "pwd",
            "\t",
            "$x",
            "-----BEGIN RSA PRIVATE KEY-----",
            "-----END RSA PRIVATE KEY-----",
            "<",
            ">",
        ];
        let searches: Vec<Search> = RULES.iter().map(Search::new).collect();
        let mut hits = vec![0; searches.len()];
        let mut random = draws::Random::new(1, "");
        let mut draw = |below: usize| random.below(below as u64) as usize;
        for _ in 0..30_000 {
            let (first, among) = (draw(pieces.len()), 1 + draw(pieces.len()));
            let length = 1 + draw(30);
            let text: String = (0..length)
                .map(|_| pieces[(first + draw(among)) % pieces.len()])
                .collect();
            let words = marked_words(&text);
            for (search, hits) in searches.iter().zip(&mut hits) {
                let found = search.find(&text, &words);
                let code = search.rule.code;
                assert_eq!(found, by_pattern(search, &text), "{code}: {text:?}");
                *hits += found.len();
            }
        }
        for (search, hits) in searches.iter().zip(hits) {
            assert!(hits > 0, "no text has {}", search.rule.code);
        }
    }
}
