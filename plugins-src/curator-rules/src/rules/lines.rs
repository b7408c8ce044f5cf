//! Comments, lines of a kind, and what is said again.

use source_text::{Language, comment_characters};

use super::{Broken, beyond};
use crate::measure::Measures;
use crate::pack::Bounds;
use crate::repetition::{Repetition, repetition};

pub(super) fn comments(
    text: &str,
    language: Option<&Language>,
    numbers: &Measures,
    bounds: &Bounds,
) -> Option<Broken> {
    let (least, most) = (bounds.get("min_comments"), bounds.get("max_comments"));
    let rules = &language?.comments;
    // A language without comments has none to ask for.
    if least.is_none() && most.is_none() || rules.line.is_empty() && rules.block.is_empty() {
        return None;
    }
    let ratio = comment_characters(text, rules) as f64 / numbers.characters.max(1) as f64;
    beyond("few-comments", "fraction in comments", ratio, least, false)
        .or_else(|| beyond("many-comments", "fraction in comments", ratio, most, true))
}

pub(super) fn lines_with(text: &str, numbers: &Measures, bounds: &Bounds) -> Option<Broken> {
    let rules = [
        (
            "max_todo_lines",
            "todo-lines",
            "fraction of lines that ask for work",
        ),
        (
            "max_assert_lines",
            "assert-lines",
            "fraction of lines that assert",
        ),
    ];
    for (name, code, what) in rules {
        if bounds.get(name).is_none() {
            continue;
        }
        let is_one = |line: &&str| match name {
            "max_todo_lines" => ["TODO", "FIXME", "your code here", "Your code here"]
                .iter()
                .any(|mark| line.contains(mark)),
            _ => line.trim_start().starts_with("assert"),
        };
        let lines = text.lines().filter(is_one).count();
        let fraction = lines as f64 / numbers.lines.max(1) as f64;
        if let Some(broken) = beyond(code, what, fraction, bounds.get(name), true) {
            return Some(broken);
        }
    }
    None
}

pub(super) fn repeated(text: &str, bounds: &Bounds) -> Option<Broken> {
    let names = [
        (
            "max_duplicate_lines",
            "duplicate-lines",
            "fraction of lines that stood before",
        ),
        (
            "max_top_2gram",
            "top-2gram",
            "fraction in the most frequent two words",
        ),
        (
            "max_top_3gram",
            "top-3gram",
            "fraction in the most frequent three words",
        ),
        (
            "max_top_4gram",
            "top-4gram",
            "fraction in the most frequent four words",
        ),
        (
            "max_duplicate_5gram",
            "duplicate-5gram",
            "fraction in five words that come again",
        ),
        (
            "max_duplicate_6gram",
            "duplicate-6gram",
            "fraction in six words that come again",
        ),
        (
            "max_duplicate_7gram",
            "duplicate-7gram",
            "fraction in seven words that come again",
        ),
        (
            "max_duplicate_8gram",
            "duplicate-8gram",
            "fraction in eight words that come again",
        ),
        (
            "max_duplicate_9gram",
            "duplicate-9gram",
            "fraction in nine words that come again",
        ),
        (
            "max_duplicate_10gram",
            "duplicate-10gram",
            "fraction in ten words that come again",
        ),
    ];
    if names.iter().all(|(name, ..)| bounds.get(name).is_none()) {
        return None;
    }
    let Repetition {
        duplicate_lines,
        top,
        duplicate,
    } = repetition(text);
    let values = std::iter::once(duplicate_lines).chain(top).chain(duplicate);
    let mut pairs = names.iter().zip(values);
    pairs.find_map(|((name, code, what), value)| beyond(code, what, value, bounds.get(name), true))
}
