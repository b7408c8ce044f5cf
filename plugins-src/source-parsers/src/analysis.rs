//! From a text to a report: which language, which parser.

use codetune_plugin::LineIndex;
use source_text::detect;

use crate::report::Report;
use crate::{grammar, javascript, python, rust};

/// What works, for messages.
pub const LANGUAGES: &str =
    "python, javascript, jsx, typescript, tsx, rust, go, java, c, c++, shell";

/// Analyses one text.
///
/// Where nobody says the language and nothing shows it, it is Python, as in the original system.
///
/// # Errors
/// One sentence when the language is another one.
pub fn analyze(
    code: &str,
    language: Option<&str>,
    path: Option<&str>,
    max_complexity: u32,
) -> Result<Report, String> {
    let language = language_of(code, language, path)?;
    // The parsers count in 32 bits.
    if u32::try_from(code.len()).is_err() {
        return Err("code: at most 4 GiB".to_owned());
    }
    let lines = LineIndex::new(code);
    let report = match language {
        "python" => python::analyze(code, &lines),
        "rust" => rust::analyze(code, &lines),
        language => grammar::analyze(language, code, &lines).unwrap_or_else(|| {
            javascript::analyze(code, language, path.unwrap_or_default(), &lines)
        }),
    };
    Ok(report.finish(&lines, max_complexity))
}

/// The language's name.
///
/// # Errors
/// One sentence when there is no parser for it.
pub fn language_of(
    code: &str,
    declared: Option<&str>,
    path: Option<&str>,
) -> Result<&'static str, String> {
    let found = detect(declared, path, code);
    match (found.map(|language| language.name), declared) {
        (Some(name), _) if LANGUAGES.split(", ").any(|known| known == name) => Ok(name),
        (Some(name), _) => Err(format!(
            "language: no parser for {name}; these work: {LANGUAGES}"
        )),
        (None, Some(name)) if !name.trim().is_empty() => Err(format!(
            "language: unknown language {name:?}; these work: {LANGUAGES}"
        )),
        (None, _) => Ok("python"),
    }
}

#[cfg(test)]
mod tests {
    use super::analyze;
    use crate::report::{Report, Severity};

    fn report(language: &str, code: &str) -> Report {
        analyze(code, Some(language), None, 10).unwrap()
    }

    fn functions(report: &Report) -> Vec<(&str, u32, u32, bool)> {
        let functions = report.functions.iter();
        functions
            .map(|f| (f.name.as_str(), f.line, f.complexity, f.is_async))
            .collect()
    }

    #[test]
    fn python_counts_what_the_language_means() {
        let code = "\
import os, sys.path
from . import a
from ..b import c
from typing import Any

class A:
    async def m(self, x):
        return [y for y in x if y and x or 1]

def f(x):
    if x > 1 and x < 5:
        pass
    elif x:
        pass
    else:
        pass
    try:
        def inner():
            return 1 if x else 2
    except ValueError:
        pass
    match x:
        case 1 if x:
            pass
        case _:
            pass
";
        let report = report("py", code);
        assert_eq!(report.imports, ["os", "sys.path", ".", "..b", "typing"]);
        assert_eq!(
            functions(&report),
            [
                ("m", 7, 5, true),
                ("f", 10, 7, false),
                ("inner", 18, 2, false)
            ]
        );
        assert_eq!(
            (report.num_functions, report.num_classes, report.complexity),
            (3, 1, 14)
        );
        assert!(report.findings.is_empty());
    }

    #[test]
    fn an_empty_file_is_one_node_and_no_finding() {
        let report = report("python", "");
        assert_eq!(
            (report.nodes, report.complexity, report.findings.len()),
            (1, 0, 0)
        );
    }

    #[test]
    fn a_syntax_error_has_line_and_column() {
        for (language, code, line) in [
            ("python", "x = 1\ndef f(:\n    pass\n", 2),
            ("javascript", "let a = 1;\nlet = = 2;\n", 2),
            ("typescript", "type A = {\n  a: ;\n", 2),
            ("rust", "fn a() {}\nfn b( {}\n", 2),
        ] {
            let report = report(language, code);
            let first = report
                .findings
                .first()
                .unwrap_or_else(|| panic!("{language} parses {code:?}"));
            assert_eq!(
                (first.severity, first.line),
                (Severity::Error, line),
                "{language}: {first:?}"
            );
            assert!(
                first.column > 1 && !first.message.is_empty(),
                "{language}: {first:?}"
            );
        }
    }

    #[test]
    fn javascript_and_its_relatives() {
        let code = "\
import a from './a';
export { b } from \"../b\";
const c = require('c');
class K { #p() {} async get(x) { return x?.y ?? 1; } static s = () => 1; }
export const f = async (x) => { for (const y of x) { if (y && x || 1) {} } };
function g(x) { switch (x) { case 1: case 2: break; default: } return x ? 1 : 2; }
o.h = function () { try { import('d'); } catch { } };
";
        let report = report("js", code);
        assert_eq!(report.imports, ["./a", "../b", "c", "d"]);
        assert_eq!(
            functions(&report),
            [
                ("#p", 4, 1, false),
                ("get", 4, 2, true),
                ("s", 4, 1, false),
                ("f", 5, 5, true),
                ("g", 6, 4, false),
                ("h", 7, 2, false)
            ]
        );
        assert_eq!(report.num_classes, 1);
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }

    #[test]
    fn typescript_overloads_are_no_functions_and_jsx_needs_its_name() {
        let code = "import fs = require('fs');\nfunction f(a: string): void;\nfunction f(a: any) { a ||= <any>1; }\nabstract class A { abstract m(): void; }\n";
        let found = report("ts", code);
        assert_eq!(functions(&found), [("f", 3, 2, false)]);
        assert_eq!(found.imports, ["fs"]);
        let jsx = "const A = (p: { a: number }) => <div>{p.a && <b/>}</div>;\n";
        assert_eq!(functions(&report("tsx", jsx)), [("A", 1, 2, false)]);
        assert!(!report("ts", jsx).findings.is_empty());
        assert!(report("jsx", "const A = () => <b/>;").findings.is_empty());
    }

    #[test]
    fn rust_counts_arms_guards_and_question_marks() {
        let code = "\
use std::{fmt::{self, Debug}, io as i, mem::*};
use super::x;
pub struct S;
trait T { fn a(&self); fn b(&self) { if true && false {} } }
impl S {
    async fn c(&self, x: Option<u8>) -> Option<u8> {
        let Some(y) = x else { return None };
        match y { 0 => x?, 1 if y > 0 => 2, _ => 3 };
        let g = |z: u8| while z > 0 {};
        None
    }
}
";
        let report = report("rust", code);
        assert_eq!(
            report.imports,
            [
                "std::fmt",
                "std::fmt::Debug",
                "std::io",
                "std::mem::*",
                "super::x"
            ]
        );
        assert_eq!(functions(&report), [("b", 4, 3, false), ("c", 6, 7, true)]);
        assert_eq!(report.num_classes, 2);
    }

    #[test]
    fn a_complex_function_gets_a_hint() {
        let code = format!("def f(x):\n{}", "    if x: pass\n".repeat(10));
        let report = report("python", &code);
        assert_eq!(report.findings.len(), 1);
        assert_eq!(
            (report.findings[0].severity, report.findings[0].line),
            (Severity::Hint, 1)
        );
    }

    #[test]
    fn another_language_is_refused_by_name() {
        let message = analyze("main = x", Some("haskell"), None, 10).unwrap_err();
        assert!(
            message.contains("no parser for haskell") && message.contains("python"),
            "{message}"
        );
        assert!(
            analyze("x", Some("klingon"), None, 10)
                .unwrap_err()
                .contains("klingon")
        );
        assert_eq!(analyze("x", None, None, 10).unwrap().language, "python");
    }
}
