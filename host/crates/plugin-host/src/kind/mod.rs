//! One file per ability of a plugin: its generated bindings stay in there, plain data comes out.

pub(crate) mod analyzer;
pub(crate) mod curator;
pub(crate) mod scorer;
pub(crate) mod tool;

use crate::sanitize;

/// Scores that a plugin may give one sample or completion.
const MOST_SCORES: usize = 64;
/// Bytes of a word.
const LONGEST_WORD: usize = 64;

/// Takes a word that things are counted by: it becomes a key of reports, so it is plain.
///
/// # Errors
/// One sentence when it is not.
fn word(what: &str, word: String) -> Result<String, String> {
    let fits = !word.is_empty()
        && word.len() <= LONGEST_WORD
        && word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
    match fits {
        true => Ok(word),
        false => Err(format!(
            "{what} is named {word:?}; a name has 1 to {LONGEST_WORD} of a to z, 0 to 9, `-`, `_` and `.`"
        )),
    }
}

/// Takes control characters out.
fn clean(mut text: String) -> String {
    sanitize::string(&mut text);
    text
}
