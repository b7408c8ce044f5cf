//! White space: at the ends of lines, of other systems' lines, at the end of the text.

use source_text::Language;
use source_words::bare;

/// White space at the ends of lines that is not the value of a string.
pub fn trailing(text: &str, language: &Language) -> Vec<(usize, usize)> {
    let ends: Vec<(usize, usize)> = lines(text)
        .map(|(start, line)| {
            let line = line.trim_end_matches(['\n', '\r']);
            let kept = line.trim_end_matches([' ', '\t']).len();
            (start + kept, start + line.len())
        })
        .filter(|(start, end)| start < end)
        .collect();
    if ends.is_empty() {
        return ends;
    }
    let strings = bare(text, language).strings;
    let is_in_string = |at: usize| {
        let next = strings.partition_point(|string| string.start < at);
        next > 0 && at <= strings[next - 1].inner_end && strings[next - 1].inner <= at
    };
    ends.into_iter()
        .filter(|(_, end)| !is_in_string(*end))
        .collect()
}

/// `\r\n` and a lone `\r`.
pub fn other_line_ends(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let returns = text.match_indices('\r');
    returns
        .map(|(at, _)| (at, at + 1 + usize::from(bytes.get(at + 1) == Some(&b'\n'))))
        .collect()
}

/// What makes the text end with one line break.
pub fn last_line_break(text: &str) -> Option<((usize, usize), &'static str)> {
    let kept = text.trim_end_matches(['\n', '\r', ' ', '\t']).len();
    // White space before the one line break is that line's.
    let breaks = text[kept..].trim_start_matches([' ', '\t']);
    (kept > 0 && !matches!(breaks, "\n" | "\r\n")).then_some(((kept, text.len()), "\n"))
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}
