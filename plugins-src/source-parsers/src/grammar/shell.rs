//! Shell, as bash has it. There are no classes; imports are the files of `source` and `.`.

use tree_sitter::Node;

use super::{Grammar, Role, named, text};

pub(super) const SHELL: Grammar = Grammar {
    name: "shell",
    language: tree_sitter_bash::LANGUAGE,
    roles: &[
        ("function_definition", Role::Function),
        ("command", Role::Import),
        ("if_statement", Role::Decision),
        ("elif_clause", Role::Decision),
        ("for_statement", Role::Decision),
        ("c_style_for_statement", Role::Decision),
        ("while_statement", Role::Decision),
        ("ternary_expression", Role::Decision),
        ("case_item", Role::Case),
        ("list", Role::Operator),
        ("binary_expression", Role::Operator),
    ],
    name_of: named,
    import,
};

fn import(node: Node<'_>, code: &str) -> Option<String> {
    let name = node.child_by_field_name("name")?;
    if !matches!(text(name, code), "source" | ".") {
        return None;
    }
    let file = node.child_by_field_name("argument")?;
    Some(text(file, code).trim_matches(['"', '\'']).to_owned())
}
