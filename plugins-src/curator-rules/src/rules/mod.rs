//! One text against the bounds: the first rule that it breaks drops it.
//!
//! `sizes` looks at lengths and shares of characters, `files` at what is no code that somebody wrote, `lines` at comments and
//! repetition, `code` at what strings and kinds of lines the code is made of.

mod code;
mod files;
mod lines;
mod sizes;

use source_text::detect;

use crate::measure::measure;
use crate::pack::Bounds;
use code::{code_lines, strings};
use files::{by_language, data, encoded_data, generated};
use lines::{comments, lines_with, repeated};
use sizes::{fractions, sizes};

/// Why a text goes.
pub type Broken = (&'static str, String);

/// What is known of a text.
pub struct Found {
    /// The first broken rule.
    pub broken: Option<Broken>,
    /// Names and values.
    pub scores: Vec<(&'static str, f64)>,
}

/// Judges one text.
pub fn judge(text: &str, path: Option<&str>, language: Option<&str>, bounds: &Bounds) -> Found {
    let language = detect(language, path, text);
    let name = language.map_or("", |language| language.name);
    let numbers = measure(text);
    let scores = vec![
        ("lines", numbers.lines as f64),
        ("longest_line", numbers.longest_line as f64),
        ("mean_line", numbers.mean_line),
        ("alphabetic_fraction", numbers.alphabetic),
        ("alphanumeric_fraction", numbers.alphanumeric),
    ];
    let broken = None
        .or_else(|| sizes(&numbers, name, bounds))
        .or_else(|| fractions(&numbers, name, bounds))
        .or_else(|| (bounds.generated).then(|| generated(text, path, name, &numbers))?)
        .or_else(|| (bounds.by_language).then(|| by_language(text, name, &numbers))?)
        .or_else(|| data(text, name, &numbers, bounds))
        .or_else(|| (bounds.encoded).then(|| encoded_data(text))?)
        .or_else(|| comments(text, language, &numbers, bounds))
        .or_else(|| lines_with(text, &numbers, bounds))
        .or_else(|| strings(text, language, bounds))
        .or_else(|| code_lines(text, language, bounds))
        .or_else(|| repeated(text, bounds));
    Found { broken, scores }
}

/// A bound that `value` goes over, or under.
fn beyond(
    code: &'static str,
    what: &str,
    value: f64,
    bound: Option<f64>,
    is_most: bool,
) -> Option<Broken> {
    let bound = bound?;
    let is_broken = if is_most {
        value > bound
    } else {
        value < bound
    };
    let side = if is_most { "at most" } else { "at least" };
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    is_broken.then(|| {
        (
            code,
            format!("{what}: {}, {side} {}", round(value), round(bound)),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::pack::Bounds;

    fn code(pack: &str, path: &str, text: &str) -> Option<&'static str> {
        let bounds = Bounds::pack(pack).unwrap();
        judge(text, Some(path), None, &bounds)
            .broken
            .map(|(code, _)| code)
    }

    const GOOD: &str = "import os\n\n# Sizes of the files of a folder, by their names.\ndef sizes(folder):\n    found = {}\n    for name in os.listdir(folder):\n        path = os.path.join(folder, name)\n        if os.path.isfile(path):\n            found[name] = os.path.getsize(path)\n    return found\n\n\ndef largest(folder, count):\n    ordered = sorted(sizes(folder).items(), key=lambda item: -item[1])\n    return ordered[:count]\n";

    #[test]
    fn ordinary_code_passes_every_pack() {
        for pack in ["starcoder2", "bigcode", "opencoder", "none"] {
            assert_eq!(code(pack, "a.py", GOOD), None, "{pack}");
        }
    }

    #[test]
    fn each_rule_of_starcoder2_drops_what_it_is_for() {
        let long = format!("x = '{}'\n", "word ".repeat(400));
        let mean = format!("{}\n", "call(argument) ".repeat(8)).repeat(3);
        let base64 = format!(
            "data = \"\"\"\n{}\"\"\"\n",
            format!("{}\n", "QUJDRA".repeat(11)).repeat(20)
        );
        let json = "{\"name\": \"value\"}\n".repeat(600);
        for (path, text, expected) in [
            ("a.py", long.as_str(), "long-line"),
            ("a.py", mean.as_str(), "long-lines"),
            ("a.py", "1 + 2 - 3 * 4\n", "few-letters"),
            (
                "a.go",
                "// Code automatically generated. Keep off.\npackage main\n",
                "generated",
            ),
            ("a.min.js", "function f() { return one }\n", "minified"),
            ("a.py", base64.as_str(), "encoded-data"),
            ("a.json", json.as_str(), "data-file"),
            (
                "a.html",
                "<html><script>var hidden = 'text that nobody sees';</script><p>short</p></html>",
                "little-text",
            ),
        ] {
            assert_eq!(
                code("starcoder2", path, text),
                Some(expected),
                "{path}: {text:.60}"
            );
        }
        assert_eq!(code("starcoder2", "a.md", &long), None);
    }

    #[test]
    fn what_tools_write_is_known_by_what_they_say_and_how_they_call_it() {
        let licence = "// A line of a licence that is long.\n".repeat(12);
        let go = "// Code generated by protoc-gen-go. DO NOT EDIT.\n\npackage main\n";
        let late = format!("{licence}{go}");
        for (path, text) in [
            ("a.go", go),
            ("a.go", late.as_str()),
            (
                "a.py",
                "# Generated by the protocol buffer compiler.  DO NOT EDIT!\nimport sys\n",
            ),
            (
                "a.h",
                "/* DO NOT EDIT THIS FILE - it is machine generated */\n#include <jni.h>\n",
            ),
            ("a.rs", "// @generated by a tool\nfn main() {}\n"),
            ("deep/Cargo.lock", "[[package]]\nname = \"one\"\n"),
            ("api_pb2.py", "import sys\nfrom google import protobuf\n"),
        ] {
            assert_eq!(code("starcoder2", path, text), Some("generated"), "{path}");
        }
        for (path, text) in [
            (
                "a.py",
                "# Do not edit the list by hand.\nitems = generated_by(tool)\n",
            ),
            (
                "a.py",
                "def is_marked(line):\n    return '@generated' in line\n",
            ),
            ("mycargo.lock.py", "value = compute(other)\n"),
        ] {
            assert_eq!(code("starcoder2", path, text), None, "{path}: {text}");
        }
    }

    #[test]
    fn the_other_packs_have_rules_of_their_own() {
        assert_eq!(
            code("bigcode", "a.py", "def f():\n    return value\n"),
            Some("few-comments")
        );
        assert_eq!(
            code("opencoder", "a.py", "def f():\n    return 1\n"),
            Some("short")
        );
        let repeated = "value = compute(value, other)\n".repeat(40);
        assert_eq!(
            code("opencoder", "a.py", &repeated),
            Some("duplicate-lines")
        );
        let names: String = (0..20)
            .map(|at| format!("'name{at}': 'other {at} value',\n"))
            .collect();
        assert_eq!(code("opencoder", "a.py", &names), Some("much-string"));
        let json =
            "{ \"identifier\": \"something\", \"description\": \"something\" },\n".repeat(20);
        assert_eq!(
            code("opencoder", "a.json", &json),
            Some("few-different-words")
        );
        assert_eq!(code("starcoder2", "a.json", &json), None);
    }

    #[test]
    fn no_text_breaks_a_rule() {
        for text in [
            "",
            "<",
            "<script",
            "é",
            "\u{fffd}",
            "\n\n",
            "<html><style>é",
        ] {
            for pack in ["starcoder2", "bigcode", "opencoder"] {
                code(pack, "a.html", text);
            }
        }
    }
}
