//! The curator `normalise`: takes licence comments out and evens line ends and white space, by edits.
//!
//! What it made it leaves alone: a second pass keeps every sample. Line ends are evened in every text, what a model is given
//! and what it learns alike; the rest is for code, whose language the dataset or the text itself says.

mod header;
mod space;

use codetune_plugin::{About, Curator, Decision, Edit, Part, Reason, Sample, Settings, Verdict};
use source_text::detect;

/// The plugin.
#[derive(Debug, Clone)]
pub struct Normalise {
    licence_header: bool,
    line_ends: bool,
    trailing_space: bool,
    last_line_break: bool,
}

/// One change of a text: its bytes, what takes their place, and what it is counted by.
type Change = ((usize, usize), &'static str, &'static str);

/// Every reason, in the order in which they are told.
const REASONS: [(&str, &str); 4] = [
    ("licence-header", "a licence comment was taken out"),
    ("line-ends", "lines ended in other ways"),
    ("trailing-space", "lines ended with white space"),
    (
        "last-line-break",
        "the text did not end with one line break",
    ),
];

impl Curator for Normalise {
    const ABOUT: About = About {
        name: "normalise",
        version: env!("CARGO_PKG_VERSION"),
        description: "Takes licence comments out of the heads of files, and evens line ends and white space at the ends of lines.",
        author: "CodeTune Studio",
        tags: &["curator", "transform", "licence", "white-space"],
        config_schema: include_str!("config.json"),
    };

    fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            licence_header: settings.get("licence_header", true)?,
            line_ends: settings.get("line_ends", true)?,
            trailing_space: settings.get("trailing_space", true)?,
            last_line_break: settings.get("last_line_break", true)?,
        })
    }

    fn curate(&self, sample: &Sample) -> Result<Verdict, String> {
        let mut edits = Vec::new();
        let mut codes = Vec::new();
        for (index, part) in sample.parts.iter().enumerate() {
            for ((start, end), replacement, code) in self.changes(sample, part) {
                codes.push(code);
                edits.push(Edit {
                    part: index,
                    start,
                    end,
                    replacement: replacement.to_owned(),
                });
            }
        }
        if edits.is_empty() {
            return Ok(Verdict::keep());
        }
        let reasons = REASONS.iter().filter(|(code, _)| codes.contains(code));
        let reasons = reasons.map(|(code, message)| Reason {
            code,
            message: (*message).to_owned(),
        });
        Ok(Verdict {
            decision: Decision::Rewrite(edits, reasons.collect()),
            ..Verdict::keep()
        })
    }
}

impl Normalise {
    /// In order, none over another.
    fn changes(&self, sample: &Sample, part: &Part) -> Vec<Change> {
        let text = part.text.as_str();
        let language = detect(sample.language.as_deref(), sample.path.as_deref(), text);
        // In Markdown two spaces break a line, and a text's comments are its words.
        let language = language
            .filter(|language| !matches!(language.name, "markdown" | "text" | "restructuredtext"));
        let mut changes: Vec<Change> = Vec::new();
        if let Some(language) = language.filter(|_| self.licence_header) {
            let headers = header::headers(text, &language.comments);
            changes.extend(headers.into_iter().map(|span| (span, "", "licence-header")));
        }
        if self.trailing_space
            && let Some(language) = language
        {
            let spaces = space::trailing(text, language);
            changes.extend(spaces.into_iter().map(|span| (span, "", "trailing-space")));
        }
        if self.line_ends {
            let ends = space::other_line_ends(text);
            changes.extend(ends.into_iter().map(|span| (span, "\n", "line-ends")));
        }
        if self.last_line_break
            && language.is_some()
            && sample.path.is_some()
            && sample.parts.len() == 1
            && let Some((span, replacement)) = space::last_line_break(text)
        {
            changes.push((span, replacement, "last-line-break"));
        }
        without_overlap(changes)
    }
}

/// Those that begin first and reach furthest stay; what lies in them goes with them.
fn without_overlap(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by_key(|((start, end), ..)| (*start, std::cmp::Reverse(*end)));
    let mut reached = 0;
    changes.retain(|((start, end), ..)| {
        let is_free = *start >= reached;
        if is_free {
            reached = *end;
        }
        is_free
    });
    changes
}

codetune_plugin::curator!(Normalise);

#[cfg(test)]
mod tests;
