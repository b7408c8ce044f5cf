//! Evidence in Linguist's order: modeline, file name, shebang, extension, heuristics. Each narrows what those before left.
//!
//! The confidence is no guess: one over the candidates that are left, and where only the words of the text speak, the share
//! of those that speak for the language.

use linguist::DetectedLanguage;
use linguist::definitions::LANGUAGES;
use source_text::{by_content, by_extension, by_name, interpreter};

/// What was found out about one file.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// Linguist's name.
    pub name: Option<&'static str>,
    /// `programming`, `data`, `markup` or `prose`.
    pub kind: Option<&'static str>,
    /// What decided.
    pub found_by: Option<&'static str>,
    /// From 0 to 1.
    pub confidence: f64,
    /// Linguist's names of what is left, sorted; of several the one that is named is what such files usually are.
    pub candidates: Vec<&'static str>,
    /// Whether the path is one where people keep code of others.
    pub vendored: bool,
}

impl Found {
    /// The name that the other plugins know, else Linguist's in lower case.
    pub fn language(&self) -> Option<String> {
        let name = self.name?;
        let known = by_name(name).map(|language| language.name.to_owned());
        Some(known.unwrap_or_else(|| name.to_lowercase()))
    }
}

/// Finds out the language of one file.
///
/// # Errors
/// One sentence.
pub fn detect(declared: Option<&str>, path: Option<&str>, code: &str) -> Result<Found, String> {
    // A path without a name, such as `..`, says as little as none.
    let path = path.filter(|path| {
        path.rsplit('/')
            .next()
            .is_some_and(|name| !name.is_empty() && name != ".." && name != ".")
    });
    let vendored = path.is_some_and(|path| linguist::is_vendored(path).unwrap_or(false));
    let found = evidence(declared, path, code).map_err(|error| error.to_string())?;
    Ok(Found { vendored, ..found })
}

fn evidence(declared: Option<&str>, path: Option<&str>, code: &str) -> linguist::Result<Found> {
    if let Some(declared) = declared.filter(|name| !name.trim().is_empty()) {
        let names = by_alias(declared);
        return Ok(found("declared", names));
    }
    let modeline = names(linguist::detect_language_by_modeline(code)?);
    if !modeline.is_empty() {
        return Ok(found("modeline", modeline));
    }
    let mut left = Vec::new();
    let mut decided_by = None;
    let by_file_name = path
        .map(linguist::detect_language_by_filename)
        .transpose()?;
    let by_extension = path
        .map(linguist::detect_language_by_extension)
        .transpose()?;
    for (by, names) in [
        ("file name", names(by_file_name.unwrap_or_default())),
        ("shebang", by_shebang(code)),
        ("extension", names(by_extension.unwrap_or_default())),
    ] {
        let narrowed = narrow(&left, names);
        if narrowed != left {
            left = narrowed;
            decided_by = Some(by);
        }
        if left.len() == 1 {
            break;
        }
    }
    if left.len() > 1
        && let Some(path) = path
    {
        let by_rules = narrow(&left, names(linguist::disambiguate(path, code)?));
        if by_rules != left {
            left = by_rules;
            decided_by = Some("heuristics");
        }
    }
    if let Some(by) = decided_by {
        let mut found = found(by, left);
        let usual = path
            .and_then(usual)
            .filter(|name| found.candidates.contains(name));
        if let Some(name) = usual {
            found.name = Some(name);
            found.kind = LANGUAGES.get(name).map(kind);
        }
        return Ok(found);
    }
    let Some((language, share)) = by_content(code) else {
        return Ok(Found::default());
    };
    Ok(Found {
        confidence: share,
        ..found("content", by_alias(language.name))
    })
}

/// The language that most files with a path's ending are in; Linguist has a classifier for what its rules leave open.
fn usual(path: &str) -> Option<&'static str> {
    let language = by_extension(path)?;
    by_alias(language.name).into_iter().next()
}

/// Those of `left` that `names` has too; where one of the two says nothing, the other.
fn narrow(left: &[&'static str], names: Vec<&'static str>) -> Vec<&'static str> {
    if left.is_empty() {
        return names;
    }
    let both: Vec<&str> = left
        .iter()
        .copied()
        .filter(|name| names.contains(name))
        .collect();
    if both.is_empty() { left.to_vec() } else { both }
}

fn found(by: &'static str, mut candidates: Vec<&'static str>) -> Found {
    candidates.sort_unstable();
    let Some(name) = candidates.first().copied() else {
        return Found::default();
    };
    Found {
        name: Some(name),
        kind: LANGUAGES.get(name).map(kind),
        found_by: Some(by),
        confidence: 1.0 / candidates.len() as f64,
        candidates,
        vendored: false,
    }
}

fn kind(language: &linguist_types::Language) -> &'static str {
    use linguist_types::LanguageType;
    match language.language_type {
        LanguageType::Data => "data",
        LanguageType::Programming => "programming",
        LanguageType::Markup => "markup",
        LanguageType::Prose => "prose",
    }
}

fn names(found: Vec<DetectedLanguage>) -> Vec<&'static str> {
    found.into_iter().map(|language| language.name).collect()
}

fn by_shebang(code: &str) -> Vec<&'static str> {
    let Some(program) = interpreter(code) else {
        return Vec::new();
    };
    // Linguist lists some with their version: `python3`.
    let is_it =
        |one: &String| one.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') == program;
    let all = LANGUAGES.iter().filter(|(_, language)| {
        let programs = language.interpreters.as_deref().unwrap_or_default();
        programs.iter().any(is_it)
    });
    let mut names: Vec<&str> = all.map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

/// Linguist's language of a name or an alias, in any case; ours are aliases too.
fn by_alias(name: &str) -> Vec<&'static str> {
    let wanted = name.trim().to_lowercase();
    let is_alias = |(own, language): &(&'static String, &linguist_types::Language)| {
        let aliases = language.aliases.as_deref().unwrap_or_default();
        own.to_lowercase() == wanted || aliases.contains(&wanted)
    };
    let mut names: Vec<&str> = LANGUAGES
        .iter()
        .filter(is_alias)
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use source_text::LANGUAGES as OURS;

    use super::*;

    fn found(path: Option<&str>, code: &str) -> (Option<&'static str>, Option<&'static str>, f64) {
        let found = detect(None, path, code).unwrap();
        (found.name, found.found_by, found.confidence)
    }

    #[test]
    fn what_decided_is_said() {
        for (path, code, name, by) in [
            (Some("src/a.py"), "", "Python", "extension"),
            (Some("Makefile"), "", "Makefile", "file name"),
            (
                Some("run"),
                "#!/usr/bin/env -S python3.12 -u\n",
                "Python",
                "shebang",
            ),
            (Some("notes.txt"), "# vim: ft=ruby\n", "Ruby", "modeline"),
            (
                Some("a.h"),
                "#include <iostream>\nclass A {};\n",
                "C++",
                "heuristics",
            ),
            (
                Some("src/a.rs"),
                "use std::fmt;\nfn main() {}\n",
                "Rust",
                "heuristics",
            ),
        ] {
            assert_eq!(found(path, code), (Some(name), Some(by), 1.0), "{path:?}");
        }
    }

    #[test]
    fn the_text_alone_is_less_sure_the_more_speaks_for_another() {
        let (name, by, confidence) = found(None, "import os\n\ndef f(x):\n    return x\n");
        assert_eq!((name, by), (Some("Python"), Some("content")));
        assert!(confidence > 0.5 && confidence <= 1.0, "{confidence}");
        let mixed = "import os\nconst a = 1;\ndef f(x):\n    return x\n";
        assert!(found(None, mixed).2 < confidence);
        assert_eq!(found(None, "12 34"), (None, None, 0.0));
    }

    #[test]
    fn what_is_left_open_is_named_and_shares_the_confidence() {
        let found = detect(None, Some("a.v"), "").unwrap();
        assert!(
            found.candidates.contains(&"Rocq Prover") || found.candidates.contains(&"Coq"),
            "{found:?}"
        );
        assert!(found.candidates.contains(&"Verilog"), "{found:?}");
        assert_eq!(found.confidence, 1.0 / found.candidates.len() as f64);
    }

    #[test]
    fn of_what_is_left_open_the_usual_language_is_named() {
        for (path, code, name) in [
            ("a.rs", "compile_error!(\"no\");\n", "Rust"),
            ("a.h", "", "C"),
            ("a.ts", "", "TypeScript"),
        ] {
            let found = detect(None, Some(path), code).unwrap();
            assert_eq!(found.name, Some(name), "{found:?}");
            assert!(
                found.candidates.len() == 1 || found.confidence < 1.0,
                "{found:?}"
            );
        }
    }

    #[test]
    fn what_the_caller_says_is_taken() {
        let found = detect(Some("cpp"), Some("a.py"), "").unwrap();
        assert_eq!(
            (found.name, found.found_by),
            (Some("C++"), Some("declared"))
        );
        assert_eq!(found.language().as_deref(), Some("c++"));
    }

    #[test]
    fn code_of_others_is_told_by_its_path() {
        assert!(
            detect(None, Some("node_modules/a/index.js"), "")
                .unwrap()
                .vendored
        );
        assert!(!detect(None, Some("src/index.js"), "").unwrap().vendored);
    }

    #[test]
    fn no_path_trips_it() {
        for path in ["", "/", "..", "a/", ".", "é", ".gitignore", "a."] {
            detect(None, Some(path), "x\n").unwrap();
        }
    }

    // `source-text` has a table of its own, which knows comments too and costs nothing to look up. Where it says another
    // language than Linguist would, it is because a parser or a rule needs it apart.
    #[test]
    fn our_own_table_agrees_with_linguist() {
        let mut apart = Vec::new();
        for language in OURS {
            for extension in language.extensions {
                let path = format!("a.{extension}");
                let theirs = names(linguist::detect_language_by_extension(&path).unwrap());
                let known: Vec<&str> = theirs
                    .iter()
                    .filter_map(|name| by_name(name).map(|ours| ours.name))
                    .collect();
                if !known.is_empty() && !known.contains(&language.name) {
                    apart.push((*extension, language.name, known));
                }
            }
        }
        // Linguist tells Objective-C++, which is Objective-C here, from a format of mind maps.
        let expected = [
            ("jsx", "jsx", vec!["javascript"]),
            ("mm", "objective-c", vec!["xml"]),
        ];
        assert_eq!(apart, expected);
    }
}
