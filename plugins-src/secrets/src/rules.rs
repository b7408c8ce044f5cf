//! What a secret looks like. Every pattern is linear in the text and ASCII alone.

use crate::unquoted::reads_as_words;

/// One kind of secret or personal data.
pub struct Rule {
    /// A word to count by.
    pub code: &'static str,
    /// What takes its place; bigcode's placeholders where it has one.
    pub placeholder: &'static str,
    /// Personal data, not a secret.
    pub personal: bool,
    /// Where a group stands in it, the group is the secret.
    pub pattern: &'static str,
    /// Where in a text the pattern is looked for.
    pub place: Place,
    /// Whether what the pattern found is one.
    pub accept: fn(&str) -> bool,
}

/// Where in a text a pattern can match: found by quicker means than the pattern.
#[derive(Clone, Copy)]
pub enum Place {
    /// In words of at least 15 bytes with this piece in them: see `search`.
    Word(&'static str),
    /// Around each `@`.
    Address,
    /// In what looks like numbers with dots between them.
    Dotted,
    /// Around each `://` that has an `@` behind it.
    Url,
    /// At strings that are given to something of a telling name.
    Assignment,
    /// In lines that give something of a telling name a value without quotes.
    Line,
    /// Anywhere, if this piece is there.
    Text(&'static str),
}

const ANY: fn(&str) -> bool = |_| true;

const fn secret(code: &'static str, piece: &'static str, pattern: &'static str) -> Rule {
    Rule {
        code,
        placeholder: "<KEY>",
        personal: false,
        pattern,
        place: Place::Word(piece),
        accept: ANY,
    }
}

/// Every rule; the first that covers a place has it.
pub static RULES: &[Rule] = &[
    Rule {
        place: Place::Text("PRIVATE KEY"),
        accept: holds_a_key,
        ..secret(
            "private-key",
            "",
            // In source it may be a string for each line; in PGP's form there are words before it.
            r#"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\\\s:,.()"';-]{32,}?-----END [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"#,
        )
    },
    secret(
        "aws-access-key",
        "A",
        r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
    ),
    secret("github-token", "gh", r"\bgh[pousr]_[A-Za-z0-9]{36,255}\b"),
    secret(
        "github-token",
        "github_pat_",
        r"\bgithub_pat_[A-Za-z0-9_]{22,255}\b",
    ),
    secret("gitlab-token", "glpat-", r"\bglpat-[A-Za-z0-9_-]{20,100}"),
    secret("slack-token", "xox", r"\bxox[abeposr]-[A-Za-z0-9-]{10,250}"),
    secret(
        "stripe-key",
        "k_",
        r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}\b",
    ),
    secret("google-key", "AIza", r"\bAIza[A-Za-z0-9_-]{35}"),
    secret("hub-token", "hf_", r"\bhf_[A-Za-z0-9]{30,100}\b"),
    Rule {
        // Styles have names of words that begin so: `sk-toggleable__content-arrow`.
        accept: is_random,
        ..secret("model-key", "sk-", r"\bsk-[A-Za-z0-9_-]{20,250}")
    },
    secret("package-token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    secret(
        "web-token",
        "eyJ",
        r"\beyJ[A-Za-z0-9_-]{10,4000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{10,1000}",
    ),
    Rule {
        placeholder: "<PASSWORD>",
        place: Place::Url,
        accept: is_no_placeholder,
        ..secret(
            "url-password",
            "",
            r"\b[a-z][a-z0-9+.-]{1,20}://[A-Za-z0-9._%+-]{1,100}:([A-Za-z0-9._%+!$&*=~#-]{3,200})@[A-Za-z0-9]",
        )
    },
    Rule {
        placeholder: "<PASSWORD>",
        place: Place::Assignment,
        accept: is_random,
        ..secret(
            "assigned-secret",
            "",
            r#"(?i:password|passwd|secret|token|api_?key|access_?key|private_?key|credentials?)["']?\s{0,4}(?:[:=]|=>|:=)\s{0,4}["']([A-Za-z0-9._%+!$&*=~#@/\\-]{8,200})["']"#,
        )
    },
    Rule {
        placeholder: "<PASSWORD>",
        place: Place::Line,
        accept: is_drawn,
        ..secret(
            "assigned-secret",
            "",
            // The names are those of `unquoted`, where the same letters begin a value.
            r#"(?m)(?:(?i:password|passwd|passphrase|pwd|_pass|secret|token|api[_-]?key|access_?key|private_?key|secret_?key|auth_key|encryption_key|key_base|credentials?)[ \t]*[=:][ \t]*|^[ \t]*ENV[ \t]+[A-Za-z0-9_]*(?i:password|passwd|passphrase|pwd|_pass|secret|token|key|credentials?)[ \t]+)([A-Za-z0-9_+][A-Za-z0-9_.+!$*=~#@/\\^-]{7,})(?:[ \t,;&"']|\r?$)"#,
        )
    },
    Rule {
        placeholder: "<EMAIL>",
        personal: true,
        place: Place::Address,
        accept: is_persons,
        ..secret(
            "email",
            "",
            r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,4}\.[A-Za-z]{2,18}\b",
        )
    },
    Rule {
        placeholder: "<IP_ADDRESS>",
        personal: true,
        place: Place::Dotted,
        accept: is_public_address,
        ..secret("ip-address", "", r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b")
    },
];

/// What people write where a secret belongs.
fn is_no_placeholder(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let placeholders = [
        "example",
        "password",
        "passwd",
        "secret",
        "changeme",
        "your",
        "xxx",
        "placeholder",
        "dummy",
        "test",
        "foo",
        "<",
        "***",
        "redacted",
        "todo",
        "${",
        "%(",
        "{{",
    ];
    !placeholders.iter().any(|word| lower.contains(word))
}

/// A line of base64, which code between the two marks has not.
fn holds_a_key(text: &str) -> bool {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    text.split(|c| !is_base64(c)).any(|run| run.len() >= 32)
}

/// More than 3 bits a character: chance rather than words.
fn is_random(text: &str) -> bool {
    let has = |test: fn(&u8) -> bool| text.as_bytes().iter().any(test);
    is_no_placeholder(text)
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_alphabetic)
        && entropy(text) > 3.0
}

/// Bytes of a value without quotes; what is longer is data.
const LONGEST_DRAWN: usize = 200;

/// The same without quotes around it, where names and paths of other things stand too.
fn is_drawn(text: &str) -> bool {
    let mut names = text.split('$').skip(1);
    text.len() <= LONGEST_DRAWN
        && is_random(text)
        && !reads_as_words(text)
        && !names.any(|name| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
}

/// Shannon's, in bits a byte.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let all = text.len() as f64;
    let shares = counts.iter().filter(|count| **count > 0);
    shares
        .map(|count| f64::from(*count) / all)
        .map(|share| -share * share.log2())
        .sum()
}

/// Ends of domains that people have addresses under, beside those of countries. What ends otherwise (`getty@tty1.service`,
/// `q@k.transpose`) is no address.
const ENDS: &[&str] = &[
    "com",
    "org",
    "net",
    "edu",
    "gov",
    "mil",
    "int",
    "info",
    "biz",
    "name",
    "pro",
    "museum",
    "coop",
    "aero",
    "jobs",
    "mobi",
    "travel",
    "tel",
    "cat",
    "asia",
    "dev",
    "app",
    "online",
    "tech",
    "xyz",
    "site",
    "cloud",
    "email",
    "blog",
    "shop",
    "club",
    "live",
    "life",
    "world",
    "agency",
    "digital",
    "network",
    "systems",
    "solutions",
    "software",
    "consulting",
    "academy",
    "space",
    "website",
    "today",
    "group",
    "company",
    "technology",
    "engineering",
    "studio",
    "art",
    "red",
    "tokyo",
    "berlin",
    "london",
    "nyc",
    "swiss",
];

/// Neither a documentation's nor a machine's address.
fn is_persons(address: &str) -> bool {
    let lower = address.to_ascii_lowercase();
    let (name, domain) = lower.split_once('@').unwrap_or((&lower, ""));
    let reserved = [
        "example.com",
        "example.org",
        "example.net",
        "localhost.localdomain",
    ];
    let machine = ["noreply", "no-reply", "git", "donotreply"];
    // A product of matrices, and a version: `x@self.weight`, `cli@0.2.0.wasm`.
    let first = domain.split('.').next().unwrap_or_default();
    let is_code =
        matches!(first, "self" | "cls" | "this") || first.bytes().all(|byte| byte.is_ascii_digit());
    let end = domain.rsplit('.').next().unwrap_or_default();
    // Country codes have two letters.
    let is_known = end.len() == 2 || ENDS.contains(&end);
    is_known
        && !is_code
        && !reserved
            .iter()
            .any(|end| domain == *end || domain.ends_with(&format!(".{end}")))
        && !domain.ends_with(".test")
        && !domain.ends_with(".invalid")
        && !machine.contains(&name)
        && !matches!(end, "js" | "py")
}

/// An address of the open internet: none of those that RFC 6890 lists, and no version number such as 1.2.3.4.
fn is_public_address(text: &str) -> bool {
    let Ok(address) = text.parse::<std::net::Ipv4Addr>() else {
        return false;
    };
    let [a, b, ..] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_broadcast()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || a == 100 && (64..128).contains(&b)
        || a == 198 && (18..20).contains(&b)
        || address.octets().iter().all(|octet| *octet < 20))
}
