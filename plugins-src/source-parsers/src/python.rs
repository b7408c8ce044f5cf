//! Python, through ruff's parser.
//!
//! Functions are `def` and `async def`, methods and nested ones too; lambdas count into the function around them.
//! Imports: `import a.b` is `a.b`, `from a import b` is `a`, `from . import x` is `.`, `from ..a import b` is `..a`.
//! Decisions: `if`, `elif`, `for`, `while`, `except`, `a if b else c`, each `for` and `if` of a comprehension, each `and`
//! and `or`, each `case` that can fail and each guard. `else`, `finally`, `with` and `assert` are none.

use codetune_plugin::{LineIndex, scratch};
use ruff_python_ast::visitor::source_order::{
    SourceOrderVisitor, TraversalSignal, walk_body, walk_expr,
};
use ruff_python_ast::{AnyNodeRef, Expr, Mod};
use ruff_python_parser::{Mode, ParseOptions, Parsed, parse_unchecked};

use crate::report::{Function, Report, Scopes};

/// Analyses one module; where it does not parse, what the parser could make of it.
pub fn analyze(code: &str, lines: &LineIndex<'_>) -> Report {
    let parse = || parse_unchecked(code, ParseOptions::from(Mode::Module));
    // SAFETY: the parser keeps nothing in statics, and a report is made of texts and numbers of its own.
    unsafe { scratch(parse, |parsed| report(parsed, lines)) }
}

fn report(parsed: &Parsed<Mod>, lines: &LineIndex<'_>) -> Report {
    let mut walk = Walk {
        lines,
        // The module itself is a node: an empty file has one.
        report: Report {
            language: "python",
            nodes: 1,
            ..Report::default()
        },
        scopes: Scopes::default(),
    };
    if let Mod::Module(module) = parsed.syntax() {
        walk_body(&mut walk, &module.body);
    }
    let mut report = walk.report;
    for error in parsed.errors() {
        let range = error.location;
        report.syntax_error(
            lines,
            range.start().into(),
            range.end().into(),
            error.error.to_string(),
        );
    }
    report
}

struct Walk<'a> {
    lines: &'a LineIndex<'a>,
    report: Report,
    scopes: Scopes,
}

impl<'a> SourceOrderVisitor<'a> for Walk<'_> {
    #[inline]
    fn enter_node(&mut self, node: AnyNodeRef<'a>) -> TraversalSignal {
        self.report.nodes += 1;
        let decisions = match node {
            AnyNodeRef::StmtFunctionDef(function) => {
                let start = function.name.range.start().into();
                let function = Function {
                    name: function.name.to_string(),
                    line: self.lines.line(start),
                    complexity: 1,
                    is_async: function.is_async,
                    start,
                    end: function.name.range.end().into(),
                };
                self.scopes.enter(&mut self.report, function);
                return TraversalSignal::Traverse;
            }
            AnyNodeRef::StmtClassDef(_) => {
                self.report.num_classes += 1;
                0
            }
            AnyNodeRef::StmtImport(import) => {
                let names = import.names.iter().map(|alias| alias.name.to_string());
                self.report.imports.extend(names);
                0
            }
            AnyNodeRef::StmtImportFrom(import) => {
                let mut module = ".".repeat(import.level as usize);
                if let Some(name) = &import.module {
                    module.push_str(name);
                }
                self.report.imports.push(module);
                0
            }
            AnyNodeRef::StmtIf(_)
            | AnyNodeRef::StmtFor(_)
            | AnyNodeRef::StmtWhile(_)
            | AnyNodeRef::ExceptHandlerExceptHandler(_)
            | AnyNodeRef::ExprIf(_) => 1,
            AnyNodeRef::ElifElseClause(clause) => u32::from(clause.test.is_some()),
            AnyNodeRef::ExprBoolOp(operation) => operation.values.len() as u32 - 1,
            AnyNodeRef::Comprehension(comprehension) => 1 + comprehension.ifs.len() as u32,
            AnyNodeRef::MatchCase(case) => {
                u32::from(!case.pattern.is_irrefutable()) + u32::from(case.guard.is_some())
            }
            _ => 0,
        };
        if decisions > 0 {
            self.scopes.decide(&mut self.report, decisions);
        }
        TraversalSignal::Traverse
    }

    #[inline]
    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            // Half of all expressions: nodes with nothing in them and no decision, which need not go through `enter_node`.
            Expr::Name(_)
            | Expr::NumberLiteral(_)
            | Expr::BooleanLiteral(_)
            | Expr::NoneLiteral(_) => self.report.nodes += 1,
            _ => walk_expr(self, expr),
        }
    }

    #[inline]
    fn leave_node(&mut self, node: AnyNodeRef<'a>) {
        if let AnyNodeRef::StmtFunctionDef(_) = node {
            self.scopes.leave();
        }
    }
}
