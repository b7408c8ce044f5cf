//! JavaScript and TypeScript, with and without JSX, through oxc's parser.
//!
//! Functions are declarations, expressions, arrows, methods, getters and setters that have a body. A function without a name
//! of its own takes that of the variable, property or field it is given to.
//! Imports: `import … from`, `export … from`, `import("x")`, `require("x")` and TypeScript's `import x = require("x")`.
//! Decisions: `if`, `for`, `while`, `do`, each `case`, `catch`, `?:`, `&&`, `||`, `??` and their assignments.

use codetune_plugin::LineIndex;
use oxc_allocator::Allocator;
use oxc_ast::AstKind;
use oxc_ast::ast::{Argument, BindingPattern, Expression, PropertyKey, TSModuleReference};
use oxc_ast_visit::Visit;
use oxc_parser::Parser;
use oxc_span::{GetSpan, SourceType, Span};

use crate::report::{Function, Report, Scopes};

/// `language` is one of the four names, `path` tells modules (`.mjs`) from scripts (`.cjs`).
pub fn source_type(language: &str, path: &str) -> SourceType {
    match language {
        "typescript" if path.ends_with(".d.ts") => SourceType::d_ts(),
        "typescript" => SourceType::ts(),
        "tsx" => SourceType::tsx(),
        _ if path.ends_with(".cjs") => SourceType::cjs(),
        _ if path.ends_with(".mjs") => SourceType::mjs(),
        _ => SourceType::unambiguous().with_jsx(true),
    }
}

/// Analyses one file.
pub fn analyze(code: &str, language: &'static str, path: &str, lines: &LineIndex<'_>) -> Report {
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, code, source_type(language, path)).parse();
    let mut walk = Walk {
        lines,
        report: Report {
            language,
            ..Report::default()
        },
        scopes: Scopes::default(),
        names: Vec::new(),
    };
    walk.visit_program(&parsed.program);
    let mut report = walk.report;
    for diagnostic in parsed.diagnostics.iter() {
        let label = diagnostic.labels.iter().next();
        let (start, end) = label.map_or((0, 0), |label| {
            let start = label.offset() as u32;
            (start, start + label.len() as u32)
        });
        report.syntax_error(lines, start, end, diagnostic.message.to_string());
    }
    report
}

struct Walk<'a> {
    lines: &'a LineIndex<'a>,
    report: Report,
    scopes: Scopes,
    /// Names that wait for the function at this place.
    names: Vec<(Span, String)>,
}

impl Walk<'_> {
    /// Remembers that the function at `value`, if it is one, goes by `name`.
    fn name(&mut self, value: &Expression<'_>, name: impl Into<String>) {
        let value = value.without_parentheses();
        if matches!(
            value,
            Expression::ArrowFunctionExpression(_) | Expression::FunctionExpression(_)
        ) {
            self.names.push((value.span(), name.into()));
        }
    }

    fn enter_function(&mut self, span: Span, own: Option<&str>, is_async: bool) {
        let given = self
            .names
            .pop_if(|(place, _)| *place == span)
            .map(|(_, name)| name);
        let function = Function {
            name: own
                .map(str::to_owned)
                .or(given)
                .unwrap_or_else(|| "<anonymous>".to_owned()),
            line: self.lines.line(span.start),
            complexity: 1,
            is_async,
            start: span.start,
            end: span.start,
        };
        self.scopes.enter(&mut self.report, function);
    }

    fn import(&mut self, source: &str) {
        self.report.imports.push(source.to_owned());
    }
}

fn key_name(key: &PropertyKey<'_>) -> String {
    match key {
        PropertyKey::PrivateIdentifier(name) => format!("#{}", name.name),
        key => key
            .static_name()
            .map_or_else(|| "<computed>".to_owned(), |name| name.into_owned()),
    }
}

impl<'a> Visit<'a> for Walk<'_> {
    fn enter_node(&mut self, kind: AstKind<'a>) {
        self.report.nodes += 1;
        let decisions = match kind {
            AstKind::Function(function) if function.body.is_some() => {
                let own = function.id.as_ref().map(|id| id.name.as_str());
                self.enter_function(function.span, own, function.r#async);
                0
            }
            AstKind::ArrowFunctionExpression(arrow) => {
                self.enter_function(arrow.span, None, arrow.r#async);
                0
            }
            AstKind::VariableDeclarator(declarator) => {
                if let (BindingPattern::BindingIdentifier(id), Some(value)) =
                    (&declarator.id, &declarator.init)
                {
                    self.name(value, id.name.as_str());
                }
                0
            }
            AstKind::MethodDefinition(method) => {
                self.names.push((method.value.span, key_name(&method.key)));
                0
            }
            AstKind::ObjectProperty(property) => {
                self.name(&property.value, key_name(&property.key));
                0
            }
            AstKind::PropertyDefinition(property) => {
                if let Some(value) = &property.value {
                    self.name(value, key_name(&property.key));
                }
                0
            }
            AstKind::AssignmentExpression(assignment) => {
                if let Some(target) = assignment.left.get_identifier_name() {
                    self.name(&assignment.right, target);
                } else if let Some(member) = assignment.left.as_member_expression()
                    && let Some(property) = member.static_property_name()
                {
                    self.name(&assignment.right, property);
                }
                u32::from(assignment.operator.is_logical())
            }
            AstKind::Class(_) => {
                self.report.num_classes += 1;
                0
            }
            AstKind::ImportDeclaration(import) => {
                self.import(&import.source.value);
                0
            }
            AstKind::ExportAllDeclaration(export) => {
                self.import(&export.source.value);
                0
            }
            AstKind::ExportFromDeclaration(export) => {
                self.import(&export.source.value);
                0
            }
            AstKind::ImportExpression(import) => {
                if let Expression::StringLiteral(source) = &import.source {
                    self.import(&source.value);
                }
                0
            }
            AstKind::TSImportEqualsDeclaration(import) => {
                if let TSModuleReference::ExternalModuleReference(module) = &import.module_reference
                {
                    self.import(&module.expression.value);
                }
                0
            }
            AstKind::CallExpression(call) => {
                if let (Expression::Identifier(callee), [Argument::StringLiteral(source)]) =
                    (&call.callee, call.arguments.as_slice())
                    && callee.name == "require"
                {
                    self.import(&source.value);
                }
                0
            }
            AstKind::SwitchCase(case) => u32::from(case.test.is_some()),
            AstKind::IfStatement(_)
            | AstKind::ForStatement(_)
            | AstKind::ForInStatement(_)
            | AstKind::ForOfStatement(_)
            | AstKind::WhileStatement(_)
            | AstKind::DoWhileStatement(_)
            | AstKind::CatchClause(_)
            | AstKind::ConditionalExpression(_)
            | AstKind::LogicalExpression(_) => 1,
            _ => 0,
        };
        if decisions > 0 {
            self.scopes.decide(&mut self.report, decisions);
        }
    }

    fn leave_node(&mut self, kind: AstKind<'a>) {
        match kind {
            AstKind::Function(function) if function.body.is_some() => self.scopes.leave(),
            AstKind::ArrowFunctionExpression(_) => self.scopes.leave(),
            _ => {}
        }
    }
}
