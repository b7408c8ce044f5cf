//! Style: line lengths, white space, names. Each finding that an edit would mend has the edit, and how sure it is.

mod comparisons;
mod lines;
mod names;

use codetune_plugin::Diagnostic;
use source_text::Language;
use source_words::bare;

use comparisons::comparisons;
use lines::{end, lines};
use names::names;

/// Every code, in the order in which they are counted.
pub const CODES: [&str; 8] = [
    "long-line",
    "trailing-space",
    "mixed-indentation",
    "tabs",
    "line-ends",
    "end-of-file",
    "name",
    "comparison",
];

/// Findings in the order of the text.
pub fn look(text: &str, language: &Language, max_line_length: Option<usize>) -> Vec<Diagnostic> {
    let bare = bare(text, language);
    let mut found = Vec::new();
    let bound = max_line_length.or_else(|| usual_length(language.name));
    lines(text, &bare, language, bound, &mut found);
    end(text, &mut found);
    names(&bare, language, &mut found);
    if language.name == "python" {
        comparisons(&bare, &mut found);
    }
    found.sort_by_key(|finding| finding.span);
    found
}

/// What the usual formatters of a language bound lines by.
fn usual_length(language: &str) -> Option<usize> {
    match language {
        "python" => Some(88),
        "rust" | "java" => Some(100),
        "javascript" | "jsx" | "typescript" | "tsx" | "c" | "c++" => Some(80),
        "go" | "markdown" => None,
        _ => Some(120),
    }
}

#[cfg(test)]
mod tests {
    use source_text::by_name;

    use super::*;

    fn found(language: &str, text: &str) -> Vec<Diagnostic> {
        look(text, by_name(language).unwrap(), None)
    }

    fn codes(language: &str, text: &str) -> Vec<&'static str> {
        found(language, text)
            .iter()
            .map(|finding| finding.code)
            .collect()
    }

    /// The text after all edits.
    fn mended(language: &str, text: &str) -> String {
        let mut text = text.to_owned();
        for finding in found(language, &text).iter().rev() {
            if let Some(mend) = &finding.suggestion {
                text.replace_range(mend.span.0..mend.span.1, &mend.replacement);
            }
        }
        text
    }

    #[test]
    fn ordinary_code_has_no_findings() {
        for (language, text) in [
            (
                "python",
                "class Name:\n    def setUp(self):\n        return _x is None\n\n\ndef __init__(x): pass\n",
            ),
            (
                "rust",
                "pub struct A2;\n\nimpl A2 {\n    pub(crate) async fn do_it() {}\n}\n",
            ),
            (
                "js",
                "export default class A {}\nexport async function Part() {}\nfunction two() {}\n",
            ),
            ("go", "func a() {\n\treturn\n}\n"),
            (
                "c",
                "/*\n * One.\n * Two.\n * Three.\n */\nint f(void)\n{\n\treturn 1;\n}\n",
            ),
            ("python", ""),
        ] {
            assert_eq!(found(language, text), [], "{text}");
        }
    }

    #[test]
    fn edits_mend_what_was_found() {
        for (language, text, expected) in [
            ("python", "x = 1  \ny = 2", "x = 1\ny = 2\n"),
            ("python", "x = 1\n\n\n", "x = 1\n"),
            (
                "python",
                "if x:\n    a\n    b\nif y:\n\tc\n",
                "if x:\n    a\n    b\nif y:\n    c\n",
            ),
            ("js", "a\r\nb\r\nc\n", "a\r\nb\r\nc\r\n"),
            (
                "python",
                "a = x==None or y != None\n",
                "a = x is None or y is not None\n",
            ),
        ] {
            assert_eq!(mended(language, text), expected, "{text:?}");
            assert_eq!(codes(language, expected), [""; 0], "{text:?}");
        }
    }

    #[test]
    fn an_edit_in_a_string_is_less_sure() {
        let found = found("python", "x = '''a \nb'''\n");
        let mend = found[0].suggestion.as_ref().unwrap();
        assert_eq!((mend.replacement.as_str(), mend.confidence), ("", 0.3));
    }

    #[test]
    fn names_are_held_to_their_languages_guide() {
        for (language, text, name) in [
            ("python", "def doIt(x): pass\n", "`do_it`"),
            ("python", "class my_name: pass\n", "`MyName`"),
            ("rust", "pub fn DoIt() {}\n", "`do_it`"),
            ("ts", "export function do_it() {}\n", "`doIt`"),
        ] {
            let found = found(language, text);
            assert_eq!((found.len(), found[0].code), (1, "name"), "{text}");
            assert!(found[0].message.ends_with(name), "{}", found[0].message);
        }
        let text = "\"\"\"\nclass my_name is no class\n\"\"\"\n# def doIt(): x\n";
        assert_eq!(codes("python", text), [""; 0]);
    }

    #[test]
    fn long_lines_are_those_that_could_be_broken() {
        let long = format!("x = [{}]\n", "value, ".repeat(20));
        assert_eq!(codes("python", &long), ["long-line"]);
        assert_eq!(found("python", &long)[0].span.0, 88);
        assert_eq!(codes("go", &long), [""; 0]);
        let address = format!("# see https://host/{}\n", "a".repeat(100));
        assert_eq!(codes("python", &address), [""; 0]);
        assert_eq!(look("abc def\n", by_name("go").unwrap(), Some(4)).len(), 1);
    }

    #[test]
    fn no_text_trips_it() {
        for text in [
            "é", "\té \n", "def", "def é", "class \n", "==None", "\r", "\r\n\r", "'é",
        ] {
            for language in ["python", "rust", "js", "markdown"] {
                mended(language, text);
            }
        }
    }
}
