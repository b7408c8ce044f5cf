//! Go. Classes are struct and interface types with a name.

use tree_sitter::Node;

use super::{Grammar, Role, named, text};

pub(super) const GO: Grammar = Grammar {
    name: "go",
    language: tree_sitter_go::LANGUAGE,
    roles: &[
        ("function_declaration", Role::Function),
        ("method_declaration", Role::Function),
        ("type_spec", Role::Class),
        ("import_spec", Role::Import),
        ("if_statement", Role::Decision),
        ("for_statement", Role::Decision),
        ("expression_case", Role::Decision),
        ("type_case", Role::Decision),
        ("communication_case", Role::Decision),
        ("binary_expression", Role::Operator),
    ],
    name_of: named,
    import,
};

fn import(node: Node<'_>, code: &str) -> Option<String> {
    let path = node.child_by_field_name("path")?;
    Some(text(path, code).trim_matches(['"', '`']).to_owned())
}
