//! Rust, through syn.
//!
//! Functions are `fn` items, methods and trait methods with a body; closures count into the function around them.
//! Classes are structs, enums, unions and traits. Imports are the paths of `use` (a tree gives one for each leaf, a rename
//! the path it renames, a glob ends in `*`) and of `extern crate`.
//! Decisions: `if`, `while`, `for`, each `match` arm after the first and each guard, `?`, `&&`, `||` and `let … else`.
//! Nodes are items, statements, expressions, patterns and types. What stands inside macro calls is not looked at.

use codetune_plugin::{LineIndex, Position};
use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, UseTree};

use crate::report::{Function, Report, Scopes};

/// Analyses one file; a file that does not parse has no functions, since syn stops at the first error.
pub fn analyze(code: &str, lines: &LineIndex<'_>) -> Report {
    let mut walk = Walk {
        lines,
        report: Report {
            language: "rust",
            nodes: 1,
            ..Report::default()
        },
        scopes: Scopes::default(),
    };
    match syn::parse_file(code) {
        Ok(file) => walk.visit_file(&file),
        Err(error) => {
            let span = error.span();
            let (start, end) = (walk.offset(span.start()), walk.offset(span.end()));
            walk.report
                .syntax_error(lines, start, end, error.to_string());
        }
    }
    // Else every text that was ever parsed stays in memory for its spans, for as long as the instance lives.
    proc_macro2::extra::invalidate_current_thread_spans();
    walk.report
}

struct Walk<'a> {
    lines: &'a LineIndex<'a>,
    report: Report,
    scopes: Scopes,
}

impl Walk<'_> {
    fn offset(&self, place: proc_macro2::LineColumn) -> u32 {
        self.lines.offset(Position {
            line: place.line as u32,
            column: place.column as u32 + 1,
        })
    }

    fn decide(&mut self, decisions: usize) {
        self.scopes.decide(&mut self.report, decisions as u32);
    }

    fn enter(&mut self, signature: &syn::Signature) {
        let span: Span = signature.ident.span();
        let (start, end) = (self.offset(span.start()), self.offset(span.end()));
        let function = Function {
            name: signature.ident.to_string(),
            line: span.start().line as u32,
            complexity: 1,
            is_async: signature.asyncness.is_some(),
            start,
            end,
        };
        self.scopes.enter(&mut self.report, function);
    }

    fn imports(&mut self, tree: &UseTree, prefix: &str) {
        let join = |name: &str| match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}::{name}"),
        };
        match tree {
            UseTree::Path(path) => self.imports(&path.tree, &join(&path.ident.to_string())),
            // `use a::{self}` imports `a`.
            UseTree::Name(name) if name.ident == "self" && !prefix.is_empty() => {
                self.report.imports.push(prefix.to_owned());
            }
            UseTree::Name(name) => self.report.imports.push(join(&name.ident.to_string())),
            UseTree::Rename(name) if name.ident == "self" && !prefix.is_empty() => {
                self.report.imports.push(prefix.to_owned());
            }
            UseTree::Rename(name) => self.report.imports.push(join(&name.ident.to_string())),
            UseTree::Glob(_) => self.report.imports.push(join("*")),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.imports(tree, prefix);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.report.nodes += 1;
        match item {
            syn::Item::Struct(_)
            | syn::Item::Enum(_)
            | syn::Item::Union(_)
            | syn::Item::Trait(_) => {
                self.report.num_classes += 1;
            }
            syn::Item::Use(item) => {
                let prefix = if item.leading_colon.is_some() {
                    "::"
                } else {
                    ""
                };
                let before = self.report.imports.len();
                self.imports(&item.tree, "");
                for import in &mut self.report.imports[before..] {
                    import.insert_str(0, prefix);
                }
            }
            syn::Item::ExternCrate(item) => self.report.imports.push(item.ident.to_string()),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.enter(&function.sig);
        visit::visit_item_fn(self, function);
        self.scopes.leave();
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.report.nodes += 1;
        self.enter(&function.sig);
        visit::visit_impl_item_fn(self, function);
        self.scopes.leave();
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.report.nodes += 1;
        if function.default.is_none() {
            return visit::visit_trait_item_fn(self, function);
        }
        self.enter(&function.sig);
        visit::visit_trait_item_fn(self, function);
        self.scopes.leave();
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let diverges = local
            .init
            .as_ref()
            .is_some_and(|init| init.diverge.is_some());
        self.decide(usize::from(diverges));
        visit::visit_local(self, local);
    }

    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        self.report.nodes += 1;
        visit::visit_stmt(self, statement);
    }

    fn visit_pat(&mut self, pattern: &'ast syn::Pat) {
        self.report.nodes += 1;
        self.decide(usize::from(matches!(pattern, syn::Pat::Guard(_))));
        visit::visit_pat(self, pattern);
    }

    fn visit_type(&mut self, kind: &'ast syn::Type) {
        self.report.nodes += 1;
        visit::visit_type(self, kind);
    }

    fn visit_expr(&mut self, expression: &'ast Expr) {
        self.report.nodes += 1;
        let decisions = match expression {
            Expr::If(_) | Expr::While(_) | Expr::ForLoop(_) | Expr::Try(_) => 1,
            Expr::Match(found) => found.arms.len().saturating_sub(1),
            Expr::Binary(operation) => {
                usize::from(matches!(operation.op, BinOp::And(_) | BinOp::Or(_)))
            }
            _ => 0,
        };
        self.decide(decisions);
        visit::visit_expr(self, expression);
    }
}
