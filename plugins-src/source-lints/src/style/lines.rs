//! Line by line: how long, how indented, how ended.

use codetune_plugin::{Diagnostic, Severity};
use source_text::Language;
use source_words::{Bare, Text};

/// What most of a file does; a line that does otherwise is found.
struct Habits {
    /// Lines indented by tabs, and by spaces.
    tabs: usize,
    spaces: usize,
    /// Lines that end as Windows has them.
    windows: usize,
    breaks: usize,
}

impl Habits {
    fn of(text: &str) -> Self {
        let indents = |first: char| text.lines().filter(move |line| line.starts_with(first));
        Self {
            tabs: indents('\t').count(),
            // ` * text` goes on with a comment, whatever code is indented by.
            spaces: indents(' ').filter(|line| !line.starts_with(" *")).count(),
            windows: text.matches("\r\n").count(),
            breaks: text.matches('\n').count(),
        }
    }

    fn is_tabbed(&self) -> bool {
        self.tabs > self.spaces
    }

    fn is_windows(&self) -> bool {
        2 * self.windows > self.breaks
    }
}

/// Findings of every line; `bound` is the most characters of one.
pub fn lines(
    text: &str,
    bare: &Bare,
    language: &Language,
    bound: Option<usize>,
    found: &mut Vec<Diagnostic>,
) {
    let habits = Habits::of(text);
    let mut strings = &bare.strings[..];
    let mut is_said = false;
    let mut at = 0;
    for whole in text.split_inclusive('\n') {
        let line = whole.strip_suffix('\n').unwrap_or(whole);
        let ends_windows = line.ends_with('\r');
        let line = line.strip_suffix('\r').unwrap_or(line);
        let end = at + line.len();
        while let [first, rest @ ..] = strings
            && first.end <= at
        {
            strings = rest;
        }
        trailing_space(line, at, strings, language, found);
        if whole.len() > line.len() && ends_windows != habits.is_windows() && habits.windows > 0 {
            let message = "the line ends in another way than most of the file";
            let instead = if habits.is_windows() { "\r\n" } else { "\n" };
            found.push(
                Diagnostic::new(
                    "line-ends",
                    Severity::Warning,
                    (end, at + whole.len()),
                    message,
                )
                .instead(instead, 0.9),
            );
        }
        if let Some(indented) = indentation(line, at, strings, language, &habits)
            && !(indented.code == "tabs" && is_said)
        {
            is_said |= indented.code == "tabs";
            found.push(indented);
        }
        if let Some(bound) = bound
            && line.len() > bound
        {
            long_line(line, at, bound, found);
        }
        at += whole.len();
    }
}

/// Whether a place is in one of the strings, whose white space belongs to their values.
fn is_in_string(strings: &[Text], place: usize) -> bool {
    strings
        .iter()
        .take_while(|string| string.start < place)
        .any(|string| string.inner <= place && place <= string.inner_end)
}

fn trailing_space(
    line: &str,
    at: usize,
    strings: &[Text],
    language: &Language,
    found: &mut Vec<Diagnostic>,
) {
    let kept = line.trim_end_matches([' ', '\t']).len();
    // Two spaces break a line in Markdown.
    let is_break = language.name == "markdown" && line.len() - kept == 2 && kept > 0;
    if kept == line.len() || is_break {
        return;
    }
    let end = at + line.len();
    let confidence = if is_in_string(strings, end) { 0.3 } else { 1.0 };
    let message = "white space at the end of the line";
    found.push(
        Diagnostic::new("trailing-space", Severity::Hint, (at + kept, end), message)
            .instead("", confidence),
    );
}

/// What is odd about how one line is indented.
fn indentation(
    line: &str,
    at: usize,
    strings: &[Text],
    language: &Language,
    habits: &Habits,
) -> Option<Diagnostic> {
    let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
    let is_tabbed = habits.is_tabbed();
    let (head, other) = (&line[..indent], if is_tabbed { ' ' } else { '\t' });
    let is_blank = indent == line.len();
    let span = (at, at + indent);
    let is_mixed = habits.tabs > 0 && habits.spaces > 0 && head.contains(other);
    if is_mixed && !is_blank && !is_in_string(strings, at) {
        // One space behind tabs continues a comment: ` * text`.
        if is_tabbed && head.trim_start_matches('\t') == " " {
            return None;
        }
        let severity = match language.name {
            "python" => Severity::Warning,
            _ => Severity::Hint,
        };
        let by = if is_tabbed { "spaces" } else { "tabs" };
        let message = format!("the line is indented by {by}, unlike most of the file");
        let mixed = Diagnostic::new("mixed-indentation", severity, span, message);
        return Some(match is_tabbed {
            true => mixed,
            false => mixed.instead(head.replace('\t', "    "), 0.5),
        });
    }
    let has_spaces = matches!(language.name, "python" | "rust" | "yaml");
    (is_tabbed && head.starts_with('\t') && has_spaces).then(|| {
        let severity = match language.name {
            "yaml" => Severity::Warning,
            _ => Severity::Hint,
        };
        let message = format!("{} is indented by spaces", language.name);
        Diagnostic::new("tabs", severity, span, message)
    })
}

fn long_line(line: &str, at: usize, bound: usize, found: &mut Vec<Diagnostic>) {
    let length = line.chars().count();
    let Some((cut, _)) = line.char_indices().nth(bound) else {
        return;
    };
    // An address or a path that cannot be broken is nobody's fault.
    let last = line.trim_end().rfind([' ', '\t']).map_or(0, |at| at + 1);
    let is_one_piece =
        last <= cut && line[last..].contains("://") || line.trim().split(' ').count() == 1;
    if is_one_piece {
        return;
    }
    found.push(Diagnostic::new(
        "long-line",
        Severity::Hint,
        (at + cut, at + line.len()),
        format!("the line has {length} characters, at most {bound}"),
    ));
}

/// How the text ends.
pub fn end(text: &str, found: &mut Vec<Diagnostic>) {
    let kept = text.trim_end_matches(['\n', '\r']).len();
    let breaks = text[kept..].matches('\n').count();
    if kept == 0 || breaks == 1 {
        return;
    }
    let is_windows = text.contains("\r\n");
    let (message, span) = match breaks {
        0 => ("the last line has no line break", (text.len(), text.len())),
        _ => ("blank lines at the end of the file", (kept, text.len())),
    };
    let instead = if is_windows { "\r\n" } else { "\n" };
    found.push(Diagnostic::new("end-of-file", Severity::Hint, span, message).instead(instead, 1.0));
}
