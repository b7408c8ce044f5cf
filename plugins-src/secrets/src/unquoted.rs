//! Values without quotes: `DB_PASSWORD=…` of a shell or of `.env`, `password: …` of YAML, `ENV TOKEN …` of a Dockerfile.
//!
//! In code the same shape is a variable that is given to another. So only settings are searched, and what nothing says the kind
//! of where the sign touches both sides, as code seldom has it.

use std::ops::Range;

use codetune_plugin::Sample;
use memchr::{memchr2_iter, memmem, memrchr};
use source_text::{Kind, kind};

/// Lower case; what names end with. The pattern of the rule has the same.
const NAMES: [&str; 21] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "_pass",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "accesskey",
    "access_key",
    "privatekey",
    "private_key",
    "secret_key",
    "secretkey",
    "auth_key",
    "encryption_key",
    "key_base",
    "credential",
    "credentials",
];
/// How a value begins; what begins otherwise is a path, a variable, an alias, a tag.
static FIRST: Kind = kind!(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'+');

/// Which values without quotes count in a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unquoted {
    /// It is code.
    None,
    /// Nothing says what it is: those that the sign touches.
    Touching,
    /// It is settings.
    All,
}

impl Unquoted {
    /// By the sample's path, or else by its language.
    pub fn of(sample: &Sample) -> Self {
        let is_settings = match (&sample.path, &sample.language) {
            (Some(path), _) => is_file_of_settings(path),
            (None, Some(language)) => {
                let languages = [
                    "yaml",
                    "yml",
                    "ini",
                    "shell",
                    "sh",
                    "bash",
                    "zsh",
                    "dockerfile",
                    "docker",
                    "properties",
                    "dotenv",
                ];
                let is_one = |one: &str| one.eq_ignore_ascii_case(language.trim());
                languages.iter().any(|one| is_one(one))
            }
            (None, None) => return Self::Touching,
        };
        if is_settings { Self::All } else { Self::None }
    }

    /// Whether a value counts that begins at `start`.
    pub fn takes(self, text: &str, start: usize) -> bool {
        match self {
            Self::None => false,
            Self::Touching => text[..start].ends_with('='),
            Self::All => true,
        }
    }
}

fn is_file_of_settings(path: &str) -> bool {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    let begins = |start: &str| {
        let head = name.get(..start.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(start))
    };
    let extensions = [
        "env",
        "yml",
        "yaml",
        "ini",
        "cfg",
        "conf",
        "config",
        "cnf",
        "properties",
        "props",
        "sh",
        "bash",
        "zsh",
        "ksh",
        "dockerfile",
        "envrc",
        "npmrc",
        "pypirc",
        "bashrc",
        "zshrc",
        "profile",
        "s3cfg",
        "boto",
    ];
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_one = |one: &str| one.eq_ignore_ascii_case(extension);
    extensions.iter().any(|one| is_one(one))
        || [".env", "dockerfile", "containerfile"]
            .iter()
            .any(|one| begins(one))
        || name == "credentials"
}

/// The lines in which the pattern can match, each once, in order.
pub fn lines(text: &[u8]) -> Vec<Range<usize>> {
    let assignments = memchr2_iter(b'=', b':', text).filter(|sign| is_named(text, *sign));
    let mut places: Vec<usize> = assignments.collect();
    places.extend(memmem::find_iter(text, b"ENV"));
    places.sort_unstable();
    let mut lines: Vec<Range<usize>> = Vec::new();
    for at in places {
        if lines.last().is_some_and(|line| at < line.end) {
            continue;
        }
        let start = memrchr(b'\n', &text[..at]).map_or(0, |before| before + 1);
        let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |length| at + length);
        lines.push(start..end);
    }
    lines
}

/// Whether a telling name ends before the sign at `sign` and a value may begin behind it.
fn is_named(text: &[u8], sign: usize) -> bool {
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t');
    let behind = text[sign + 1..].iter().find(|byte| !is_space(byte));
    if !behind.is_some_and(|byte| FIRST[usize::from(*byte)]) {
        return false;
    }
    let before = &text[..sign];
    let spaces = before.iter().rev().take_while(is_space).count();
    let before = &before[..sign - spaces];
    let last = before.last().map(u8::to_ascii_lowercase);
    // What the names end with.
    matches!(last, Some(b'd' | b'e' | b's' | b't' | b'n' | b'y' | b'l'))
        && NAMES.iter().any(|name| {
            let start = before.len().checked_sub(name.len());
            start.is_some_and(|start| before[start..].eq_ignore_ascii_case(name.as_bytes()))
        })
}

/// Whether a value reads as words, perhaps with numbers behind them: `my-service-account2`, `minioadmin1`.
pub fn reads_as_words(value: &str) -> bool {
    let pieces = value.split(|c: char| !c.is_ascii_alphanumeric());
    let (mut letters, mut words) = (0, 0);
    for piece in pieces.filter(|piece| !piece.is_empty()) {
        let runs = piece.split(|c: char| c.is_ascii_digit());
        let numbers = piece.split(|c: char| !c.is_ascii_digit());
        if numbers.filter(|number| !number.is_empty()).count() > 1 {
            return false;
        }
        for word in runs.flat_map(humps).filter(|word| !word.is_empty()) {
            letters += word.len();
            words += 1;
            if word.len() > 3 && !is_pronounced(word) {
                return false;
            }
        }
    }
    letters >= 3 * words
}

/// The parts of `camelCase`.
fn humps(word: &str) -> Vec<&str> {
    let bytes = word.as_bytes();
    let mut starts = vec![0];
    for at in 1..bytes.len() {
        if bytes[at].is_ascii_uppercase() && bytes[at - 1].is_ascii_lowercase() {
            starts.push(at);
        }
    }
    let ends = starts.iter().skip(1).copied().chain([word.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &word[*start..end])
        .collect()
}

/// Vowels, and no five other letters in a row.
fn is_pronounced(word: &str) -> bool {
    let is_vowel = |c: char| "aeiouyAEIOUY".contains(c);
    let mut others = word.split(is_vowel);
    word.contains(is_vowel) && others.all(|run| run.len() < 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_from_what_was_drawn() {
        for value in [
            "my-service-account2",
            "minioadmin1",
            "projectAdmin2024",
            "sha256_hex",
            "google-credentials-v2",
        ] {
            assert!(reads_as_words(value), "{value}");
        }
        // Put together here, so that no scanner takes them for a leak.
        for (start, end) in [
            ("x9vT7m", "P2wKq4"),
            ("d41d8cd98f", "00b204e980"),
            ("k3jf9dks", "lq20sdf"),
            ("tr0ub4", "dor"),
        ] {
            let value = format!("{start}{end}");
            assert!(!reads_as_words(&value), "{value}");
        }
    }

    #[test]
    fn settings_are_known_by_their_path_and_else_by_their_language() {
        let of = |path: Option<&str>, language: Option<&str>| {
            Unquoted::of(&Sample {
                parts: Vec::new(),
                path: path.map(str::to_owned),
                language: language.map(str::to_owned),
            })
        };
        for path in [
            "a/.env",
            ".env.local",
            "k8s/a.yml",
            "Dockerfile",
            "Dockerfile.dev",
            "a.properties",
            "run.sh",
            "é.conf",
        ] {
            assert_eq!(of(Some(path), None), Unquoted::All, "{path}");
        }
        for path in ["a.py", "env.rs", "é", "a/environment.ts"] {
            assert_eq!(of(Some(path), Some("yaml")), Unquoted::None, "{path}");
        }
        assert_eq!(of(None, Some("YAML")), Unquoted::All);
        assert_eq!(of(None, Some("rust")), Unquoted::None);
        assert_eq!(of(None, None), Unquoted::Touching);
    }
}
