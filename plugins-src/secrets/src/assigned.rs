//! Strings that are given to something of a telling name: the rule `assigned-secret`, read backwards from the quote.
//!
//! Every string of a text is asked what stands before it, and hardly one has such a name there.

use std::ops::Range;

use memchr::memchr2_iter;
use source_text::{Kind, kind};

/// Lower case; what names end with.
const NAMES: [&str; 12] = [
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "accesskey",
    "access_key",
    "privatekey",
    "private_key",
    "credential",
    "credentials",
];
static VALUE: Kind = kind!(
    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'%' | b'+' | b'!' | b'$' | b'&' | b'*' | b'=' | b'~'
        | b'#' | b'@' | b'/' | b'\\' | b'-'
);
/// Bytes of a value.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=200;
/// White space on each side of the sign, at most.
const MOST_SPACES: usize = 4;

/// The values, in order: what the rule's pattern has as its group.
pub fn assigned(text: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    // Where the match before ended: matches do not overlap.
    let mut end = 0;
    memchr2_iter(b'"', b'\'', text).filter_map(move |quote| {
        let name = name_before(text, quote)?;
        let start = quote + 1;
        let rest = text[start..].iter();
        let length = rest.take_while(|byte| VALUE[usize::from(**byte)]).count();
        let value = start..start + length;
        let is_closed = matches!(text.get(value.end), Some(b'"' | b'\''));
        let is_one = name >= end && is_closed && LENGTHS.contains(&length);
        is_one.then(|| {
            end = value.end + 1;
            value
        })
    })
}

/// Where the name begins that the string at `quote` is given to: `token = "`, `"api_key": "`, `secret := "`, `password => "`.
fn name_before(text: &[u8], quote: usize) -> Option<usize> {
    let rest = without_spaces(&text[..quote])?;
    let rest = match rest {
        [rest @ .., b'=', b'>'] | [rest @ .., b':', b'='] | [rest @ .., b':' | b'='] => rest,
        _ => return None,
    };
    let rest = without_spaces(rest)?;
    let rest = match rest {
        [rest @ .., b'"' | b'\''] => rest,
        rest => rest,
    };
    let starts = NAMES.iter().filter_map(|name| {
        let start = rest.len().checked_sub(name.len())?;
        rest[start..]
            .eq_ignore_ascii_case(name.as_bytes())
            .then_some(start)
    });
    starts.min()
}

/// Without the white space at the end; none when that is too much.
fn without_spaces(text: &[u8]) -> Option<&[u8]> {
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let spaces = text.iter().rev().take(MOST_SPACES + 1).take_while(is_space);
    let spaces = spaces.count();
    (spaces <= MOST_SPACES).then(|| &text[..text.len() - spaces])
}
