//! Secrets that stand in the source.

use codetune_plugin::{Diagnostic, Severity};
use source_words::Text;

use super::site::Source;

/// Beginnings of keys that nothing else begins with, and how many characters they have at least.
const KEYS: [(&str, usize); 8] = [
    ("AKIA", 20),
    ("ghp_", 40),
    ("github_pat_", 30),
    ("glpat-", 26),
    ("xoxb-", 20),
    ("AIza", 39),
    ("sk_live_", 24),
    ("hf_", 34),
];
/// Names of variables that hold secrets.
const NAMES: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secret_key",
    "secretkey",
    "api_key",
    "apikey",
    "token",
    "private_key",
    "access_key",
];
/// What people write where a secret belongs.
const PLACEHOLDERS: [&str; 14] = [
    "example",
    "changeme",
    "your",
    "xxx",
    "placeholder",
    "dummy",
    "test",
    "password",
    "secret",
    "<",
    "${",
    "{{",
    "todo",
    "env",
];

/// Keys, strings that look drawn and have a telling name, and passwords in URLs.
pub fn secrets(source: Source<'_>, found: &mut Vec<Diagnostic>) {
    for string in &source.bare.strings {
        let content = source.content(string);
        let is_plain = |c: char| c.is_ascii_graphic();
        if content.len() < 8 || content.len() > 400 || !content.chars().all(is_plain) {
            continue;
        }
        let is_key = KEYS.iter().any(|(start, least)| {
            content.starts_with(start)
                && content.len() >= *least
                && content[start.len()..]
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
        });
        if is_key || is_assigned(source.text, string) && is_random(content) || has_password(content)
        {
            found.push(Diagnostic::new(
                "secret",
                Severity::Warning,
                (string.start, string.end),
                "a secret stands in the source; read it from the environment",
            ));
        }
    }
}

/// Whether the string is given to something that is named like a secret.
fn is_assigned(text: &str, string: &Text) -> bool {
    let before = text[..string.start].trim_end();
    // `define("DB_PASSWORD", "…")` gives it to the string before.
    let before = match before.strip_suffix(',') {
        Some(rest) if is_defined(rest) => rest,
        Some(_) => return false,
        None => match before.strip_suffix("=>") {
            Some(rest) => rest,
            None => match before.strip_suffix([':', '=']) {
                Some(rest) => rest,
                None => return false,
            },
        },
    };
    let before = before.trim_end_matches([':', ' ', '"', '\'']);
    let name: String = before
        .chars()
        .rev()
        .take_while(|c| c.is_ascii_alphanumeric() || "_-".contains(*c))
        .take(60)
        .collect();
    let name: String = name.chars().rev().collect();
    let name = name.to_ascii_lowercase().replace('-', "_");
    NAMES.iter().any(|word| name.ends_with(word))
}

/// Whether a text ends with `define("NAME"`.
fn is_defined(text: &str) -> bool {
    let line = text.rsplit('\n').next().unwrap_or_default();
    let call = line.rsplit('(').nth(1).unwrap_or_default();
    text.ends_with(['"', '\'']) && call.trim_end().ends_with("define")
}

/// `postgres://user:password@host`, where the password is a word and no placeholder.
fn has_password(content: &str) -> bool {
    let Some((_, rest)) = content.split_once("://") else {
        return false;
    };
    let host = rest.split('/').next().unwrap_or_default();
    let Some((user, _)) = host.rsplit_once('@') else {
        return false;
    };
    let Some((_, password)) = user.split_once(':') else {
        return false;
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.!~*=&+".contains(c);
    let lower = password.to_ascii_lowercase();
    password.len() >= 6
        && password.chars().all(is_plain)
        && password.bytes().any(|byte| byte.is_ascii_digit())
        && !PLACEHOLDERS.iter().any(|word| lower.contains(word))
        && !host.ends_with("example.com")
}

/// Letters and digits with more than 3 bits a character, and no placeholder.
fn is_random(content: &str) -> bool {
    let lower = content.to_ascii_lowercase();
    let mut counts = [0_u32; 128];
    for byte in content.bytes() {
        counts[usize::from(byte & 127)] += 1;
    }
    let all = content.len() as f64;
    let entropy: f64 = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum();
    entropy > 3.0
        && content.bytes().any(|byte| byte.is_ascii_digit())
        && content.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !PLACEHOLDERS.iter().any(|word| lower.contains(word))
}
