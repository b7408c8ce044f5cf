//! Names that are written in another way than their language's guide says.

use codetune_plugin::{Diagnostic, Severity};
use source_text::Language;
use source_words::Bare;

/// Names that unittest and setuptools ask for.
const FIXED: [&str; 9] = [
    "setUp",
    "tearDown",
    "setUpClass",
    "tearDownClass",
    "setUpModule",
    "tearDownModule",
    "asyncSetUp",
    "asyncTearDown",
    "setUpTestData",
];

/// Definitions whose names are written in another way than their language's guide says: PEP 8, Rust's RFC 430, and for
/// JavaScript what Airbnb's guide and Google's agree on. A definition is no place for an edit: its uses are elsewhere.
pub fn names(bare: &Bare, language: &Language, found: &mut Vec<Diagnostic>) {
    let is_rust = language.name == "rust";
    let words: &[(&str, Case)] = match language.name {
        "python" => &[("def", Case::Snake), ("class", Case::Camel)],
        "rust" if bare.code.contains("allow(non_") => return,
        "rust" => &[
            ("fn", Case::Snake),
            ("struct", Case::Camel),
            ("enum", Case::Camel),
            ("trait", Case::Camel),
        ],
        "javascript" | "jsx" | "typescript" | "tsx" => {
            &[("class", Case::Camel), ("function", Case::NoScore)]
        }
        _ => return,
    };
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '#');
    let mut at = 0;
    for line in bare.code.split_inclusive('\n') {
        // Those that begin a line, whatever modifiers stand before.
        for (word, case) in words {
            let mut places = line.match_indices(word);
            let Some((place, _)) = places.find(|(place, _)| {
                let before = &line[..*place];
                let after = &line[place + word.len()..];
                after.starts_with([' ', '\t'])
                    && (before.is_empty() || before.ends_with([' ', '\t']))
                    && before.split_ascii_whitespace().all(|word| {
                        word.chars()
                            .all(|c| is_word(c) || matches!(c, '(' | ')' | '"'))
                    })
            }) else {
                continue;
            };
            let rest = &line[place + word.len()..];
            let start = place + word.len() + (rest.len() - rest.trim_start().len());
            let name = &line[start..];
            let name = &name[..name.find(|c| !is_word(c)).unwrap_or(name.len())];
            if name.is_empty() || case.fits(name) || FIXED.contains(&name) || name.contains('$') {
                continue;
            }
            // `extern "C"` names are another language's.
            if is_rust && line[..place].contains("extern") {
                continue;
            }
            found.push(Diagnostic::new(
                "name",
                Severity::Hint,
                (at + start, at + start + name.len()),
                format!(
                    "`{name}` is written {} here: `{}`",
                    case.word(),
                    case.of(name)
                ),
            ));
        }
        at += line.len();
    }
}

/// How names are written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    Snake,
    Camel,
    /// `camelCase` or `PascalCase`, so long as no `_` is between words.
    NoScore,
}

impl Case {
    fn fits(self, name: &str) -> bool {
        let name = name.trim_matches('_');
        match self {
            Self::Snake => !name.chars().any(char::is_uppercase),
            Self::Camel => !name.contains('_') && !name.starts_with(char::is_lowercase),
            Self::NoScore => !name.contains('_'),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Snake => "in snake_case",
            Self::Camel => "in CamelCase",
            Self::NoScore => "in camelCase",
        }
    }

    /// The name as it should be.
    fn of(self, name: &str) -> String {
        let mut made = String::new();
        let mut is_new = self == Self::Camel;
        let mut before = '_';
        for character in name.chars() {
            match self {
                Self::Snake => {
                    if character.is_uppercase() && (before.is_lowercase() || before.is_numeric()) {
                        made.push('_');
                    }
                    made.extend(character.to_lowercase());
                }
                _ if character == '_' && !made.trim_matches('_').is_empty() => is_new = true,
                _ if is_new && character != '_' => {
                    made.extend(character.to_uppercase());
                    is_new = false;
                }
                _ => made.push(character),
            }
            before = character;
        }
        made
    }
}
