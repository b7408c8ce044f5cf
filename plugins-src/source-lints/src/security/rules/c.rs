//! C's and C++'s.

use super::*;

const COPY: &str = "does not know the size of its buffer";

/// `%s` without a width.
fn reads_any_length(call: &Site<'_>) -> bool {
    let list = call.list();
    list.iter()
        .any(|one| one.plain().is_some_and(|format| format.contains("%s")))
}

#[rustfmt::skip]
pub static CALLS: &[Call] = &[
    warning("gets", "overflow", always, "`gets` writes beyond its buffer; use `fgets`"),
    info("strcpy", "overflow", |call| call.at(1).is_some_and(|from| !from.is_fixed()), "`strcpy` does not know the size of its buffer"),
    info("strcat", "overflow", always, "`strcat` does not know the size of its buffer"),
    info("sprintf", "overflow", always, "`sprintf` does not know the size of its buffer; use `snprintf`"),
    info("vsprintf", "overflow", always, COPY),
    warning("scanf", "overflow", reads_any_length, "`%s` without a width writes beyond its buffer"),
    warning("sscanf", "overflow", reads_any_length, "`%s` without a width writes beyond its buffer"),
    warning("fscanf", "overflow", reads_any_length, "`%s` without a width writes beyond its buffer"),
    warning("mktemp", "temporary-file", always, "another process can take the name before the file is there; use `mkstemp`"),
    warning("tmpnam", "temporary-file", always, "another process can take the name before the file is there; use `mkstemp`"),
    warning("system", "shell", varies, "`system` gives a text to the shell"),
    warning("popen", "shell", first_varies, "`popen` gives a text to the shell"),
];
