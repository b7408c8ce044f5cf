use crate::language::{LANGUAGES, Language, by_extension, by_name};

/// How much of a text is looked at for hints.
const LOOKED_AT: usize = 8 << 10;

/// Lines that begin so are a hint to a language; one that two languages share is none.
#[rustfmt::skip]
const LINE_STARTS: &[(&str, &str)] = &[
    ("python", "def "), ("python", "async def "), ("python", "from "), ("python", "elif "), ("python", "except"),
    ("python", "if __name__"), ("python", "class "), ("python", "import "), ("python", "@property"), ("python", "print("),
    ("javascript", "function "), ("javascript", "const "), ("javascript", "let "), ("javascript", "var "),
    ("javascript", "async function "), ("javascript", "export default "), ("javascript", "module.exports"),
    ("javascript", "console.log("), ("javascript", "'use strict'"), ("javascript", "\"use strict\""), ("javascript", "export "),
    ("typescript", "interface "), ("typescript", "export interface "), ("typescript", "export type "), ("typescript", "import type "),
    ("typescript", "type "), ("typescript", "enum "), ("typescript", "declare "), ("typescript", "namespace "),
    ("rust", "fn "), ("rust", "pub fn "), ("rust", "pub struct "), ("rust", "impl "), ("rust", "impl<"), ("rust", "use "),
    ("rust", "pub(crate) "), ("rust", "let mut "), ("rust", "#[derive"), ("rust", "mod "), ("rust", "pub enum "),
    ("rust", "pub async fn "), ("rust", "async fn "), ("rust", "struct "), ("rust", "#!["), ("rust", "pub mod "),
    ("go", "package "), ("go", "func "), ("go", "import ("), ("go", "type "),
    ("java", "public class "), ("java", "package "), ("java", "public static void "), ("java", "import java"), ("java", "private "),
    ("c", "#include "), ("c", "#define "), ("c", "typedef "), ("c", "static "), ("c", "struct "),
    ("c++", "template<"), ("c++", "template <"), ("c++", "using namespace "), ("c++", "std::"),
    ("c#", "using System"), ("php", "<?php"), ("ruby", "require '"), ("ruby", "end"), ("ruby", "def "),
    ("shell", "fi"), ("shell", "done"), ("shell", "esac"), ("shell", "echo "),
    ("html", "<!doctype html"), ("html", "<html"), ("xml", "<?xml"),
    ("sql", "select "), ("sql", "create table "), ("sql", "insert into "),
    ("haskell", "module "), ("haskell", "data "), ("haskell", "import qualified "),
];

/// Tells a text's language. What the caller says counts first, then the path, then a `#!` line, then the text itself.
/// None when nothing says anything, or the caller names a language that is not in the table.
pub fn detect(declared: Option<&str>, path: Option<&str>, code: &str) -> Option<&'static Language> {
    if let Some(declared) = declared.filter(|name| !name.trim().is_empty()) {
        return by_name(declared);
    }
    path.and_then(by_extension)
        .map(|language| match language.name {
            "c" if is_cpp(path, code) => by_name("c++").unwrap_or(language),
            _ => language,
        })
        .or_else(|| by_interpreter(code))
        .or_else(|| by_content(code).map(|(language, _)| language))
}

/// Whether a header, which C and C++ end alike, has what only C++ has.
fn is_cpp(path: Option<&str>, code: &str) -> bool {
    let is_header = path.is_some_and(|path| path.ends_with(".h"));
    let starts = [
        "class ",
        "namespace ",
        "template<",
        "template <",
        "using namespace ",
        "public:",
        "private:",
        "protected:",
    ];
    is_header
        && code.lines().any(|line| {
            let line = line.trim_start();
            starts.iter().any(|start| line.starts_with(start)) || line.contains("std::")
        })
}

/// The language of a text, for those that can do nothing without it.
///
/// # Errors
/// One sentence that names the field.
pub fn language_of(
    declared: Option<&str>,
    path: Option<&str>,
    code: &str,
) -> Result<&'static Language, String> {
    detect(declared, path, code).ok_or_else(|| match declared {
        Some(name) if !name.trim().is_empty() => format!("language: unknown language {name:?}"),
        _ => "language: nothing shows which it is; name it".to_owned(),
    })
}

/// The program that a `#!` line names: `#!/usr/bin/env -S python3.12 -u` is python.
pub fn interpreter(code: &str) -> Option<String> {
    let line = code.strip_prefix("#!")?.lines().next()?;
    let mut words = line.split_ascii_whitespace();
    let mut program = words.next()?;
    if program.ends_with("/env") || program == "env" {
        program = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    }
    let program = program.rsplit('/').next()?.to_ascii_lowercase();
    let program = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    Some(program.to_owned())
}

fn by_interpreter(code: &str) -> Option<&'static Language> {
    let program = interpreter(code)?;
    LANGUAGES
        .iter()
        .find(|language| language.interpreters.contains(&program.as_str()))
}

/// The language that most line starts speak for, and its share of all that speak for one.
pub fn by_content(code: &str) -> Option<(&'static Language, f64)> {
    let mut end = code.len().min(LOOKED_AT);
    while !code.is_char_boundary(end) {
        end -= 1;
    }
    let mut scores: Vec<(&str, u32)> = Vec::new();
    for line in code[..end].lines() {
        let line = line.trim_start();
        let lower = line.get(..16).unwrap_or(line).to_ascii_lowercase();
        for (language, start) in LINE_STARTS {
            let hit = line.starts_with(start) || lower.starts_with(start);
            if !hit {
                continue;
            }
            // A line that ends as Python does is no brace language's, and the other way round.
            let tail = line.trim_end();
            let block = tail.ends_with(':');
            let braces = tail.ends_with('{') || tail.ends_with(';') || tail.ends_with('}');
            let weight = match *language {
                "python" if braces => 0,
                "python" if block => 3,
                "python" | "ruby" | "shell" | "haskell" | "html" | "sql" => 1,
                _ if block => 0,
                _ if braces => 2,
                _ => 1,
            };
            match scores.iter_mut().find(|(name, _)| name == language) {
                Some((_, score)) => *score += weight,
                None => scores.push((language, weight)),
            }
        }
    }
    // TypeScript is JavaScript with more: where both speak, its own marks decide.
    let javascript = scores
        .iter()
        .find(|(name, _)| *name == "javascript")
        .map_or(0, |(_, score)| *score);
    if let Some((_, score)) = scores.iter_mut().find(|(name, _)| *name == "typescript") {
        *score += javascript;
    }
    let best = scores
        .iter()
        .map(|(_, score)| *score)
        .max()
        .filter(|score| *score > 0)?;
    let (name, _) = scores.iter().find(|(_, score)| *score == best)?;
    // What speaks for JavaScript speaks for TypeScript, not against it.
    let others = scores
        .iter()
        .filter(|(other, _)| other == name || (*name, *other) != ("typescript", "javascript"));
    let all: u32 = others.map(|(_, score)| *score).sum();
    by_name(name).map(|language| (language, f64::from(best) / f64::from(all)))
}

#[cfg(test)]
mod tests {
    use super::detect;

    fn name(declared: Option<&str>, path: Option<&str>, code: &str) -> Option<&'static str> {
        detect(declared, path, code).map(|language| language.name)
    }

    #[test]
    fn the_caller_counts_before_the_path_and_the_path_before_the_text() {
        assert_eq!(
            name(Some("rs"), Some("a.py"), "def f(): pass"),
            Some("rust")
        );
        assert_eq!(name(None, Some("src/a.tsx"), "def f(): pass"), Some("tsx"));
        assert_eq!(name(None, Some("Makefile"), ""), Some("makefile"));
        assert_eq!(name(Some("klingon"), Some("a.py"), ""), None);
    }

    #[test]
    fn a_header_is_cpp_where_it_has_what_c_has_not() {
        assert_eq!(name(None, Some("a.h"), "struct a { int x; };\n"), Some("c"));
        let code = "#pragma once\nnamespace n {\nclass A {};\n}\n";
        assert_eq!(name(None, Some("a.h"), code), Some("c++"));
        assert_eq!(name(None, Some("a.c"), code), Some("c"));
    }

    #[test]
    fn a_shebang_names_the_interpreter() {
        assert_eq!(
            name(None, Some("run"), "#!/usr/bin/env -S python3.12 -u\n"),
            Some("python")
        );
        assert_eq!(name(None, None, "#!/bin/bash\n"), Some("shell"));
        assert_eq!(
            name(None, None, "#!/usr/bin/env node\n"),
            Some("javascript")
        );
    }

    #[test]
    fn the_text_itself_tells() {
        assert_eq!(
            name(None, None, "import os\n\ndef f(x):\n    return x\n"),
            Some("python")
        );
        assert_eq!(
            name(None, None, "async def f():\n    pass\n"),
            Some("python")
        );
        assert_eq!(
            name(None, None, "const a = 1;\nfunction f() {\n}\n"),
            Some("javascript")
        );
        assert_eq!(
            name(None, None, "interface A {\n}\nconst a: A = {};\n"),
            Some("typescript")
        );
        assert_eq!(
            name(None, None, "use std::fmt;\nfn main() {\n}\n"),
            Some("rust")
        );
        assert_eq!(
            name(None, None, "#include <stdio.h>\nint main() {\n}\n"),
            Some("c")
        );
        assert_eq!(name(None, None, "12 34"), None);
    }
}
