//! A call where it stands, and questions about what it is given.

use source_text::Language;
use source_words::{Bare, Text};

use super::values::{is_constant, values};

/// Of one file.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// As it is.
    pub text: &'a str,
    /// Without comments and strings.
    pub bare: &'a Bare,
    /// Its language.
    pub language: &'a Language,
}

impl<'a> Source<'a> {
    /// The strings that begin between two places.
    pub fn strings(&self, start: usize, end: usize) -> &'a [Text] {
        let strings = &self.bare.strings;
        let from = strings.partition_point(|string| string.start < start);
        let to = strings.partition_point(|string| string.start < end);
        &strings[from..to.max(from)]
    }

    /// What a string holds.
    pub fn content(&self, string: &Text) -> &'a str {
        &self.text[string.inner..string.inner_end]
    }

    /// Whether something that may differ from call to call is put into a string.
    pub fn is_filled(&self, string: &Text) -> bool {
        let quote = string
            .inner
            .checked_sub(1)
            .map(|at| self.text.as_bytes()[at]);
        let quote = quote.filter(|_| string.inner > string.start);
        let values = values(
            self.content(string),
            quote,
            string.is_template,
            self.language,
        );
        values.into_iter().any(|value| !is_constant(value))
    }
}

/// A call, or one argument of it.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The name behind all other names that the file gives it; that of the call for an argument too.
    pub name: &'a str,
    /// The file.
    pub source: Source<'a>,
    /// Where the arguments begin, behind the parenthesis.
    pub start: usize,
    /// Where they end.
    pub end: usize,
}

impl<'a> Site<'a> {
    /// The arguments with strings blanked.
    pub fn code(&self) -> &'a str {
        &self.source.bare.code[self.start..self.end]
    }

    /// The arguments as they are.
    pub fn text(&self) -> &'a str {
        &self.source.text[self.start..self.end]
    }

    fn strings(&self) -> &'a [Text] {
        self.source.strings(self.start, self.end)
    }

    /// Each argument, without white space around it.
    pub fn list(&self) -> Vec<Site<'a>> {
        let mut list = Vec::new();
        let (mut depth, mut from) = (0_usize, self.start);
        let code = self.code();
        for (at, byte) in code.bytes().enumerate() {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                b',' if depth == 0 => {
                    list.push(self.part(from, self.start + at));
                    from = self.start + at + 1;
                }
                _ => {}
            }
        }
        let last = self.part(from, self.end);
        if last.start < last.end {
            list.push(last);
        }
        list
    }

    fn part(&self, start: usize, end: usize) -> Site<'a> {
        let code = &self.source.bare.code[start..end];
        let before = code.len() - code.trim_start().len();
        let length = code.trim().len();
        Site {
            start: start + before,
            end: start + before + length,
            ..*self
        }
    }

    /// The argument at a place, from 0.
    pub fn at(&self, place: usize) -> Option<Site<'a>> {
        self.list().into_iter().nth(place)
    }

    /// What is given to an argument by its name.
    pub fn named(&self, name: &str) -> Option<&'a str> {
        self.list().into_iter().find_map(|one| {
            let value = one.code().strip_prefix(name)?.trim_start();
            let value = value.strip_prefix(['=', ':'])?;
            (!value.starts_with('=')).then(|| value.trim_start())
        })
    }

    /// The text of a string that stands alone and that nothing is put into.
    pub fn plain(&self) -> Option<&'a str> {
        match self.strings() {
            [string] if !self.source.is_filled(string) => {
                let is_alone = string.start <= self.start && string.end >= self.end;
                is_alone.then(|| self.source.content(string))
            }
            _ => None,
        }
    }

    /// Whether it is the same at every call: strings, numbers and constants.
    pub fn is_fixed(&self) -> bool {
        !self.code().trim().is_empty()
            && !self.is_filled()
            && words(&self.outside()).all(is_constant)
    }

    /// Whether something is put into a text: by a template, an operator or a format.
    pub fn is_put_together(&self) -> bool {
        let outside = self.outside();
        let joins = match self.source.language.name {
            "php" | "perl" => {
                outside.contains(" . ") || outside.contains("\".") || outside.contains("'.")
            }
            _ => outside.contains('+') && !outside.contains("++"),
        };
        let formats = ["format(", "sprintf(", "Sprintf(", ".concat(", ".join("];
        let has_text = !self.strings().is_empty();
        self.is_filled()
            || has_text
                && !self.is_fixed()
                && (joins || formats.iter().any(|one| outside.contains(one)))
            || has_text && !self.is_fixed() && outside.trim_start().starts_with('%')
    }

    /// Whether a string in it has values.
    fn is_filled(&self) -> bool {
        let strings = self.strings().iter();
        strings
            .copied()
            .any(|string| self.source.is_filled(&string))
    }

    /// Its code without strings: their quotes stay.
    fn outside(&self) -> String {
        let mut code = self.code().to_owned();
        for string in self.strings().iter().rev() {
            let inner = string.inner.max(self.start) - self.start;
            let start = string.start.max(self.start) - self.start;
            let end = string.inner_end.min(self.end).max(self.start + inner) - self.start;
            code.replace_range(inner..end, "");
            // The letters before a quote.
            let quote = inner.saturating_sub(1).max(start);
            code.replace_range(start..quote, "");
        }
        code
    }

    /// Whether one of some words stands in it, in any case.
    pub fn mentions(&self, needles: &[&str]) -> bool {
        let text = self.text().to_ascii_lowercase();
        needles.iter().any(|needle| text.contains(needle))
    }
}

/// Names with what stands before them, as `self.name` and `Names::NAME`.
fn words(code: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '$');
    let words = code.split(move |c| !is_word(c));
    words
        .map(|word| word.trim_matches(['.', ':']))
        .filter(|word| !word.is_empty())
}
