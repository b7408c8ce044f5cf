//! What is put into strings, by the language's own signs.

use source_text::Language;

/// The expressions in a string, by how its language marks them.
pub fn values<'a>(
    content: &'a str,
    quote: Option<u8>,
    is_template: bool,
    language: &Language,
) -> Vec<&'a str> {
    let opens: &[&str] = match language.name {
        "python" if is_template => &["{"],
        "javascript" | "jsx" | "typescript" | "tsx" if is_template => &["${"],
        "ruby" if quote != Some(b'\'') => &["#{"],
        "php" | "perl" | "shell" if quote != Some(b'\'') => &["{$", "${", "$"],
        "kotlin" | "scala" | "dart" => &["${", "$"],
        "swift" => &["\\("],
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((start, open)) = next(&content[at..], opens) {
        let inner = at + start + open.len();
        let rest = &content[inner..];
        let doubled = open == "{" && rest.starts_with('{');
        let is_escaped = open != "\\(" && content[..at + start].ends_with('\\');
        if doubled || is_escaped {
            at = inner + usize::from(doubled);
            continue;
        }
        let length = match open {
            "$" => rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len()),
            "\\(" => rest.find(')').unwrap_or(rest.len()),
            _ => rest.find('}').unwrap_or(rest.len()),
        };
        let value = rest[..length].trim();
        let is_name = value.starts_with(|c: char| c.is_alphabetic() || c == '_');
        // `$1` and a dollar alone are none.
        if !value.is_empty() && (open != "$" || is_name) {
            found.push(value);
        }
        at = inner + length;
    }
    found
}

fn next<'o>(text: &str, opens: &[&'o str]) -> Option<(usize, &'o str)> {
    let places = opens
        .iter()
        .filter_map(|open| text.find(open).map(|at| (at, *open)));
    places.min_by_key(|(at, open)| (*at, usize::MAX - open.len()))
}

/// Whether an expression is a number or a name in capitals, which are the same at every call.
pub fn is_constant(value: &str) -> bool {
    let name = value.rsplit(['.', ':']).next().unwrap_or(value);
    let is_loud = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    !name.is_empty() && name.chars().all(is_loud)
        || matches!(
            value,
            "null" | "nil" | "None" | "true" | "false" | "True" | "False"
        )
}
