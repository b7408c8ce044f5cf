//! What the nodes of the grammars mean to cognitive complexity.

use big_code_analysis::LANG;
use big_code_analysis::tree_sitter::Node;

/// What a node means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    None,
    /// Costs one and its nesting, and nests.
    Structure,
    /// The same, unless it is the condition of an `else if`.
    If,
    /// The word itself, which costs one.
    Else,
    /// `#if` and what is like it.
    Directive,
    /// `#else` and what is like it.
    OtherDirective,
    /// A jump to a label, or a plain one that costs nothing.
    Jump,
    /// Nests where it stands in another one.
    Function,
    /// Its functions are methods.
    Class,
    /// Perhaps a logical operator with its sides.
    Logical,
    /// Belongs to the expression around it.
    Parentheses,
    /// Perhaps of the function itself.
    Call,
    /// Nothing in it is run.
    Skipped,
}

/// What nodes of a kind mean.
pub fn role(kind: &str, language: LANG) -> Role {
    match kind {
        "for_statement"
        | "for_in_statement"
        | "for_range_loop"
        | "enhanced_for_statement"
        | "c_style_for_statement"
        | "while_statement"
        | "do_statement"
        | "for_expression"
        | "while_expression"
        | "loop_expression"
        | "match_expression"
        | "match_statement"
        | "switch_statement"
        | "switch_expression"
        | "expression_switch_statement"
        | "type_switch_statement"
        | "select_statement"
        | "catch_clause"
        | "except_clause"
        | "seh_except_clause"
        | "conditional_expression"
        | "ternary_expression" => Role::Structure,
        "preproc_if" | "preproc_ifdef" => Role::Directive,
        "#else" | "#elif" | "#elifdef" | "#elifndef" => Role::OtherDirective,
        "case_statement" if language == LANG::Bash => Role::Structure,
        "if_statement" | "if_expression" => Role::If,
        // What diverges instead of going on in a block of its own.
        "let_declaration" if language == LANG::Rust => Role::If,
        "else" | "elif" => Role::Else,
        "goto_statement"
        | "break_statement"
        | "continue_statement"
        | "break_expression"
        | "continue_expression" => Role::Jump,
        "function_definition"
        | "function_item"
        | "closure_expression"
        | "function_declaration"
        | "method_declaration"
        | "func_literal"
        | "constructor_declaration"
        | "compact_constructor_declaration"
        | "lambda_expression"
        | "lambda"
        | "function_expression"
        | "arrow_function"
        | "method_definition"
        | "generator_function"
        | "generator_function_declaration" => Role::Function,
        "class_definition" | "class_body" | "impl_item" | "trait_item" => Role::Class,
        "list" if language == LANG::Bash => Role::Logical,
        "binary_expression" | "boolean_operator" | "let_chain" | "fold_expression" => Role::Logical,
        "parenthesized_expression" => Role::Parentheses,
        "call_expression" | "call" | "method_invocation" => Role::Call,
        "command" if language == LANG::Bash => Role::Call,
        "requires_clause" | "requires_expression" => Role::Skipped,
        _ => Role::None,
    }
}

/// Whether a jump names where it goes.
pub fn is_labelled(node: Node<'_>) -> bool {
    let mut cursor = node.walk();
    node.kind() == "goto_statement"
        || node.named_children(&mut cursor).any(|child| {
            matches!(
                child.kind(),
                "label" | "label_name" | "statement_identifier"
            ) || child.kind() == "identifier" && node.kind().ends_with("_statement")
        })
}

/// The node that names a function; of C's the innermost declarator.
pub fn name_of(node: Node<'_>) -> Option<Node<'_>> {
    if let Some(name) = node.child_by_field_name("name") {
        return Some(name);
    }
    let mut found = node.child_by_field_name("declarator")?;
    while let Some(inner) = found.child_by_field_name("declarator") {
        found = inner;
    }
    Some(found)
}

/// Whether a method of the language calls another one by `self` or `this` alone.
pub fn has_own_calls(language: LANG) -> bool {
    matches!(
        language,
        LANG::Python | LANG::Javascript | LANG::Typescript | LANG::Tsx | LANG::Rust
    )
}

/// The name that a call calls, where it is a function's, or a method's of the same object, which is said with it.
pub fn callee<'t>(node: Node<'t>, code: &str) -> Option<(Node<'t>, bool)> {
    let is_own = |object: Node<'_>| matches!(&code[object.byte_range()], "this" | "self");
    if node.kind() == "method_invocation" {
        let object = node.child_by_field_name("object");
        let name = node.child_by_field_name("name")?;
        return object
            .is_none_or(is_own)
            .then_some((name, object.is_some()));
    }
    let called = node
        .child_by_field_name("function")
        .or_else(|| node.child_by_field_name("name"))?;
    let member = ["property", "field", "attribute"]
        .iter()
        .find_map(|field| called.child_by_field_name(field));
    let object = ["object", "value", "argument"]
        .iter()
        .find_map(|field| called.child_by_field_name(field));
    match (object, member) {
        (Some(object), Some(member)) => is_own(object).then_some((member, true)),
        _ => Some((called, false)),
    }
}

/// The function that a decorator of Python is made of: nothing stands beside it but a `return`.
pub fn decorated(node: Node<'_>) -> Option<usize> {
    if node.kind() != "function_definition" {
        return None;
    }
    let body = node.child_by_field_name("body")?;
    let mut cursor = body.walk();
    let statements: Vec<Node<'_>> = body
        .named_children(&mut cursor)
        .filter(|child| child.kind() != "comment")
        .collect();
    match statements.as_slice() {
        [function, end] if end.kind() == "return_statement" => match function.kind() {
            "function_definition" => Some(function.id()),
            "decorated_definition" => function
                .child_by_field_name("definition")
                .map(|inner| inner.id()),
            _ => None,
        },
        _ => None,
    }
}
