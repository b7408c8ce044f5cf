//! Java. Classes are classes, interfaces, enums, records and annotation types.

use tree_sitter::Node;

use super::{Grammar, Role, named, text};

pub(super) const JAVA: Grammar = Grammar {
    name: "java",
    language: tree_sitter_java::LANGUAGE,
    roles: &[
        ("method_declaration", Role::Function),
        ("constructor_declaration", Role::Function),
        ("compact_constructor_declaration", Role::Function),
        ("class_declaration", Role::Class),
        ("interface_declaration", Role::Class),
        ("enum_declaration", Role::Class),
        ("record_declaration", Role::Class),
        ("annotation_type_declaration", Role::Class),
        ("import_declaration", Role::Import),
        ("if_statement", Role::Decision),
        ("for_statement", Role::Decision),
        ("enhanced_for_statement", Role::Decision),
        ("while_statement", Role::Decision),
        ("do_statement", Role::Decision),
        ("catch_clause", Role::Decision),
        ("ternary_expression", Role::Decision),
        ("guard", Role::Decision),
        ("switch_label", Role::Case),
        ("binary_expression", Role::Operator),
    ],
    name_of: named,
    import,
};

/// `import static a.B.*;` is `a.B.*`.
fn import(node: Node<'_>, code: &str) -> Option<String> {
    let rest = text(node, code)
        .strip_prefix("import")?
        .trim_end_matches(';');
    let rest = rest.trim();
    let name = rest.strip_prefix("static ").unwrap_or(rest);
    Some(name.split_whitespace().collect())
}
