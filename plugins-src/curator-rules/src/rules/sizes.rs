//! How long a text, its lines and its words are, and what it is made of.

use super::{Broken, beyond};
use crate::measure::Measures;
use crate::pack::Bounds;

/// Languages whose lines may be long: only the longest is bounded, by 100,000 (StarCoder2).
const LONG_LINES: [&str; 7] = [
    "html",
    "json",
    "markdown",
    "tex",
    "text",
    "xml",
    "restructuredtext",
];
pub(super) fn sizes(numbers: &Measures, language: &str, bounds: &Bounds) -> Option<Broken> {
    let most = |code, what, value, name| beyond(code, what, value, bounds.get(name), true);
    let least = |code, what, value, name| beyond(code, what, value, bounds.get(name), false);
    let lines = if bounds.by_language && LONG_LINES.contains(&language) {
        let bound = bounds.get("max_line_length").map(|_| 100_000.0);
        beyond(
            "long-line",
            "longest line",
            numbers.longest_line as f64,
            bound,
            true,
        )
    } else {
        most(
            "long-line",
            "longest line",
            numbers.longest_line as f64,
            "max_line_length",
        )
        .or_else(|| {
            most(
                "long-lines",
                "mean length of a line",
                numbers.mean_line,
                "max_mean_line_length",
            )
        })
    };
    lines
        .or_else(|| {
            least(
                "short",
                "characters",
                numbers.characters as f64,
                "min_chars",
            )
        })
        .or_else(|| most("large", "bytes", numbers.bytes as f64, "max_bytes"))
        .or_else(|| least("few-lines", "lines", numbers.lines as f64, "min_lines"))
        .or_else(|| most("many-lines", "lines", numbers.lines as f64, "max_lines"))
        .or_else(|| least("few-words", "words", numbers.words as f64, "min_words"))
        .or_else(|| {
            least(
                "short-lines",
                "mean length of a line",
                numbers.mean_line,
                "min_mean_line_length",
            )
        })
}

pub(super) fn fractions(numbers: &Measures, language: &str, bounds: &Bounds) -> Option<Broken> {
    let most = |code, what, value, name| beyond(code, what, value, bounds.get(name), true);
    let least = |code, what, value, name| beyond(code, what, value, bounds.get(name), false);
    least(
        "few-letters",
        "fraction of letters",
        numbers.alphabetic,
        "min_alphabetic",
    )
    .or_else(|| {
        least(
            "few-alphanumerics",
            "fraction of letters and digits",
            numbers.alphanumeric,
            "min_alphanumeric",
        )
    })
    .or_else(|| {
        most(
            "many-digits",
            "fraction of digits",
            numbers.digits,
            match language {
                "sql" if bounds.get("max_sql_digits").is_some() => "max_sql_digits",
                _ => "max_digits",
            },
        )
    })
    .or_else(|| {
        most(
            "much-space",
            "fraction of white space",
            numbers.whitespace,
            "max_whitespace",
        )
    })
    .or_else(|| {
        least(
            "short-words",
            "mean length of a word",
            numbers.mean_word,
            "min_mean_word_length",
        )
    })
    .or_else(|| {
        most(
            "long-words",
            "mean length of a word",
            numbers.mean_word,
            "max_mean_word_length",
        )
    })
    .or_else(|| {
        most(
            "hex-words",
            "fraction of hexadecimal words",
            numbers.hex_words,
            "max_hex_words",
        )
    })
    .or_else(|| {
        most(
            "broken-characters",
            "fraction of replacement characters",
            numbers.replacement,
            "max_replacement_characters",
        )
    })
}
