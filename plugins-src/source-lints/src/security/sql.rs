//! Statements of SQL that values are put into, by a template, an operator or a format.

use codetune_plugin::{Diagnostic, Severity};
use source_words::Text;

use super::site::Source;
use super::values::is_constant;

/// Statements that values are put into.
pub fn sql(source: Source<'_>, found: &mut Vec<Diagnostic>) {
    for string in &source.bare.strings {
        let content = source.content(string);
        if !is_statement(content) {
            continue;
        }
        let is_unsafe =
            source.is_filled(string) || is_joined(source, string) || is_formatted(source, string);
        if is_unsafe && !fills_marks(source, string) {
            found.push(Diagnostic::new(
                "sql",
                Severity::Warning,
                (string.start, string.end),
                "values are put into the text of a SQL statement; bind them as parameters",
            ));
        }
    }
}

/// Whether something that varies is joined to a string, past strings and constants.
fn is_joined(source: Source<'_>, string: &Text) -> bool {
    let code = source.bare.code.as_str();
    let strings = &source.bare.strings;
    let sign = match source.language.name {
        "php" | "perl" => '.',
        _ => '+',
    };
    let mut end = string.end;
    loop {
        let rest = code[end..].trim_start_matches(|c: char| c.is_whitespace() || c == '\\');
        let behind = rest.strip_prefix(sign);
        let operand = match behind {
            Some(behind) if behind.starts_with(['+', '=']) => return false,
            Some(behind) => behind.trim_start(),
            None => rest,
        };
        let at = code.len() - operand.len();
        let next = strings.partition_point(|one| one.start < at);
        if let Some(next) = strings.get(next).filter(|next| next.start == at) {
            if source.is_filled(next) {
                return true;
            }
            end = next.end;
            continue;
        }
        if behind.is_none() || operand.is_empty() {
            return false;
        }
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '$');
        let length = operand.find(|c| !is_word(c)).unwrap_or(operand.len());
        let is_called = operand[length..].starts_with(['(', '[', '-']);
        if length == 0 || is_called || !is_constant(&operand[..length]) {
            return true;
        }
        end = at + length;
    }
}

/// Whether a string is the format of values.
fn is_formatted(source: Source<'_>, string: &Text) -> bool {
    let content = source.content(string);
    let after = source.bare.code[string.end..].trim_start();
    let before = source.bare.code[..string.start].trim_end();
    // What is a number puts nothing else in.
    let has_words = ["%s", "%v", "%q", "%1$s", "%("]
        .iter()
        .any(|one| content.contains(one));
    let formats = ["Sprintf(", "String.format(", "sprintf(", "Errorf("];
    after.starts_with(".format(") && content.contains('{')
        || after.starts_with(".formatted(") && has_words
        || after.starts_with('%') && !after.starts_with("%=") && has_words
        || before.ends_with("format!(") && has_names(content)
        || formats.iter().any(|call| before.ends_with(call)) && has_words
}

/// Whether a format of Rust takes anything but constants.
fn has_names(content: &str) -> bool {
    let mut pieces = content.split('{');
    pieces.next();
    pieces.any(|piece| {
        let name = piece.split(['}', ':']).next().unwrap_or_default();
        name.is_empty() && !piece.is_empty() || !name.is_empty() && !is_constant(name)
    })
}

/// Whether marks are put in, as many as there are parameters: `",".join(["%s"] * n)`.
fn fills_marks(source: Source<'_>, string: &Text) -> bool {
    let line: String = source.text[string.end..].chars().take(120).collect();
    let line = line.split([';', '\n']).next().unwrap_or_default();
    let around = [source.content(string), line];
    [
        "'?'",
        "\"?\"",
        "'%s'",
        "\"%s\"",
        "'?,",
        "\"?,",
        "laceholder",
    ]
    .iter()
    .any(|mark| line.contains(mark))
        || around.iter().any(|text| text.contains("placeholders"))
}

/// Whether a text is a statement and no sentence that begins with the same word.
pub fn is_statement(content: &str) -> bool {
    let head: String = content.trim_start().chars().take(400).collect();
    let words: Vec<&str> = head.split_ascii_whitespace().collect();
    let Some(first) = words.first() else {
        return false;
    };
    let is_loud = first.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_small = first.bytes().all(|byte| byte.is_ascii_lowercase());
    let is = |word: &str, name: &str| {
        word.eq_ignore_ascii_case(name)
            && match is_loud {
                true => word.bytes().all(|byte| byte.is_ascii_uppercase()),
                false => true,
            }
    };
    let place = |name: &str| words.iter().position(|word| is(word, name));
    let has_shape = match first.to_ascii_uppercase().as_str() {
        "SELECT" => place("FROM").is_some_and(|at| at > 1),
        "DELETE" => place("FROM") == Some(1),
        "INSERT" | "REPLACE" => matches!(place("INTO"), Some(1..=4)),
        "UPDATE" => matches!(place("SET"), Some(2..=5)),
        "DROP" | "ALTER" | "TRUNCATE" | "CREATE" => {
            let things = ["TABLE", "VIEW", "INDEX", "DATABASE", "SCHEMA", "USER"];
            things
                .iter()
                .any(|thing| matches!(place(thing), Some(1..=3)))
        }
        "WITH" => place("AS").is_some() && head.contains("SELECT") && is_loud,
        _ => false,
    };
    // Small letters are a sentence's too: SQL has signs and more words of its own.
    let signs = [
        "*",
        "=",
        " where ",
        " join ",
        " limit ",
        " order by ",
        " values",
        "(",
    ];
    has_shape && (is_loud || is_small && signs.iter().any(|sign| head.contains(sign)))
}
