//! Methods of Python's texts: those that minijinja's own set lacks, and those where it differs from Python.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, Tuple, from_args},
};
use minijinja_contrib::pycompat;

/// `str.isspace` of Python: Unicode's white space and the four separators of ASCII.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// Where Python's `str.splitlines` ends a line.
fn ends_line(character: char) -> bool {
    matches!(
        character,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// A method that a value does not have of itself.
///
/// # Errors
/// There is none of this name, or its arguments do not fit.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, method, args);
    };
    Ok(match method {
        "strip" | "lstrip" | "rstrip" => {
            let (set,): (Option<&str>,) = from_args(args)?;
            stripped(text, set, method != "rstrip", method != "lstrip").into()
        }
        "split" => {
            let (separator, most, named): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
            let separator = separator.or(named.get("sep")?);
            let most = most.or(named.get("maxsplit")?);
            named.assert_all_used()?;
            split(text, separator, most)?
        }
        "rsplit" => {
            let (separator, most, named): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
            let separator = separator.or(named.get("sep")?);
            let most = most.or(named.get("maxsplit")?);
            named.assert_all_used()?;
            rsplit(text, separator, most)?
        }
        "splitlines" => {
            let (keep, named): (Option<bool>, Kwargs) = from_args(args)?;
            let keep = keep.or(named.get("keepends")?);
            named.assert_all_used()?;
            lines(text, keep.unwrap_or(false)).into_iter().collect()
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let last = method == "rpartition";
            let found = match last {
                true => text.rsplit_once(separator),
                false => text.split_once(separator),
            };
            let parts = match (found, last) {
                (Some((before, after)), _) => [before, separator, after],
                (None, false) => [text, "", ""],
                (None, true) => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
        }
        "ljust" | "rjust" | "center" => {
            let (width, fill): (usize, Option<char>) = from_args(args)?;
            padded(text, method, width, fill.unwrap_or(' ')).into()
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let (sign, digits) = match text.strip_prefix(['+', '-']) {
                Some(digits) => (&text[..1], digits),
                None => ("", text),
            };
            let zeros = capped(width)?.saturating_sub(text.chars().count());
            format!("{sign}{}{digits}", "0".repeat(zeros)).into()
        }
        "swapcase" => {
            let () = from_args(args)?;
            let mut out = String::new();
            for character in text.chars() {
                if character.is_uppercase() {
                    out.extend(character.to_lowercase());
                } else {
                    out.extend(character.to_uppercase());
                }
            }
            out.into()
        }
        "casefold" => {
            let () = from_args(args)?;
            text.to_lowercase().replace('ß', "ss").into()
        }
        "isspace" => {
            let () = from_args(args)?;
            (!text.is_empty() && text.chars().all(is_space)).into()
        }
        "title" => {
            let () = from_args(args)?;
            title(text).into()
        }
        "index" | "rindex" => {
            let name = if method == "index" { "find" } else { "rfind" };
            let at = pycompat::unknown_method_callback(state, value, name, args)?;
            if at.as_i64() == Some(-1) {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("{method}: substring not found"),
                ));
            }
            at
        }
        _ => return pycompat::unknown_method_callback(state, value, method, args),
    })
}

/// The text without what stands at its ends: white space, or the characters of `set`.
pub(super) fn stripped<'a>(text: &'a str, set: Option<&str>, start: bool, end: bool) -> &'a str {
    let goes = |character: char| match set {
        Some(set) => set.contains(character),
        None => is_space(character),
    };
    let text = if start {
        text.trim_start_matches(goes)
    } else {
        text
    };
    if end {
        text.trim_end_matches(goes)
    } else {
        text
    }
}

fn empty_separator() -> Error {
    Error::new(ErrorKind::InvalidOperation, "split: empty separator")
}

/// Splits to make; `None` for as many as there are.
fn most_splits(most: Option<i64>) -> Option<usize> {
    most.and_then(|most| usize::try_from(most).ok())
}

fn split(text: &str, separator: Option<&str>, most: Option<i64>) -> Result<Value, Error> {
    let most = most_splits(most);
    if let Some(separator) = separator {
        if separator.is_empty() {
            return Err(empty_separator());
        }
        return Ok(match most {
            Some(most) => text.splitn(most + 1, separator).map(Value::from).collect(),
            None => text.split(separator).map(Value::from).collect(),
        });
    }
    let mut words = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        if most.is_some_and(|most| words.len() >= most) {
            words.push(Value::from(rest));
            break;
        }
        let end = rest.find(is_space).unwrap_or(rest.len());
        words.push(Value::from(&rest[..end]));
        rest = rest[end..].trim_start_matches(is_space);
    }
    Ok(words.into())
}

fn rsplit(text: &str, separator: Option<&str>, most: Option<i64>) -> Result<Value, Error> {
    let most = most_splits(most);
    let mut words: Vec<Value> = Vec::new();
    if let Some(separator) = separator {
        if separator.is_empty() {
            return Err(empty_separator());
        }
        words = match most {
            Some(most) => text.rsplitn(most + 1, separator).map(Value::from).collect(),
            None => text.rsplit(separator).map(Value::from).collect(),
        };
    } else {
        let mut rest = text.trim_end_matches(is_space);
        while !rest.is_empty() {
            if most.is_some_and(|most| words.len() >= most) {
                words.push(Value::from(rest));
                break;
            }
            let start = rest
                .char_indices()
                .rev()
                .find(|(_, character)| is_space(*character))
                .map_or(0, |(at, character)| at + character.len_utf8());
            words.push(Value::from(&rest[start..]));
            rest = rest[..start].trim_end_matches(is_space);
        }
    }
    words.reverse();
    Ok(words.into())
}

fn lines(text: &str, keep: bool) -> Vec<Value> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (content, end) = match rest.find(ends_line) {
            None => (rest.len(), rest.len()),
            Some(at) if rest[at..].starts_with("\r\n") => (at, at + 2),
            Some(at) => (at, at + rest[at..].chars().next().map_or(0, char::len_utf8)),
        };
        lines.push(Value::from(&rest[..if keep { end } else { content }]));
        rest = &rest[end..];
    }
    lines
}

/// Widest text that padding makes: a template must not fill memory with blanks.
fn capped(width: usize) -> Result<usize, Error> {
    if width > 1 << 16 {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "a text may be padded to 65536 characters",
        ));
    }
    Ok(width)
}

fn padded(text: &str, method: &str, width: usize, fill: char) -> String {
    let missing = width.min(1 << 16).saturating_sub(text.chars().count());
    // CPython's str.center puts the odd one left where the width is odd.
    let left = match method {
        "ljust" => 0,
        "rjust" => missing,
        _ => missing / 2 + (missing & width & 1),
    };
    let blanks = |count: usize| std::iter::repeat_n(fill, count);
    blanks(left)
        .chain(text.chars())
        .chain(blanks(missing - left))
        .collect()
}

/// `str.title`: a letter after none is large, every other small.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for character in text.chars() {
        if inside {
            out.extend(character.to_lowercase());
        } else {
            out.extend(character.to_uppercase());
        }
        inside = character.is_alphabetic();
    }
    out
}
