//! The analyzer `complexity`: how hard functions and files are to test, to understand and to keep up.
//!
//! The counting is the crate `big-code-analysis`, over tree-sitter's grammars; `numbers` says which of its numbers are taken.
//!
//! - *Cyclomatic*: 1 and one more for each decision (McCabe, A Complexity Measure, IEEE Transactions on Software Engineering
//!   SE-2, 1976).
//! - *Cognitive*: one for each break in the flow, and one more for each level that it is nested (Campbell, Cognitive
//!   Complexity, SonarSource, 2018). Recursion, which the paper counts too, is not found.
//! - *Halstead*: volume, difficulty and effort from operators and operands (Halstead, Elements of Software Science, 1977).
//! - *Maintainability*: the index of Oman and Hagemeister (1992) as Visual Studio scales it, from 0, the worst, to 100:
//!   `max(0, 100 (171 - 5.2 ln volume - 0.23 cyclomatic - 16.2 ln lines) / 171)`, over lines that hold code.

mod numbers;

use codetune_plugin::serde_json::json;
use codetune_plugin::{
    About, Analysis, Analyzer, Diagnostic, LineIndex, Position, Settings, Severity, SourceFile,
    diagnostics_json,
};
use source_text::language_of;

use numbers::{Function, measure};

/// The plugin.
pub struct Complexity {
    max_cyclomatic: u64,
    max_cognitive: u64,
    min_maintainability: f64,
}

impl Analyzer for Complexity {
    const ABOUT: About = About {
        name: "complexity",
        version: env!("CARGO_PKG_VERSION"),
        description: "Cyclomatic and cognitive complexity, Halstead's measures and the maintainability index of functions and \
                      files: Python, JavaScript, TypeScript, Rust, Go, Java, C, C++ and shell.",
        author: "CodeTune Studio",
        tags: &[
            "code-analysis",
            "complexity",
            "cognitive",
            "halstead",
            "maintainability",
        ],
        config_schema: include_str!("schema/config.json"),
    };
    const OUTPUT_SCHEMA: &'static str = include_str!("schema/output.json");

    fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            max_cyclomatic: settings.get("max_cyclomatic", 10)?,
            max_cognitive: settings.get("max_cognitive", 15)?,
            min_maintainability: settings.get("min_maintainability", 20.0)?,
        })
    }

    fn check(file: &SourceFile) -> Result<(), String> {
        grammar(file).map(drop)
    }

    fn analyze(&self, file: &SourceFile) -> Result<Analysis, String> {
        let (name, grammar) = grammar(file)?;
        let measured = measure(grammar, &file.code)?;
        let lines = LineIndex::new(&file.code);
        let mut diagnostics: Vec<Diagnostic> = measured
            .functions
            .iter()
            .flat_map(|function| self.hints(function, head(&lines, &file.code, function)))
            .collect();
        diagnostics.extend(measured.error.map(|span| {
            let message = "the text does not parse here; the numbers leave it out";
            Diagnostic::new("syntax-error", Severity::Warning, span, message)
        }));
        diagnostics.sort_by_key(|found| found.span);
        let numbers = &measured.file;
        let details = json!({
            "language": name, "parses": measured.error.is_none(), "file": numbers, "functions": measured.functions,
            "diagnostics": diagnostics_json(&file.code, &diagnostics),
        });
        Ok(Analysis {
            metrics: vec![
                ("functions", measured.functions.len() as f64),
                ("cyclomatic", numbers.cyclomatic as f64),
                ("cognitive", numbers.cognitive as f64),
                ("halstead_volume", numbers.halstead.volume),
                ("halstead_difficulty", numbers.halstead.difficulty),
                ("halstead_effort", numbers.halstead.effort),
                // A file without code is as easy to keep up as can be.
                ("maintainability", numbers.maintainability.unwrap_or(100.0)),
                ("code_lines", numbers.code_lines as f64),
            ],
            diagnostics,
            details: Some(details.to_string()),
        })
    }
}

impl Complexity {
    fn hints(&self, function: &Function, span: (usize, usize)) -> Vec<Diagnostic> {
        let (name, numbers) = (&function.name, &function.numbers);
        let hint = |code, message| Diagnostic::new(code, Severity::Hint, span, message);
        let mut hints = Vec::new();
        if numbers.cyclomatic > self.max_cyclomatic {
            let (found, most) = (numbers.cyclomatic, self.max_cyclomatic);
            let message =
                format!("`{name}` has a cyclomatic complexity of {found}, more than {most}");
            hints.push(hint("cyclomatic", message));
        }
        if numbers.cognitive > self.max_cognitive {
            let (found, most) = (numbers.cognitive, self.max_cognitive);
            let message =
                format!("`{name}` has a cognitive complexity of {found}, more than {most}");
            hints.push(hint("cognitive", message));
        }
        if let Some(found) = numbers
            .maintainability
            .filter(|found| *found < self.min_maintainability)
        {
            let least = self.min_maintainability;
            let message =
                format!("`{name}` has a maintainability of {found:.0}, less than {least}");
            hints.push(hint("maintainability", message));
        }
        hints
    }
}

/// The line on which a function begins, without what it is indented by.
fn head(lines: &LineIndex<'_>, code: &str, function: &Function) -> (usize, usize) {
    let start = lines.offset(Position {
        line: function.line as u32,
        column: 1,
    }) as usize;
    let line = code[start..].lines().next().unwrap_or_default();
    let indent = line.len() - line.trim_start().len();
    (start + indent, start + line.trim_end().len().max(indent))
}

/// The language's name and its grammar.
fn grammar(file: &SourceFile) -> Result<(&'static str, big_code_analysis::LANG), String> {
    let language = language_of(file.language.as_deref(), file.path.as_deref(), &file.code)?;
    numbers::grammar(language.name)
        .map(|grammar| (language.name, grammar))
        .ok_or_else(|| {
            format!(
                "language: no grammar for {}; these work: {}",
                language.name,
                numbers::LANGUAGES.join(", ")
            )
        })
}

codetune_plugin::analyzer!(Complexity);

#[cfg(test)]
mod tests {
    use super::*;

    fn analyze(code: &str, max_cyclomatic: u64) -> Analysis {
        let file = SourceFile {
            path: Some("a.py".to_owned()),
            code: code.to_owned(),
            language: None,
        };
        let plugin = Complexity {
            max_cyclomatic,
            max_cognitive: 15,
            min_maintainability: 20.0,
        };
        plugin.analyze(&file).unwrap()
    }

    #[test]
    fn a_function_beyond_a_bound_gets_a_hint_on_its_first_line() {
        let code = "class A:\n    def f(self, x):\n        return 1 if x else 2\n";
        let found = analyze(code, 1).diagnostics;
        assert_eq!((found.len(), found[0].code), (1, "cyclomatic"));
        assert_eq!(&code[found[0].span.0..found[0].span.1], "def f(self, x):");
        assert!(analyze(code, 2).diagnostics.is_empty());
    }

    #[test]
    fn metrics_are_finite_whatever_the_text() {
        for code in [
            "",
            "\n\n",
            "# é",
            "def",
            "x = (((",
            "é = 1\r\n",
            "def f(:\n  pass\n",
        ] {
            let analysis = analyze(code, 10);
            assert!(
                analysis.metrics.iter().all(|(_, value)| value.is_finite()),
                "{code:?}"
            );
        }
        assert_eq!(
            analyze("def f(:\n  pass\n", 10).diagnostics[0].code,
            "syntax-error"
        );
    }

    #[test]
    fn another_language_is_refused_by_name() {
        let file = SourceFile {
            code: "x".to_owned(),
            language: Some("haskell".to_owned()),
            path: None,
        };
        let message = Complexity::check(&file).unwrap_err();
        assert!(
            message.contains("haskell") && message.contains("python"),
            "{message}"
        );
    }
}
