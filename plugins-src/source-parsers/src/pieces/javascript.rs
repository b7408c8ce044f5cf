use oxc_allocator::Allocator;
use oxc_ast::ast::{
    Argument, ArrowFunctionBody, ArrowFunctionExpression, BlockStatement, CallExpression,
    ClassBody, Expression, FunctionBody, NewExpression, Statement, TSInterfaceBody,
};
use oxc_ast_visit::{Visit, walk};
use oxc_parser::Parser;
use oxc_span::{GetSpan, Span};

use super::{Found, PieceKind};
use crate::javascript::source_type;

pub(super) fn find(found: &mut Found<'_>, language: &str, path: &str) -> Option<()> {
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, found.code, source_type(language, path)).parse();
    if parsed.diagnostics.iter().next().is_some() {
        return None;
    }
    Walk { found }.visit_program(&parsed.program);
    Some(())
}

struct Walk<'a, 'b> {
    found: &'a mut Found<'b>,
}

impl Walk<'_, '_> {
    fn add(&mut self, kind: PieceKind, span: Span) {
        self.found.add(kind, span.start as usize, span.end as usize);
    }

    fn braces(&mut self, kind: PieceKind, span: Span) {
        self.found
            .add_inner(kind, span.start as usize, span.end as usize);
    }

    fn arguments(&mut self, arguments: &[Argument<'_>]) {
        if let (Some(first), Some(last)) = (arguments.first(), arguments.last()) {
            let span = Span::new(first.span().start, last.span().end);
            self.add(PieceKind::Arguments, span);
        }
    }
}

impl<'a> Visit<'a> for Walk<'_, '_> {
    fn visit_statement(&mut self, statement: &Statement<'a>) {
        if !matches!(
            statement,
            Statement::BlockStatement(_) | Statement::EmptyStatement(_)
        ) {
            self.add(PieceKind::Statement, statement.span());
        }
        walk::walk_statement(self, statement);
    }

    fn visit_expression(&mut self, expression: &Expression<'a>) {
        if is_worth_asking(expression) {
            self.add(PieceKind::Expression, expression.span());
        }
        walk::walk_expression(self, expression);
    }

    fn visit_function_body(&mut self, body: &FunctionBody<'a>) {
        self.braces(PieceKind::Body, body.span);
        walk::walk_function_body(self, body);
    }

    fn visit_arrow_function_expression(&mut self, arrow: &ArrowFunctionExpression<'a>) {
        if !matches!(arrow.body, ArrowFunctionBody::FunctionBody(_)) {
            self.add(PieceKind::Body, arrow.body.span());
        }
        walk::walk_arrow_function_expression(self, arrow);
    }

    fn visit_block_statement(&mut self, block: &BlockStatement<'a>) {
        self.braces(PieceKind::Block, block.span);
        walk::walk_block_statement(self, block);
    }

    fn visit_class_body(&mut self, body: &ClassBody<'a>) {
        self.braces(PieceKind::Block, body.span);
        walk::walk_class_body(self, body);
    }

    fn visit_ts_interface_body(&mut self, body: &TSInterfaceBody<'a>) {
        self.braces(PieceKind::Block, body.span);
        walk::walk_ts_interface_body(self, body);
    }

    fn visit_call_expression(&mut self, call: &CallExpression<'a>) {
        self.arguments(&call.arguments);
        walk::walk_call_expression(self, call);
    }

    fn visit_new_expression(&mut self, call: &NewExpression<'a>) {
        self.arguments(&call.arguments);
        walk::walk_new_expression(self, call);
    }
}

fn is_worth_asking(expression: &Expression<'_>) -> bool {
    matches!(
        expression,
        Expression::ArrayExpression(_)
            | Expression::ArrowFunctionExpression(_)
            | Expression::AssignmentExpression(_)
            | Expression::AwaitExpression(_)
            | Expression::BinaryExpression(_)
            | Expression::CallExpression(_)
            | Expression::ChainExpression(_)
            | Expression::ConditionalExpression(_)
            | Expression::FunctionExpression(_)
            | Expression::LogicalExpression(_)
            | Expression::NewExpression(_)
            | Expression::ObjectExpression(_)
            | Expression::TaggedTemplateExpression(_)
            | Expression::TemplateLiteral(_)
            | Expression::UnaryExpression(_)
            | Expression::JSXElement(_)
            | Expression::JSXFragment(_)
            | Expression::TSAsExpression(_)
            | Expression::TSSatisfiesExpression(_)
    )
}
