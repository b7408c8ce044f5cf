//! Finds calls by their names, and holds them to the rules of their language.

use codetune_plugin::{Diagnostic, Severity};
use source_text::Language;

use super::names::Names;
use super::rules::{self, Call};
use super::site::{Site, Source};

/// What needs no parentheses in PHP, since it is no function.
const WORDS: [&str; 6] = [
    "echo",
    "print",
    "include",
    "include_once",
    "require",
    "require_once",
];
/// Links of a chain that are read, as in `Runtime.getRuntime().exec(`.
const MOST_LINKS: usize = 4;

/// Calls that a rule speaks of.
pub fn calls(source: Source<'_>, found: &mut Vec<Diagnostic>) {
    let rules = rules::calls(source.language.name);
    if rules.is_empty() {
        return;
    }
    let code = source.bare.code.as_str();
    let names = Names::read(source);
    for (open, _) in code.match_indices('(') {
        let Some(callee) = callee(code, open, source.language) else {
            continue;
        };
        let arguments = (open + 1, closing(code.as_bytes(), open));
        judge(source, rules, &names, &callee, arguments, found);
    }
    if matches!(source.language.name, "ruby" | "php") {
        commands(source, rules, &names, found);
    }
}

/// What is called.
struct Callee {
    name: String,
    start: usize,
    end: usize,
}

fn judge(
    source: Source<'_>,
    rules: &[Call],
    names: &Names,
    callee: &Callee,
    (start, end): (usize, usize),
    found: &mut Vec<Diagnostic>,
) {
    for name in names.full(&callee.name) {
        let site = Site {
            name: &name,
            source,
            start,
            end,
        };
        // A piece of a file shows no imports, and names of Go are paths.
        let is_piece = source.language.name == "go" && !names.has_imports;
        let rule = rules.iter().find(|rule| {
            let is_named = match rule.name.starts_with('.') {
                true => name.ends_with(rule.name),
                false => {
                    rule.name == name || is_piece && rule.name.rsplit('/').next() == Some(&name)
                }
            };
            is_named && (rule.when)(&site)
        });
        let Some(rule) = rule else { continue };
        let severity = match rule.is_warning {
            true => Severity::Warning,
            false => Severity::Info,
        };
        let span = (callee.start, callee.end);
        let call = Diagnostic::new(rule.code, severity, span, rule.message);
        // A name of the file's own does not say that the module's other name is there.
        let instead = rule.instead.filter(|_| name == callee.name);
        found.push(match instead {
            Some((replacement, confidence)) => call.instead(replacement, confidence),
            None => call,
        });
        return;
    }
}

/// The name before a parenthesis, through calls and lines that it is a chain of.
fn callee(code: &str, open: usize, language: &Language) -> Option<Callee> {
    let bytes = code.as_bytes();
    let end = code[..open].trim_end_matches([' ', '\t']).len();
    let (mut start, mut until) = (end, end);
    let mut links = Vec::new();
    while links.len() < MOST_LINKS {
        start = name_start(bytes, until);
        links.push(code[start..until].to_owned());
        if !code[start..].starts_with('.') || start == until {
            break;
        }
        let before = code[..start].trim_end();
        if before.ends_with(')') {
            start = opening(bytes, before.len() - 1);
            links.push("()".to_owned());
        } else if before.len() < start && before.ends_with(|c: char| c.is_ascii_alphanumeric()) {
            start = before.len();
        } else {
            break;
        }
        until = start;
    }
    links.reverse();
    let name = links.concat();
    let before = code[..start].trim_end();
    let is_method = start == before.len() && before.ends_with("->");
    if name.is_empty() || is_method || is_definition(before, language) {
        return None;
    }
    let name = usual_name(name, before, start, language)?;
    Some(Callee { name, start, end })
}

/// A name as the rules write it.
fn usual_name(name: String, before: &str, start: usize, language: &Language) -> Option<String> {
    let name = match language.name {
        "c" | "c++" | "ruby" => {
            let name = name
                .strip_prefix("std")
                .filter(|rest| rest.starts_with("::"))
                .unwrap_or(&name);
            name.trim_start_matches("::").to_owned()
        }
        "php" => {
            let is_touching = start == before.len();
            let path = before.strip_suffix('\\').filter(|_| is_touching);
            // `\system` is PHP's own, `a\system` is not.
            if path.is_some_and(|path| path.ends_with(|c: char| c.is_alphanumeric())) {
                return None;
            }
            name.to_ascii_lowercase()
        }
        "java" => {
            let is_package = |piece: &&str| {
                piece.starts_with(|c: char| c.is_ascii_lowercase()) && !piece.contains('(')
            };
            let pieces: Vec<&str> = name.split('.').collect();
            let packages = pieces.iter().take_while(|piece| is_package(piece)).count();
            let kept = match packages < pieces.len() && packages > 1 {
                true => pieces[packages..].join("."),
                false => name,
            };
            match before.strip_suffix("new") {
                Some(rest) if !rest.ends_with(|c: char| c.is_alphanumeric()) => {
                    format!("new {kept}")
                }
                _ => kept,
            }
        }
        _ => name,
    };
    Some(name)
}

/// Where the name begins that ends at `end`: letters, dots and `::`.
fn name_start(bytes: &[u8], end: usize) -> usize {
    let mut start = end;
    while start > 0 {
        let byte = bytes[start - 1];
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.') {
            start -= 1;
        } else if byte == b':' && start > 1 && bytes[start - 2] == b':' {
            start -= 2;
        } else {
            break;
        }
    }
    start
}

/// Whether the name behind `before` is being defined or declared.
fn is_definition(before: &str, language: &Language) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default();
    let word = line
        .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
        .next();
    if matches!(word, Some("def" | "function" | "fn" | "func")) {
        return true;
    }
    // A type and nothing else: `int system`, `extern char *strcpy`.
    let mut words = line.split(|c: char| c.is_whitespace() || c == '*');
    let first = words.find(|word| !word.is_empty());
    matches!(language.name, "c" | "c++")
        && line
            .chars()
            .all(|c| c.is_alphanumeric() || "_ \t*".contains(c))
        && first.is_some_and(|first| !matches!(first, "return" | "else" | "do" | "case"))
}

/// Where the parenthesis at `open` closes; the text's end when it does not.
fn closing(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    bytes.len()
}

/// Where the parenthesis at `close` opens; the text's start when it does not.
fn opening(bytes: &[u8], close: usize) -> usize {
    let mut depth = 0_usize;
    for at in (0..=close).rev() {
        match bytes[at] {
            b')' => depth += 1,
            b'(' => {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            _ => {}
        }
    }
    0
}

/// Calls without parentheses: `system "ls #{folder}"`, `echo $_GET["name"];`.
fn commands(source: Source<'_>, rules: &[Call], names: &Names, found: &mut Vec<Diagnostic>) {
    let code = source.bare.code.as_str();
    let bytes = code.as_bytes();
    let mut done: Vec<&str> = Vec::new();
    for rule in rules {
        let is_word = source.language.name == "ruby" || WORDS.contains(&rule.name);
        if !is_word || done.contains(&rule.name) {
            continue;
        }
        done.push(rule.name);
        for (at, word) in code.match_indices(rule.name) {
            let start = name_start(bytes, at + word.len());
            let end = at + word.len();
            let is_method = word.starts_with('.');
            let before = &code[..start];
            let is_bound = before.ends_with(['$', '@', '"', '\'', '>', '\\', ':', '&']);
            let is_whole = if is_method {
                start < at
            } else {
                start == at && !is_bound
            };
            let rest = &code[end..];
            let arguments = rest.trim_start_matches([' ', '\t']);
            let is_spaced = arguments.len() < rest.len();
            let begins = arguments.starts_with(|c: char| {
                c.is_alphanumeric() || matches!(c, '"' | '\'' | '`' | '@' | '$' | '[' | '_')
            });
            if !is_whole
                || !is_spaced
                || !begins
                || is_definition(before.trim_end(), source.language)
            {
                continue;
            }
            let from = code.len() - arguments.len();
            let length = command_length(arguments, source.language.name);
            let callee = Callee {
                name: code[start..end].to_owned(),
                start,
                end,
            };
            judge(source, rules, names, &callee, (from, from + length), found);
        }
    }
}

/// How far the arguments of a call without parentheses go.
fn command_length(arguments: &str, language: &str) -> usize {
    if language == "php" {
        return arguments.find([';', '}']).unwrap_or(arguments.len());
    }
    let line = arguments.find('\n').unwrap_or(arguments.len());
    let line = &arguments[..line];
    let words = [
        " if ", " unless ", " do", " rescue ", " and ", " or ", ";", " while ", " }",
    ];
    let ends = words.iter().filter_map(|word| line.find(word));
    ends.min().unwrap_or(line.len())
}
