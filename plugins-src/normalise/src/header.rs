//! Licence comments at the head of a file.

use source_text::Comments;

/// Words of which a licence comment has one, in lower case.
const WORDS: [&str; 6] = [
    "copyright",
    "license",
    "licence",
    "spdx-",
    "all rights reserved",
    "(c) ",
];

/// Comments at the head that speak of a licence, with the blank lines behind them. What stands between, and `#!` lines, stays.
pub fn headers(text: &str, comments: &Comments) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    if text.starts_with("#!") && !text.starts_with("#![") {
        at = line_end(text, 0);
    }
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        let Some(end) = comment_end(text, at, comments) else {
            return found;
        };
        let comment = text[at..end].to_lowercase();
        let is_licence = WORDS.iter().any(|word| comment.contains(word));
        // Documentation of what follows: `//!`, `///`.
        let is_documentation = ["//!", "///"].iter().any(|mark| comment.starts_with(mark));
        // What else stands on the line stays where it is.
        let rest = &text[end..];
        let is_whole =
            rest.is_empty() || rest.starts_with(['\n', '\r']) || text[..end].ends_with('\n');
        if is_licence && !is_documentation && is_whole {
            let next = end + (rest.len() - rest.trim_start_matches(['\n', '\r']).len());
            // A blank line of white space is a blank line; the indentation of what follows is not.
            found.push((at, next));
        }
        at = end;
    }
}

/// Where the comment that begins at `at` ends: a block's last mark, or the last of the lines of comment that follow on
/// one another, its line break included.
fn comment_end(text: &str, at: usize, comments: &Comments) -> Option<usize> {
    let rest = &text[at..];
    let block = comments
        .block
        .iter()
        .find(|(open, _)| rest.starts_with(open));
    if let Some((open, close)) = block {
        let inner = &rest[open.len()..];
        return inner
            .find(close)
            .map(|end| at + open.len() + end + close.len());
    }
    let is_comment = |line: &str| {
        let line = line.trim_start_matches([' ', '\t']);
        comments.line.iter().any(|mark| line.starts_with(mark))
    };
    let mut end = at;
    while end < text.len() && is_comment(&text[end..line_end(text, end)]) {
        end = line_end(text, end);
    }
    (end > at).then_some(end)
}

/// One past the line break of the line that holds `at`.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |end| at + end + 1)
}
