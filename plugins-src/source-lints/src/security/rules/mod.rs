//! Calls that are dangerous, a table for each language. A rule is a row; what a row cannot say is a function of the call.
//!
//! Which calls matter is what public rules agree on: bandit's for Python, gosec's for Go, find-sec-bugs' for Java, brakeman's for
//! Ruby. What hangs on where a value comes from is left out, or only worth knowing, since values are not followed.

mod c;
mod go;
mod java;
mod javascript;
mod php;
mod python;
mod ruby;
mod rust;

use super::site::Site;

/// Looks at a call whose name fits.
pub type When = fn(&Site<'_>) -> bool;

/// One call.
pub struct Call {
    /// The full name; one that begins with `.` is a method of whatever stands before it.
    pub name: &'static str,
    /// A word to count by.
    pub code: &'static str,
    /// Whether it is probably a fault, or only worth knowing.
    pub is_warning: bool,
    /// Whether this call is one.
    pub when: When,
    /// One sentence that says what to do.
    pub message: &'static str,
    /// What to write in place of the name, and how sure that is.
    pub instead: Option<(&'static str, f64)>,
}

/// The calls of a language; the first that fits has it.
pub fn calls(language: &str) -> &'static [Call] {
    match language {
        "c" | "c++" => c::CALLS,
        "go" => go::CALLS,
        "java" => java::CALLS,
        "javascript" | "jsx" | "typescript" | "tsx" => javascript::CALLS,
        "php" => php::CALLS,
        "python" => python::CALLS,
        "ruby" => ruby::CALLS,
        "rust" => rust::CALLS,
        _ => &[],
    }
}

const fn warning(
    name: &'static str,
    code: &'static str,
    when: When,
    message: &'static str,
) -> Call {
    Call {
        name,
        code,
        is_warning: true,
        when,
        message,
        instead: None,
    }
}

const fn info(name: &'static str, code: &'static str, when: When, message: &'static str) -> Call {
    Call {
        is_warning: false,
        ..warning(name, code, when, message)
    }
}

impl Call {
    const fn instead(self, name: &'static str, confidence: f64) -> Self {
        Self {
            instead: Some((name, confidence)),
            ..self
        }
    }
}

fn always(_: &Site<'_>) -> bool {
    true
}

/// It is given something that is not the same at every call.
fn varies(call: &Site<'_>) -> bool {
    !call.code().trim().is_empty() && !call.is_fixed()
}

/// The first of several arguments varies, or the only one.
fn first_varies(call: &Site<'_>) -> bool {
    call.at(0).is_some_and(|first| varies(&first))
}

/// Something is put into the text that it is given.
fn is_put_together(call: &Site<'_>) -> bool {
    call.at(0).is_some_and(|first| first.is_put_together())
}

/// Its first argument is a text with values in it.
fn is_text_with_values(call: &Site<'_>) -> bool {
    call.at(0)
        .is_some_and(|first| first.text().starts_with(['"', '`']) && first.is_put_together())
}

/// It hashes what is called a password.
fn is_for_passwords(call: &Site<'_>) -> bool {
    call.mentions(&["password", "passwd", "passphrase"])
}

/// A shell, its flag, and a text that varies.
fn gives_text_to_a_shell(call: &Site<'_>) -> bool {
    let list = call.list();
    let shells = [
        "sh",
        "bash",
        "zsh",
        "dash",
        "ksh",
        "cmd",
        "cmd.exe",
        "powershell",
        "pwsh",
    ];
    let is_shell = |one: &Site<'_>| {
        let name = one.plain().unwrap_or_default();
        shells.contains(&name.rsplit('/').next().unwrap_or_default())
    };
    let is_flag = |one: &Site<'_>| {
        matches!(
            one.plain(),
            Some("-c" | "-lc" | "-ec" | "/c" | "/C" | "-Command" | "-command")
        )
    };
    list.windows(3)
        .any(|three| is_shell(&three[0]) && is_flag(&three[1]) && varies(&three[2]))
}

/// Whether a plain argument at a place begins as one of some names, in any case.
fn begins(call: &Site<'_>, place: usize, names: &[&str]) -> bool {
    let plain = call.at(place).and_then(|one| one.plain());
    let plain = plain.unwrap_or_default().to_ascii_lowercase();
    names.iter().any(|name| plain.starts_with(name))
}

const MD5: &str = "MD5 is broken; for anything that must hold, use SHA-256";
const SHA1: &str = "SHA-1 is broken; for anything that must hold, use SHA-256";
const PASSWORD: &str =
    "a quick hash lets passwords be guessed; use one made for them: Argon2, scrypt, bcrypt";
const CIPHER: &str = "this cipher is broken, or its mode shows what repeats; use AES in GCM";
const CERTIFICATE: &str = "nobody looks at the other side's certificate";
const SHELL: &str = "a text is given to the shell";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::CODES;

    #[test]
    fn every_code_has_a_metric() {
        for language in ["c", "go", "java", "js", "php", "python", "ruby", "rust"] {
            let name = source_text::by_name(language).unwrap().name;
            assert!(!calls(name).is_empty(), "{language}");
            for call in calls(name) {
                assert!(CODES.contains(&call.code), "{}", call.code);
            }
        }
    }
}
