/// What begins a line of comment: a fence behind it is an example in documentation, and the text is code.
const MARKS: [&str; 8] = ["//", "#", "*", "--", ";", "%", "\"", "'"];
/// White space before a fence; what is indented further is code (CommonMark), or documentation in it.
const MOST_SPACES: usize = 3;

/// Each fence of three backticks: the language that it names, and what stands in it.
pub fn fences(text: &str) -> Vec<(Option<&str>, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(place) = text[at..].find("```").map(|place| at + place) {
        let after = place + 3;
        if !opens(text, place) {
            at = after;
            continue;
        }
        let line = text[after..]
            .find('\n')
            .map_or(text.len(), |end| after + end);
        let body = text.len().min(line + 1);
        let (end, next) = closing(text, body);
        found.push((
            text[after..line].split_whitespace().next(),
            &text[body..end],
        ));
        at = next;
    }
    found
}

/// Whether the backticks at a place stand where an answer opens a fence: at the beginning of a line, or behind its words.
fn opens(text: &str, place: usize) -> bool {
    let before = text[..place].rsplit('\n').next().unwrap_or_default();
    let words = before.trim_start();
    before.len() - words.len() <= MOST_SPACES && !MARKS.iter().any(|mark| words.starts_with(mark))
}

/// Where what stands in a fence ends, and one past the backticks that close it; twice the text's end where nothing does.
fn closing(text: &str, body: usize) -> (usize, usize) {
    let mut start = body;
    for line in text[body..].split_inclusive('\n') {
        let rest = line.trim_start_matches(' ');
        let spaces = line.len() - rest.len();
        if spaces <= MOST_SPACES && rest.starts_with("```") {
            // The break before it is the fence's.
            let end = if start > body { start - 1 } else { start };
            return (end, start + spaces + 3);
        }
        start += line.len();
    }
    (text.len(), text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fence_is_found_with_its_language() {
        let text = "Here:\n```rust\nfn f() {}\n```\nand\n```\nx\ny\n```\nopen ```py\nz";
        assert_eq!(
            fences(text),
            [
                (Some("rust"), "fn f() {}"),
                (None, "x\ny"),
                (Some("py"), "z")
            ]
        );
        assert!(fences("no fence").is_empty());
        assert_eq!(fences("```\n```\n"), [(None, "")]);
        assert_eq!(
            fences("1. So:\n   ```js\n   f()\n   ```\n"),
            [(Some("js"), "   f()")]
        );
    }

    #[test]
    fn examples_in_the_documentation_of_code_are_no_fences() {
        for code in [
            "impl A {\n    /// ```rust\n    /// f();\n    /// ```\n    fn f() {}\n}\n",
            "//! ```\n//! f();\n//! ```\nfn f() {}\n",
            "def f():\n    \"\"\"Does it.\n\n    ```python\n    f()\n    ```\n    \"\"\"\n",
            "/**\n * ```js\n * f();\n * ```\n */\nfunction f() {}\n",
            "# ```sh\n# f\n# ```\nf() { :; }\n",
        ] {
            assert_eq!(fences(code), [], "{code}");
        }
    }

    #[test]
    fn nothing_unclosed_trips_it() {
        for text in [
            "```",
            "```é",
            "é```",
            "```\n",
            "```\né",
            "``````",
            "```a\n``` b\n```",
        ] {
            fences(text);
        }
    }
}
