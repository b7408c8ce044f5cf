//! The scorer `lints`: how many lines of what a model wrote have nothing that the analyzers `style` and `security` find.
//!
//! A score is 1 less the lines with a finding over all lines that are not blank. Code in fences of Markdown is looked at, all
//! of it, and the words around it are not. How a text ends is no finding: a completion seldom ends with its file.

use std::collections::HashSet;

use codetune_plugin::{About, Completion, Diagnostic, LineIndex, Score, Scorer, Settings};
use source_lints::{security, style};
use source_text::{fences, language_of};

/// The plugin.
pub struct Lints {
    ignore: Vec<String>,
}

impl Scorer for Lints {
    const ABOUT: About = About {
        name: "lints",
        version: env!("CARGO_PKG_VERSION"),
        description: "The share of lines of a completion that have no finding of style, and none of security.",
        author: "CodeTune Studio",
        tags: &["scorer", "style", "security"],
        config_schema: include_str!("config.json"),
    };

    fn new(settings: &Settings) -> Result<Self, String> {
        let ignore: Vec<String> = settings.get("ignore", Vec::new())?;
        let is_known = |code: &&String| {
            style::CODES.contains(&code.as_str()) || security::CODES.contains(&code.as_str())
        };
        match ignore.iter().find(|code| !is_known(code)) {
            Some(code) => Err(format!("config.ignore: there is no finding {code:?}")),
            None => Ok(Self { ignore }),
        }
    }

    fn score(&self, completion: &Completion) -> Result<Vec<Score>, String> {
        let mut pieces = fences(&completion.text);
        if pieces.is_empty() {
            pieces.push((None, &completion.text));
        }
        let mut lines = 0;
        let (mut style_lines, mut security_lines) = (Lines::default(), Lines::default());
        for (tag, code) in pieces {
            let language = language_of(completion.language.as_deref().or(tag), None, code)?;
            lines += code.lines().filter(|line| !line.trim().is_empty()).count();
            style_lines.add(code, &self.wanted(style::look(code, language, None)));
            security_lines.add(code, &self.wanted(security::look(code, language)));
        }
        Ok(vec![
            style_lines.score("style", lines),
            security_lines.score("security", lines),
        ])
    }
}

impl Lints {
    fn wanted(&self, mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
        found.retain(|one| {
            one.code != "end-of-file" && !self.ignore.iter().any(|code| code == one.code)
        });
        found
    }
}

/// Lines with findings.
#[derive(Default)]
struct Lines {
    count: usize,
    codes: Vec<&'static str>,
}

impl Lines {
    fn add(&mut self, code: &str, found: &[Diagnostic]) {
        let index = LineIndex::new(code);
        let lines: HashSet<u32> = found
            .iter()
            .map(|one| index.line(one.span.0 as u32))
            .collect();
        self.count += lines.len();
        for one in found {
            if !self.codes.contains(&one.code) {
                self.codes.push(one.code);
            }
        }
    }

    fn score(&self, name: &'static str, lines: usize) -> Score {
        let share = self.count as f64 / lines.max(1) as f64;
        let reason = match lines {
            0 => "the completion is empty".to_owned(),
            _ if self.count == 0 => String::new(),
            _ => format!("{} of {lines} lines: {}", self.count, self.codes.join(", ")),
        };
        Score {
            name,
            value: if lines == 0 {
                0.0
            } else {
                (1.0 - share).max(0.0)
            },
            reason,
        }
    }
}

codetune_plugin::scorer!(Lints);

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(text: &str, language: Option<&str>) -> Vec<(f64, String)> {
        let plugin = Lints { ignore: Vec::new() };
        let completion = Completion {
            text: text.to_owned(),
            language: language.map(str::to_owned),
            ..Completion::default()
        };
        let scores = plugin.score(&completion).unwrap().into_iter();
        scores.map(|score| (score.value, score.reason)).collect()
    }

    #[test]
    fn a_score_is_the_share_of_lines_without_a_finding() {
        let found = scores("x = 1\n\ny = eval(x) \nz = y == None\n", Some("python"));
        assert!((found[0].0 - 1.0 / 3.0).abs() < 1e-9, "{found:?}");
        assert_eq!(found[0].1, "2 of 3 lines: trailing-space, comparison");
        assert!((found[1].0 - 2.0 / 3.0).abs() < 1e-9, "{found:?}");
        assert_eq!(found[1].1, "1 of 3 lines: eval");
    }

    #[test]
    fn clean_code_scores_one_and_nothing_zero() {
        let clean = "def f(x):\n    return x";
        for text in [
            clean.to_owned(),
            format!("So:\n```python\n{clean}\n```\nDone. "),
        ] {
            let found = scores(&text, Some("python"));
            assert_eq!((found[0].0, found[1].0), (1.0, 1.0), "{found:?}");
        }
        assert_eq!(scores(" \n", Some("python"))[0].0, 0.0);
    }

    #[test]
    fn a_kind_that_is_not_known_is_refused_by_name() {
        let settings = Settings::new(|name| (name == "ignore").then(|| "[\"nothing\"]".to_owned()));
        assert!(Lints::new(&settings).err().unwrap().contains("nothing"));
    }

    #[test]
    fn what_is_ignored_does_not_count() {
        let plugin = Lints {
            ignore: vec!["eval".to_owned()],
        };
        let completion = Completion {
            text: "y = eval(x)\n".to_owned(),
            language: Some("python".to_owned()),
            ..Completion::default()
        };
        assert_eq!(plugin.score(&completion).unwrap()[1].value, 1.0);
    }
}
