//! Licence comments at the head of a file.

use source_text::Comments;

/// Phrases of which a licence comment has one, in lower case. A comment that only speaks of licences, because the code reads
/// them, is the code's.
const PHRASES: [&str; 20] = [
    "spdx-",
    "all rights reserved",
    "licensed under",
    "licensed to ",
    "is under the",
    "the terms of the",
    "permission is hereby granted",
    "permission to use, copy",
    "redistribution and use",
    "general public license",
    "apache license",
    "mit license",
    "bsd license",
    "style license",
    "see license",
    "called license",
    "license file",
    "license at the top",
    "for terms of use",
    "this source code form is subject",
];
/// How lines of such a comment begin.
const STARTS: [&str; 7] = [
    "copyright",
    "(c) ",
    "\u{a9}",
    "license",
    "licence",
    "@license",
    "@copyright",
];
/// What lines of comment say to compilers, interpreters and editors; those before and behind a licence stay.
const DIRECTIVES: [&str; 16] = [
    "coding:",
    "coding=",
    "-*-",
    "vim:",
    "frozen_string_literal",
    "@ts-",
    "@flow",
    "@jsx",
    "eslint",
    "pylint:",
    "flake8:",
    "mypy:",
    "ruff:",
    "shellcheck",
    "go:build",
    "+build",
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
        let is_licence = is_licence(&comment);
        let is_documentation = is_documentation(&comment);
        // What else stands on the line stays where it is.
        let rest = &text[end..];
        let is_whole =
            rest.is_empty() || rest.starts_with(['\n', '\r']) || text[..end].ends_with('\n');
        if is_licence && !is_documentation && is_whole {
            let (from, to) = without_directives(text, at, end);
            let next = match to == end {
                // A blank line of white space is a blank line; the indentation of what follows is not.
                true => end + (rest.len() - rest.trim_start_matches(['\n', '\r']).len()),
                false => to,
            };
            found.push((from, next));
        }
        at = end;
    }
}

/// Whether a comment, in lower case, says under which licence its file is, or whose it is.
fn is_licence(comment: &str) -> bool {
    let starts = |line: &str| {
        let line =
            line.trim_start_matches(|c: char| !c.is_alphanumeric() && !"(@\u{a9}".contains(c));
        STARTS.iter().any(|start| line.starts_with(start))
    };
    PHRASES.iter().any(|phrase| comment.contains(phrase)) || comment.lines().any(starts)
}

/// Documentation of what follows: `//!`, `///`.
fn is_documentation(comment: &str) -> bool {
    comment.starts_with("//!") || comment.starts_with("///") && !comment.starts_with("////")
}

/// The lines of a comment but for directives at its beginning and end.
fn without_directives(text: &str, start: usize, end: usize) -> (usize, usize) {
    let is_directive = |line: &str| {
        let line = line.to_lowercase();
        DIRECTIVES.iter().any(|word| line.contains(word))
    };
    let lines: Vec<&str> = text[start..end].split_inclusive('\n').collect();
    let before = lines.iter().take_while(|line| is_directive(line)).count();
    let behind = lines[before..].iter().rev();
    let behind = behind.take_while(|line| is_directive(line)).count();
    let bytes = |lines: &[&str]| lines.iter().map(|line| line.len()).sum::<usize>();
    (
        start + bytes(&lines[..before]),
        end - bytes(&lines[lines.len() - behind..]),
    )
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
    let begins = is_documentation(rest);
    let is_comment = |line: &str| {
        let line = line.trim_start_matches([' ', '\t']);
        comments.line.iter().any(|mark| line.starts_with(mark)) && is_documentation(line) == begins
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
