//! What is set rather than called: checks of certificates that are turned off, HTML that is assigned.

use codetune_plugin::{Diagnostic, Severity};

use super::site::{Site, Source};

const JS: &[&str] = &["javascript", "jsx", "typescript", "tsx"];
const CERTIFICATE: &str = "nobody looks at the other side's certificate";

/// A name, and what it must not be set to.
struct Setting {
    languages: &'static [&'static str],
    name: &'static str,
    /// Empty where the name is itself a value that something is set to.
    values: &'static [&'static str],
}

#[rustfmt::skip]
static SETTINGS: &[Setting] = &[
    Setting { languages: &["go"], name: "InsecureSkipVerify", values: &["true"] },
    Setting { languages: JS, name: "rejectUnauthorized", values: &["false"] },
    Setting { languages: JS, name: "strictSSL", values: &["false"] },
    Setting { languages: JS, name: "NODE_TLS_REJECT_UNAUTHORIZED", values: &["\"0\"", "'0'", "0"] },
    Setting { languages: &["python"], name: "CERT_NONE", values: &[] },
    Setting { languages: &["python"], name: "check_hostname", values: &["False"] },
    Setting { languages: &["ruby"], name: "OpenSSL::SSL::VERIFY_NONE", values: &[] },
    Setting { languages: &["ruby"], name: "verify_ssl", values: &["false"] },
    Setting { languages: &["php", "c", "c++"], name: "CURLOPT_SSL_VERIFYPEER", values: &["false", "FALSE", "0"] },
    Setting { languages: &["php", "c", "c++"], name: "CURLOPT_SSL_VERIFYHOST", values: &["false", "FALSE", "0"] },
    Setting { languages: &["php"], name: "verify_peer", values: &["false"] },
    Setting { languages: &["php"], name: "verify", values: &["false"] },
    Setting { languages: &["java"], name: "ALLOW_ALL_HOSTNAME_VERIFIER", values: &[] },
    Setting { languages: &["java"], name: "NoopHostnameVerifier.INSTANCE", values: &[] },
    Setting { languages: &["java"], name: "InsecureTrustManagerFactory.INSTANCE", values: &[] },
    Setting { languages: &["java"], name: "TrustAllStrategy.INSTANCE", values: &[] },
    Setting { languages: &["rust"], name: "SslVerifyMode::NONE", values: &[] },
];

/// What is set.
pub fn settings(source: Source<'_>, found: &mut Vec<Diagnostic>) {
    let code = source.bare.code.as_str();
    for setting in SETTINGS {
        if !setting.languages.contains(&source.language.name) {
            continue;
        }
        for (at, name) in code.match_indices(setting.name) {
            let end = at + name.len();
            if is_whole(code, at, end) && is_set(source, setting, at, end) {
                found.push(warning((at, end)));
            }
        }
        // `'verify' => false`, `"InsecureSkipVerify": true`.
        for string in &source.bare.strings {
            if !setting.values.is_empty()
                && source.content(string) == setting.name
                && is_set(source, setting, string.start, string.end)
            {
                found.push(warning((string.start, string.end)));
            }
        }
    }
    if source.language.name == "java" {
        trust(source, found);
    }
    if JS.contains(&source.language.name) {
        html(source, found);
    }
    if matches!(source.language.name, "ruby" | "php") {
        backticks(source, found);
    }
}

fn warning(span: (usize, usize)) -> Diagnostic {
    Diagnostic::new("no-verification", Severity::Warning, span, CERTIFICATE)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_whole(code: &str, start: usize, end: usize) -> bool {
    let bytes = code.as_bytes();
    let before = start.checked_sub(1).map(|at| bytes[at]);
    !before.is_some_and(is_word) && !bytes.get(end).copied().is_some_and(is_word)
}

fn is_set(source: Source<'_>, setting: &Setting, start: usize, end: usize) -> bool {
    if setting.values.is_empty() {
        let path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':');
        let before = source.bare.code[..start].trim_end_matches(path).trim_end();
        // It is given to something, and not compared with it.
        return before.ends_with(['=', '(', ',', '>'])
            && !before.ends_with("==")
            && !before.ends_with("!=");
    }
    let rest = source.text[end..].trim_start_matches(['"', '\'', ']', ' ', '\t']);
    let signs = ["=>", ":", "=", ","];
    let value = signs.iter().find_map(|sign| rest.strip_prefix(sign));
    let value = value
        .filter(|value| !value.starts_with('='))
        .map(str::trim_start);
    setting.values.iter().any(|set| {
        let behind = value.and_then(|value| value.strip_prefix(set));
        behind.is_some_and(|behind| !behind.bytes().next().is_some_and(is_word))
    })
}

/// A trust manager that looks at nothing.
fn trust(source: Source<'_>, found: &mut Vec<Diagnostic>) {
    let code = source.bare.code.as_str();
    let method = "checkServerTrusted";
    for (at, _) in code.match_indices(method) {
        let rest = &code[at..];
        let Some((head, body)) = rest.split_once('{') else {
            continue;
        };
        let is_definition = !head.contains(';');
        if is_definition && body.trim_start().starts_with('}') {
            found.push(warning((at, at + method.len())));
        }
    }
}

/// `element.innerHTML = "<b>" + name`, and React's way of it.
fn html(source: Source<'_>, found: &mut Vec<Diagnostic>) {
    let code = source.bare.code.as_str();
    for name in [".innerHTML", ".outerHTML"] {
        for (at, _) in code.match_indices(name) {
            let end = at + name.len();
            let rest = code[end..].trim_start().trim_start_matches('+');
            let Some(value) = rest
                .strip_prefix('=')
                .filter(|value| !value.starts_with('='))
            else {
                continue;
            };
            let start = code.len() - value.len();
            let length = value.find([';', '\n']).unwrap_or(value.len());
            let site = Site {
                name,
                source,
                start,
                end: start + length,
            };
            if site.is_put_together() {
                found.push(Diagnostic::new(
                    "markup",
                    Severity::Info,
                    (at + 1, end),
                    "what varies is read as HTML; set `textContent`",
                ));
            }
        }
    }
}

/// Text between backticks, or in `%x(…)`, that something is put into.
fn backticks(source: Source<'_>, found: &mut Vec<Diagnostic>) {
    let message = "values are put into a text that is given to the shell";
    for string in &source.bare.strings {
        let is_command = string.inner > string.start && source.text[..string.inner].ends_with('`');
        let is_escaped = ["escape", "shelljoin"];
        let content = source.content(string);
        let is_safe = is_escaped.iter().any(|word| content.contains(word));
        if is_command && source.is_filled(string) && !is_safe {
            let span = (string.start, string.end);
            found.push(Diagnostic::new("shell", Severity::Warning, span, message));
        }
    }
    if source.language.name != "ruby" {
        return;
    }
    for (at, _) in source.bare.code.match_indices("%x") {
        let rest = &source.text[at + 2..];
        let Some(open) = rest.chars().next().filter(|c| "({[|".contains(*c)) else {
            continue;
        };
        let close = match open {
            '(' => ')',
            '{' => '}',
            '[' => ']',
            other => other,
        };
        let inner = &rest[1..];
        let length = inner.find(close).unwrap_or(inner.len());
        if inner[..length].contains("#{") && !inner[..length].contains("escape") {
            let span = (at, at + 2 + 1 + length);
            found.push(Diagnostic::new("shell", Severity::Warning, span, message));
        }
    }
}
