//! C and C++. Classes are structs, unions, enums and classes with a body; imports are the files of `#include`.

use tree_sitter::Node;

use super::{Grammar, Role, text};

/// What both have.
macro_rules! roles {
    ($($more:expr),*) => {
        &[
            ("function_definition", Role::Function),
            ("struct_specifier", Role::Class),
            ("union_specifier", Role::Class),
            ("enum_specifier", Role::Class),
            ("preproc_include", Role::Import),
            ("if_statement", Role::Decision),
            ("for_statement", Role::Decision),
            ("while_statement", Role::Decision),
            ("do_statement", Role::Decision),
            ("conditional_expression", Role::Decision),
            ("case_statement", Role::Case),
            ("binary_expression", Role::Operator),
            $($more),*
        ]
    };
}

pub(super) const C: Grammar = Grammar {
    name: "c",
    language: tree_sitter_c::LANGUAGE,
    roles: roles!(),
    name_of,
    import,
};

#[cfg(not(feature = "c-plus-plus"))]
pub(super) const CPP: Grammar = Grammar { name: "c++", ..C };

#[cfg(feature = "c-plus-plus")]
pub(super) const CPP: Grammar = Grammar {
    name: "c++",
    language: tree_sitter_cpp::LANGUAGE,
    roles: roles!(
        ("class_specifier", Role::Class),
        ("for_range_loop", Role::Decision),
        ("catch_clause", Role::Decision)
    ),
    name_of,
    import,
};

/// The innermost declarator: `int *(f)(void)` is `f`, `A::~A()` is `A::~A`.
fn name_of(node: Node<'_>) -> Option<Node<'_>> {
    let mut found = node.child_by_field_name("declarator")?;
    loop {
        let is_name = matches!(
            found.kind(),
            "identifier"
                | "field_identifier"
                | "type_identifier"
                | "qualified_identifier"
                | "destructor_name"
                | "operator_name"
                | "operator_cast"
                | "template_function"
                | "template_method"
        );
        if is_name {
            return Some(found);
        }
        found = found
            .child_by_field_name("declarator")
            .or_else(|| found.named_child(0))?;
    }
}

fn import(node: Node<'_>, code: &str) -> Option<String> {
    let path = node.child_by_field_name("path")?;
    Some(text(path, code).trim_matches(['"', '<', '>']).to_owned())
}
