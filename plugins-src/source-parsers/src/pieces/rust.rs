use proc_macro2::Span;
use proc_macro2::extra::{DelimSpan, invalidate_current_thread_spans};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, Expr, ImplItem, Item, MacroDelimiter, Stmt, TraitItem};

use super::{Found, PieceKind};

pub(super) fn find(found: &mut Found<'_>) -> Option<()> {
    let is_read = match syn::parse_file(found.code) {
        Ok(file) => {
            // Spans do not count a line `#!`, which is taken off before.
            let before = file.shebang.as_ref().map_or(0, String::len);
            Walk {
                found,
                before,
                body: None,
            }
            .visit_file(&file);
            Some(())
        }
        Err(_) => None,
    };
    // Else every text that was ever parsed stays in memory for its spans.
    invalidate_current_thread_spans();
    is_read
}

struct Walk<'a, 'b> {
    found: &'a mut Found<'b>,
    /// Bytes that spans do not count.
    before: usize,
    /// Where the block begins that is a function's.
    body: Option<usize>,
}

impl Walk<'_, '_> {
    fn add(&mut self, kind: PieceKind, span: Span) {
        let range = span.byte_range();
        self.found
            .add(kind, self.before + range.start, self.before + range.end);
    }

    fn inner(&mut self, kind: PieceKind, marks: &DelimSpan) {
        let (start, end) = (marks.open().byte_range(), marks.close().byte_range());
        self.found
            .add(kind, self.before + start.end, self.before + end.start);
    }

    fn function(&mut self, body: &Block) {
        self.body = Some(start(body));
    }
}

fn start(block: &Block) -> usize {
    block.brace_token.span.open().byte_range().start
}

fn is_worth_asking(expression: &Expr) -> bool {
    matches!(
        expression,
        Expr::Array(_)
            | Expr::Await(_)
            | Expr::Binary(_)
            | Expr::Call(_)
            | Expr::Cast(_)
            | Expr::Closure(_)
            | Expr::Index(_)
            | Expr::Macro(_)
            | Expr::MethodCall(_)
            | Expr::Range(_)
            | Expr::Reference(_)
            | Expr::Struct(_)
            | Expr::Try(_)
            | Expr::Tuple(_)
            | Expr::Unary(_)
    )
}

impl<'ast> Visit<'ast> for Walk<'_, '_> {
    fn visit_item(&mut self, item: &'ast Item) {
        self.add(PieceKind::Statement, item.span());
        match item {
            Item::Fn(item) => self.function(&item.block),
            Item::Enum(item) => self.inner(PieceKind::Block, &item.brace_token.span),
            Item::Impl(item) => self.inner(PieceKind::Block, &item.brace_token.span),
            Item::Trait(item) => self.inner(PieceKind::Block, &item.brace_token.span),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        self.add(PieceKind::Statement, item.span());
        if let ImplItem::Fn(item) = item {
            self.function(&item.block);
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        self.add(PieceKind::Statement, item.span());
        if let TraitItem::Fn(item) = item
            && let Some(body) = &item.default
        {
            self.function(body);
        }
        visit::visit_trait_item(self, item);
    }

    fn visit_fields_named(&mut self, fields: &'ast syn::FieldsNamed) {
        self.inner(PieceKind::Block, &fields.brace_token.span);
        visit::visit_fields_named(self, fields);
    }

    fn visit_block(&mut self, block: &'ast Block) {
        let kind = match self.body == Some(start(block)) {
            true => PieceKind::Body,
            false => PieceKind::Block,
        };
        self.inner(kind, &block.brace_token.span);
        visit::visit_block(self, block);
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if !matches!(statement, Stmt::Item(_)) {
            self.add(PieceKind::Statement, statement.span());
        }
        visit::visit_stmt(self, statement);
    }

    fn visit_expr(&mut self, expression: &'ast Expr) {
        if is_worth_asking(expression) {
            self.add(PieceKind::Expression, expression.span());
        }
        match expression {
            Expr::Call(call) => self.inner(PieceKind::Arguments, &call.paren_token.span),
            Expr::MethodCall(call) => self.inner(PieceKind::Arguments, &call.paren_token.span),
            Expr::Match(choice) => self.inner(PieceKind::Block, &choice.brace_token.span),
            _ => {}
        }
        visit::visit_expr(self, expression);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let MacroDelimiter::Paren(marks) = &call.delimiter {
            self.inner(PieceKind::Arguments, &marks.span);
        }
    }
}
