//! Languages read by tree-sitter's grammars: one walk, and a table for each language of what its nodes mean.
//!
//! A grammar goes on behind an error, so that a file that does not parse has the functions around it. A lambda or a nested
//! function without a name counts into the function around it. Nodes are the named ones of the tree.

mod c;
mod go;
mod java;
mod shell;

use codetune_plugin::LineIndex;
use tree_sitter::{Language, Node, Parser};
use tree_sitter_language::LanguageFn;

use crate::report::{Function, Report, Scopes};

/// What a node means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    None,
    /// A function where it has a body.
    Function,
    /// A class where it has a body.
    Class,
    Import,
    /// A decision.
    Decision,
    /// A decision unless it is the default.
    Case,
    /// A decision where its operator is a logical one.
    Operator,
}

/// One language.
struct Grammar {
    name: &'static str,
    language: LanguageFn,
    roles: &'static [(&'static str, Role)],
    /// The node that names a function.
    name_of: for<'a> fn(Node<'a>) -> Option<Node<'a>>,
    /// What an import imports.
    import: fn(Node<'_>, &str) -> Option<String>,
}

fn grammar(language: &str) -> Option<&'static Grammar> {
    Some(match language {
        "c" => &c::C,
        "c++" => &c::CPP,
        "go" => &go::GO,
        "java" => &java::JAVA,
        "shell" => &shell::SHELL,
        _ => return None,
    })
}

/// The tree of one file; none where there is no grammar for the language.
#[cfg(feature = "pieces")]
pub fn parse(language: &str, code: &str) -> Option<tree_sitter::Tree> {
    let mut parser = Parser::new();
    let language = Language::new(grammar(language)?.language);
    parser.set_language(&language).ok()?;
    parser.parse(code, None)
}

/// Analyses one file; none where there is no grammar for the language.
pub fn analyze(language: &str, code: &str, lines: &LineIndex<'_>) -> Option<Report> {
    let grammar = grammar(language)?;
    let language = Language::new(grammar.language);
    let mut parser = Parser::new();
    parser.set_language(&language).ok()?;
    let tree = parser.parse(code, None)?;
    let roles = (0..language.node_kind_count() as u16).map(|id| role(grammar, &language, id));
    let mut walk = Walk {
        grammar,
        roles: roles.collect(),
        code,
        lines,
        report: Report {
            language: grammar.name,
            ..Report::default()
        },
        scopes: Scopes::default(),
    };
    walk.run(tree.root_node());
    Some(walk.report)
}

fn role(grammar: &Grammar, language: &Language, id: u16) -> Role {
    if !language.node_kind_is_named(id) {
        return Role::None;
    }
    let kind = language.node_kind_for_id(id);
    let mut roles = grammar.roles.iter();
    roles
        .find(|(name, _)| kind == Some(*name))
        .map_or(Role::None, |(_, role)| *role)
}

/// The text of a node.
fn text<'a>(node: Node<'_>, code: &'a str) -> &'a str {
    &code[node.byte_range()]
}

struct Walk<'a> {
    grammar: &'static Grammar,
    /// By the kind's id.
    roles: Vec<Role>,
    code: &'a str,
    lines: &'a LineIndex<'a>,
    report: Report,
    scopes: Scopes,
}

impl Walk<'_> {
    /// No recursion: how deep a text nests is not ours to say.
    fn run(&mut self, root: Node<'_>) {
        let mut cursor = root.walk();
        let mut depth = 0_u32;
        // Where functions and the outermost error are open.
        let mut functions: Vec<u32> = Vec::new();
        let mut error: Option<u32> = None;
        loop {
            let node = cursor.node();
            self.report.nodes += u32::from(node.is_named());
            if error.is_none() && (node.is_error() || node.is_missing()) {
                self.error(node);
                error = Some(depth);
            }
            if self.visit(node) {
                functions.push(depth);
            }
            if cursor.goto_first_child() {
                depth += 1;
                continue;
            }
            loop {
                if functions.pop_if(|open| *open == depth).is_some() {
                    self.scopes.leave();
                }
                error = error.filter(|open| *open != depth);
                if cursor.goto_next_sibling() {
                    break;
                }
                if !cursor.goto_parent() {
                    return;
                }
                depth -= 1;
            }
        }
    }

    /// Whether a function was entered.
    fn visit(&mut self, node: Node<'_>) -> bool {
        let role = self.roles.get(usize::from(node.kind_id()));
        match role.copied().unwrap_or(Role::None) {
            Role::None => {}
            Role::Function => {
                if node.child_by_field_name("body").is_some() {
                    self.enter(node);
                    return true;
                }
            }
            Role::Class => self.report.num_classes += u32::from(is_class(node)),
            Role::Import => {
                let import = (self.grammar.import)(node, self.code);
                self.report.imports.extend(import);
            }
            Role::Decision => self.scopes.decide(&mut self.report, 1),
            Role::Case => {
                if !self.is_default(node) {
                    self.scopes.decide(&mut self.report, 1);
                }
            }
            Role::Operator => {
                if is_logical(node) {
                    self.scopes.decide(&mut self.report, 1);
                }
            }
        }
        false
    }

    fn enter(&mut self, node: Node<'_>) {
        let name = (self.grammar.name_of)(node);
        let place = name.unwrap_or(node);
        let start = place.start_byte() as u32;
        let function = Function {
            name: name
                .map_or("<anonymous>", |name| text(name, self.code))
                .to_owned(),
            line: self.lines.line(start),
            complexity: 1,
            is_async: false,
            start,
            end: name.map_or(start, |name| name.end_byte() as u32),
        };
        self.scopes.enter(&mut self.report, function);
    }

    fn is_default(&self, node: Node<'_>) -> bool {
        let is_word = node.child(0).is_some_and(|first| first.kind() == "default");
        let value = node.child_by_field_name("value");
        is_word || value.is_some_and(|value| text(value, self.code) == "*")
    }

    fn error(&mut self, node: Node<'_>) {
        let message = if node.is_missing() {
            format!("missing `{}`", node.kind())
        } else {
            let first = text(node, self.code).lines().next().unwrap_or_default();
            match first.trim() {
                "" => "unexpected end of the text".to_owned(),
                first => format!(
                    "unexpected `{}`",
                    first.chars().take(40).collect::<String>()
                ),
            }
        };
        let (start, end) = (node.start_byte() as u32, node.end_byte() as u32);
        self.report.syntax_error(self.lines, start, end, message);
    }
}

/// Something with a body, or a type that Go gives a name.
fn is_class(node: Node<'_>) -> bool {
    let kind = node.child_by_field_name("type").map(|kind| kind.kind());
    node.child_by_field_name("body").is_some()
        || matches!(kind, Some("struct_type" | "interface_type"))
}

/// `&&` and `||`, which are the field `operator`, or in a shell's list the token between two commands.
fn is_logical(node: Node<'_>) -> bool {
    let operator = node
        .child_by_field_name("operator")
        .or_else(|| node.child(1));
    operator.is_some_and(|operator| matches!(operator.kind(), "&&" | "||" | "and" | "or"))
}

/// The field that most grammars have for a name.
fn named(node: Node<'_>) -> Option<Node<'_>> {
    node.child_by_field_name("name")
}

#[cfg(test)]
mod tests;
