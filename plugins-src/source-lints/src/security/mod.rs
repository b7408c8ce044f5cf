//! Security: dangerous calls, SQL put together from pieces, secrets in the source.

mod calls;

use codetune_plugin::{Diagnostic, Severity};
use source_text::Language;

use calls::CALLS;
use source_words::{Bare, Text, bare};

/// Every code, in the order in which they are counted.
pub const CODES: [&str; 11] = [
    "eval",
    "shell",
    "deserialisation",
    "sql",
    "secret",
    "weak-hash",
    "no-verification",
    "temporary-file",
    "path-traversal",
    "markup",
    "overflow",
];

/// Findings in the order of the text.
pub fn look(text: &str, language: &Language) -> Vec<Diagnostic> {
    let bare = bare(text, language);
    let mut found = Vec::new();
    calls(text, &bare.code, language, &mut found);
    sql(text, &bare, &mut found);
    secrets(text, &bare, &mut found);
    found.sort_by_key(|finding| finding.span);
    found
}

fn calls(text: &str, code: &str, language: &Language, found: &mut Vec<Diagnostic>) {
    let bytes = code.as_bytes();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.');
    for (open, _) in code.match_indices('(') {
        let end = code[..open].trim_end_matches([' ', '\t']).len();
        let start = bytes[..end]
            .iter()
            .rposition(|byte| !is_name(*byte))
            .map_or(0, |at| at + 1);
        let name = &code[start..end];
        // A definition is no call, and neither is a method of something that has a name; the standard library's is its own.
        let before = code[..start].trim_end();
        let is_method = start == before.len()
            && (before.ends_with('>') || before.ends_with(':') && !before.ends_with("std::"));
        if name.is_empty() || is_method || is_definition(before, language) {
            continue;
        }
        let rule = CALLS.iter().find(|rule| {
            rule.languages.contains(&language.name)
                && (rule.name == name
                    // `tar.extractall(...)`, whatever the archive is called.
                    || rule.name == "tarfile.extractall" && is_of_tar(name))
        });
        let Some(rule) = rule else { continue };
        let close = closing(bytes, open);
        if (rule.when)(&code[open + 1..close], &text[open + 1..close]) {
            let severity = match rule.is_warning {
                true => Severity::Warning,
                false => Severity::Info,
            };
            let call = Diagnostic::new(rule.code, severity, (start, end), rule.message);
            found.push(match rule.instead {
                Some((replacement, confidence)) => call.instead(replacement, confidence),
                None => call,
            });
        }
    }
}

/// Whether a name takes all members out of a tar: `zipfile` keeps them in the folder by itself.
fn is_of_tar(name: &str) -> bool {
    let archive = name.strip_suffix(".extractall");
    archive.is_some_and(|archive| !archive.starts_with('z') && !archive.contains("zip"))
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

/// A statement of SQL that values are put into, by a template, an operator or a format.
fn sql(text: &str, bare: &Bare, found: &mut Vec<Diagnostic>) {
    for string in &bare.strings {
        let content = &text[string.inner..string.inner_end];
        if !is_statement(content) {
            continue;
        }
        let after = bare.code[string.end..].trim_start();
        let before = bare.code[..string.start].trim_end();
        let is_filled = string.is_template && content.contains('{');
        let is_joined = after.starts_with('+') && !after.starts_with("++");
        let is_formatted = after.starts_with(".format(")
            || after.starts_with('%') && content.contains('%')
            || before.ends_with("format!(") && content.contains('{')
            || before.ends_with("Sprintf(") && content.contains('%');
        if is_filled || is_joined || is_formatted {
            found.push(Diagnostic::new(
                "sql",
                Severity::Warning,
                (string.start, string.end),
                "values are put into the text of a SQL statement; bind them as parameters",
            ));
        }
    }
}

fn is_statement(content: &str) -> bool {
    let head: String = content.trim_start().chars().take(400).collect();
    let words: Vec<String> = head
        .split_ascii_whitespace()
        .map(str::to_ascii_uppercase)
        .collect();
    let has = |word: &str| words.iter().any(|found| found == word);
    match words.first().map(String::as_str) {
        Some("SELECT" | "DELETE") => has("FROM"),
        Some("INSERT") => has("INTO"),
        Some("UPDATE") => has("SET"),
        Some("DROP" | "ALTER" | "TRUNCATE") => has("TABLE"),
        _ => false,
    }
}

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
const NAMES: [&str; 8] = [
    "password",
    "passwd",
    "secret",
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

fn secrets(text: &str, bare: &Bare, found: &mut Vec<Diagnostic>) {
    for string in &bare.strings {
        let content = &text[string.inner..string.inner_end];
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
        if is_key || is_assigned(text, string) && is_random(content) {
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
    let Some(before) = before.strip_suffix([':', '=']) else {
        return false;
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

#[cfg(test)]
mod tests {
    use source_text::by_name;

    use super::*;

    fn codes(language: &str, text: &str) -> Vec<&'static str> {
        let found = look(text, by_name(language).unwrap());
        found.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn dangerous_calls_are_found_and_their_names_elsewhere_are_not() {
        for (language, text, expected) in [
            ("python", "eval(x)", "eval"),
            ("python", "os.system(f'rm {x}')", "shell"),
            ("python", "subprocess.run(cmd, shell = True)", "shell"),
            ("python", "pickle.load(open(p, 'rb'))", "deserialisation"),
            ("python", "yaml.load(text)", "deserialisation"),
            (
                "python",
                "requests.get(url, verify=False)",
                "no-verification",
            ),
            ("js", "new Function(code)", "eval"),
            ("ts", "child_process.exec(`ls ${x}`)", "shell"),
            ("c", "gets(line);", "overflow"),
            ("c", "else strcpy(a, b);", "overflow"),
            ("c++", "std::system(command.c_str());", "shell"),
            ("python", "if hint: eval(x)", "eval"),
            ("python", "print eval(x)", "eval"),
            ("php", "unserialize($x)", "deserialisation"),
        ] {
            assert_eq!(codes(language, text), [expected], "{text}");
        }
        for (language, text) in [
            (
                "python",
                "model.eval()\nast.literal_eval(x)\n# eval(x)\n'eval(x)'\ndef eval(x): pass",
            ),
            ("python", "eval('1 + 1')\nos.system('clear')"),
            ("python", "subprocess.run(['ls'], shell=False)"),
            (
                "python",
                "yaml.load(text, Loader=yaml.SafeLoader)\nyaml.safe_load(text)",
            ),
            ("python", "hashlib.md5(data, usedforsecurity=False)"),
            ("python", "zf.extractall(to)\nself.zip_file.extractall(to)"),
            ("js", "setTimeout(() => run(), 10)"),
            ("rust", "eval(x)"),
            (
                "c",
                "int system(const char *command);\nextern char *strcpy(char *to, const char *from);\n",
            ),
            ("c++", "Shell::system(x);\nshell->system(x);"),
        ] {
            assert_eq!(codes(language, text), [""; 0], "{text}");
        }
    }

    #[test]
    fn sql_that_values_are_put_into_is_found_and_bound_parameters_are_not() {
        for (language, text) in [
            ("python", "q = f\"SELECT a FROM t WHERE b = {x}\""),
            ("python", "q = \"select a from t where b = '%s'\" % x"),
            ("python", "q = 'DELETE FROM t WHERE a = {}'.format(x)"),
            ("java", "String q = \"UPDATE t SET a = \" + x;"),
            ("js", "db.query(`SELECT a FROM t WHERE b = ${x}`)"),
            ("go", "fmt.Sprintf(\"INSERT INTO t VALUES (%s)\", x)"),
            ("rust", "format!(\"DROP TABLE {name}\")"),
        ] {
            assert_eq!(codes(language, text), ["sql"], "{text}");
        }
        for text in [
            "db.execute('SELECT a FROM t WHERE b = %s', (x,))",
            "print(f'select {x} of the list')",
            "\"SELECT a FROM t\"",
        ] {
            assert_eq!(codes("python", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_secret_in_the_source_is_found_and_never_named() {
        let key = format!("AKIA{}", "QWERTYUIOPASDFGH");
        let found = look(&format!("x = '{key}'"), by_name("python").unwrap());
        assert_eq!(found[0].code, "secret");
        assert!(!found[0].message.contains(&key));
        let random = format!("x9{}Kq4", "vT7_mP2w");
        assert_eq!(
            codes("python", &format!("db_password = '{random}'")),
            ["secret"]
        );
        assert_eq!(
            codes("js", &format!("{{ \"apiKey\": \"{random}\" }}")),
            ["secret"]
        );
        for text in [
            "password = 'your_password_1'",
            "token = os.environ['TOKEN_NAME_1']",
            "title = 'x9vT7mP2wKq4'",
        ] {
            assert_eq!(codes("python", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn every_code_has_a_metric() {
        for call in CALLS {
            assert!(CODES.contains(&call.code), "{}", call.code);
        }
    }

    #[test]
    fn nothing_unclosed_trips_it() {
        for text in [
            "eval(",
            "f('é",
            "(",
            ")",
            "é(",
            "password = '",
            "\"SELECT é FROM",
        ] {
            for language in ["python", "js", "c"] {
                codes(language, text);
            }
        }
    }
}
