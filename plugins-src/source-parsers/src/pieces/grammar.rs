//! Grammars of tree-sitter: the names of their nodes say what is what, alike in all of them.

use tree_sitter::Node;

use super::{Found, PieceKind};
use crate::grammar::parse;

pub(super) fn find(found: &mut Found<'_>, language: &str) -> Option<()> {
    let tree = parse(language, found.code)?;
    let mut cursor = tree.walk();
    // No recursion: how deep a text nests is not ours to say.
    loop {
        let node = cursor.node();
        if node.is_named() && !node.has_error() {
            add(found, node);
        }
        // An error's own nodes are guesses.
        let is_read = !node.is_error() && !node.is_missing();
        if is_read && cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return Some(());
            }
        }
    }
}

fn add(found: &mut Found<'_>, node: Node<'_>) {
    match kind(node) {
        Some(kind @ (PieceKind::Statement | PieceKind::Expression)) => {
            found.add(kind, node.start_byte(), node.end_byte());
        }
        // What stands between the first token and the last: braces, parentheses, `do` and `done`.
        Some(kind) => {
            let last = node.child_count().saturating_sub(1) as u32;
            if let (Some(open), Some(close)) = (node.child(0), node.child(last)) {
                found.add(kind, open.end_byte(), close.start_byte());
            }
        }
        None => {}
    }
}

fn kind(node: Node<'_>) -> Option<PieceKind> {
    let kind = node.kind();
    Some(match kind {
        "block" | "compound_statement" | "constructor_body" if is_body(node) => PieceKind::Body,
        "block"
        | "compound_statement"
        | "class_body"
        | "interface_body"
        | "enum_body"
        | "switch_block"
        | "field_declaration_list"
        | "declaration_list"
        | "enumerator_list"
        | "do_group" => PieceKind::Block,
        "argument_list" => PieceKind::Arguments,
        "selector_expression" | "field_expression" | "parenthesized_expression" => return None,
        "composite_literal"
        | "func_literal"
        | "method_invocation"
        | "array_access"
        | "initializer_list"
        | "array_initializer"
        | "command_substitution"
        | "test_command" => PieceKind::Expression,
        "function_definition"
        | "type_definition"
        | "command"
        | "pipeline"
        | "list"
        | "variable_assignment"
        | "for_range_loop" => PieceKind::Statement,
        _ if kind.contains("parameter") => return None,
        _ if kind.ends_with("_expression") => PieceKind::Expression,
        _ if kind.ends_with("_statement") || kind.ends_with("declaration") => PieceKind::Statement,
        _ => return None,
    })
}

/// Whether a block is a function's.
fn is_body(node: Node<'_>) -> bool {
    node.parent().is_some_and(|parent| {
        matches!(
            parent.kind(),
            "function_definition"
                | "function_declaration"
                | "method_declaration"
                | "constructor_declaration"
                | "compact_constructor_declaration"
        )
    })
}
