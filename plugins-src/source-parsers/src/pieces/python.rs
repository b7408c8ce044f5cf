use ruff_python_ast::visitor::source_order::{SourceOrderVisitor, TraversalSignal, walk_body};
use ruff_python_ast::{AnyNodeRef, Expr, Mod, Stmt};
use ruff_python_parser::{Mode, ParseOptions, parse_unchecked};
use ruff_text_size::Ranged;

use super::{Found, PieceKind};

pub(super) fn find(found: &mut Found<'_>) -> Option<()> {
    let parsed = parse_unchecked(found.code, ParseOptions::from(Mode::Module));
    if !parsed.errors().is_empty() {
        return None;
    }
    if let Mod::Module(module) = parsed.syntax() {
        walk_body(&mut Walk { found }, &module.body);
    }
    Some(())
}

struct Walk<'a, 'b> {
    found: &'a mut Found<'b>,
}

impl Walk<'_, '_> {
    fn add(&mut self, kind: PieceKind, node: impl Ranged) {
        let range = node.range();
        self.found
            .add(kind, range.start().into(), range.end().into());
    }

    fn suite(&mut self, kind: PieceKind, body: &[Stmt]) {
        if let (Some(first), Some(last)) = (body.first(), body.last()) {
            let (start, end) = (first.range().start(), last.range().end());
            self.found.add(kind, start.into(), end.into());
        }
    }
}

/// A docstring stays where it is, since it says what is wanted.
fn behind_docstring(body: &[Stmt]) -> &[Stmt] {
    match body {
        [Stmt::Expr(first), rest @ ..]
            if matches!(*first.value, Expr::StringLiteral(_)) && !rest.is_empty() =>
        {
            rest
        }
        body => body,
    }
}

impl<'a> SourceOrderVisitor<'a> for Walk<'_, '_> {
    fn enter_node(&mut self, node: AnyNodeRef<'a>) -> TraversalSignal {
        use PieceKind::{Arguments, Block, Body, Expression, Statement};
        if node.is_statement() {
            self.add(Statement, node);
        }
        match node {
            AnyNodeRef::StmtFunctionDef(function) => {
                self.suite(Body, behind_docstring(&function.body));
            }
            AnyNodeRef::StmtClassDef(class) => self.suite(Block, behind_docstring(&class.body)),
            AnyNodeRef::StmtIf(branch) => self.suite(Block, &branch.body),
            AnyNodeRef::ElifElseClause(branch) => self.suite(Block, &branch.body),
            AnyNodeRef::StmtWith(with) => self.suite(Block, &with.body),
            AnyNodeRef::MatchCase(case) => self.suite(Block, &case.body),
            AnyNodeRef::ExceptHandlerExceptHandler(handler) => self.suite(Block, &handler.body),
            AnyNodeRef::StmtFor(repeat) => {
                self.suite(Block, &repeat.body);
                self.suite(Block, &repeat.orelse);
            }
            AnyNodeRef::StmtWhile(repeat) => {
                self.suite(Block, &repeat.body);
                self.suite(Block, &repeat.orelse);
            }
            AnyNodeRef::StmtTry(attempt) => {
                self.suite(Block, &attempt.body);
                self.suite(Block, &attempt.orelse);
                self.suite(Block, &attempt.finalbody);
            }
            AnyNodeRef::Arguments(arguments) => {
                let range = arguments.range;
                self.found
                    .add_inner(Arguments, range.start().into(), range.end().into());
            }
            AnyNodeRef::ExprBoolOp(_)
            | AnyNodeRef::ExprNamed(_)
            | AnyNodeRef::ExprBinOp(_)
            | AnyNodeRef::ExprUnaryOp(_)
            | AnyNodeRef::ExprLambda(_)
            | AnyNodeRef::ExprIf(_)
            | AnyNodeRef::ExprDict(_)
            | AnyNodeRef::ExprSet(_)
            | AnyNodeRef::ExprList(_)
            | AnyNodeRef::ExprTuple(_)
            | AnyNodeRef::ExprListComp(_)
            | AnyNodeRef::ExprSetComp(_)
            | AnyNodeRef::ExprDictComp(_)
            | AnyNodeRef::ExprGenerator(_)
            | AnyNodeRef::ExprAwait(_)
            | AnyNodeRef::ExprCompare(_)
            | AnyNodeRef::ExprCall(_)
            | AnyNodeRef::ExprSubscript(_)
            | AnyNodeRef::ExprFString(_) => self.add(Expression, node),
            _ => {}
        }
        TraversalSignal::Traverse
    }
}
