//! The scorer `js-tests`: runs JavaScript that a model wrote, with tests, in QuickJS inside the sandbox.
//!
//! Tests are the lines of the reference that begin with `assert`, and those of the settings. Each runs alone, after the code,
//! in a context of its own: `pass` is 1 when all pass (pass@1 of this one completion), `tests_passed` the share that does. The
//! code is taken from the first fence of Markdown, or is the whole completion, and is run alone and behind the prompt; the
//! better way counts. It has no file, no network, no clock and no module to import, and it ends: see `run`.

mod run;

use codetune_plugin::{About, Completion, Score, Scorer, Settings};
use source_text::fences;

use run::{Outcome, run};

/// The plugin.
pub struct JsTests {
    tests: Vec<String>,
    max_steps: u32,
}

/// What came of all tests, after one way of putting the code together.
struct Found {
    passed: usize,
    /// What the first test that fails says, or the code.
    reason: String,
    /// Whether the code itself threw.
    is_broken: bool,
}

impl Scorer for JsTests {
    const ABOUT: About = About {
        name: "js-tests",
        version: env!("CARGO_PKG_VERSION"),
        description: "Runs a completion in JavaScript with tests, inside the sandbox: pass@1 and the share of tests that pass.",
        author: "CodeTune Studio",
        tags: &["scorer", "tests", "javascript", "pass@k"],
        config_schema: include_str!("config.json"),
    };

    fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            tests: settings.get("tests", Vec::new())?,
            max_steps: settings.get("max_steps", 1000)?,
        })
    }

    fn score(&self, completion: &Completion) -> Result<Vec<Score>, String> {
        let reference = completion.reference.as_deref().unwrap_or_default();
        let of_reference = reference
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("assert"));
        let tests: Vec<&str> = self
            .tests
            .iter()
            .map(String::as_str)
            .chain(of_reference)
            .collect();
        if tests.is_empty() {
            return Err(
                "there are no tests: the reference has no line that begins with `assert`, and config.tests is empty"
                    .to_owned(),
            );
        }
        let fences = fences(&completion.text);
        let code = fences
            .first()
            .map_or(completion.text.as_str(), |(_, code)| *code);
        let mut best = self.run_all(code, &tests);
        if best.passed < tests.len() && !completion.prompt.trim().is_empty() {
            let behind = self.run_all(&format!("{}{code}", completion.prompt), &tests);
            // Of two ways that fail, the one that runs says more; what begins indented is meant to stand behind the prompt.
            let says_more = !behind.is_broken || code.starts_with([' ', '\t']);
            if behind.passed > best.passed || best.is_broken && says_more {
                best = behind;
            }
        }
        let Found { passed, reason, .. } = best;
        let score = |name, value, reason| Score {
            name,
            value,
            reason,
        };
        let is_all = passed == tests.len();
        Ok(vec![
            score("pass", f64::from(u8::from(is_all)), reason),
            score(
                "tests_passed",
                passed as f64 / tests.len() as f64,
                format!("{passed} of {}", tests.len()),
            ),
        ])
    }
}

impl JsTests {
    fn run_all(&self, code: &str, tests: &[&str]) -> Found {
        let (mut passed, mut reason) = (0, String::new());
        for test in tests {
            match run(code, test, self.max_steps) {
                Outcome::Passed => passed += 1,
                Outcome::Failed(why) if reason.is_empty() => {
                    let test: String = test.chars().take(100).collect();
                    reason = format!("{test}: {why}");
                }
                Outcome::Failed(_) => {}
                // The code itself fails, and would for every other test.
                Outcome::Broken(why) => {
                    return Found {
                        passed: 0,
                        reason: why,
                        is_broken: true,
                    };
                }
            }
        }
        Found {
            passed,
            reason,
            is_broken: false,
        }
    }
}

codetune_plugin::scorer!(JsTests);

#[cfg(test)]
mod tests;
