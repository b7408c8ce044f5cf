//! Python's clock, which templates ask for the date.

use std::fmt::Write as _;

use chrono::NaiveDateTime;
use minijinja::{Error, ErrorKind};

/// `datetime.strftime(format)` of a moment without a time zone, as glibc writes it in the C locale.
pub(super) fn strftime(moment: NaiveDateTime, format: &str) -> Result<String, Error> {
    let mut text = String::new();
    write!(text, "{}", moment.format(&translated(format))).map_err(|_| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now: {format:?} is no date format"),
        )
    })?;
    Ok(text)
}

/// Chrono's directives are C's, but for these: Python's `%f` counts microseconds, a moment without a zone has an
/// empty `%z` and `%Z`, and what chrono has beyond C stands as it is.
fn translated(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut rest = format.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        match rest.next() {
            Some('f') => out.push_str("%6f"),
            Some('z' | 'Z') => {}
            Some('P') => out.push_str("%P"),
            Some(known) if "aAbBcCdDeFgGhHIjklmMnprRStTuUVwWxXyY%".contains(known) => {
                out.extend(['%', known]);
            }
            Some(flag @ ('-' | '_' | '0')) => match rest.next() {
                Some(known) if "CdegGHIjklmMSuUVwWyY".contains(known) => {
                    out.extend(['%', flag, known]);
                }
                other => {
                    out.extend(["%%", &flag.to_string()]);
                    out.extend(other);
                }
            },
            Some(unknown) => out.extend(["%%", &unknown.to_string()]),
            None => out.push_str("%%"),
        }
    }
    out
}
