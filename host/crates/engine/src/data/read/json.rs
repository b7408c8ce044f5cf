//! JSON lines.

use std::{
    io::{self, BufRead, Read},
    path::PathBuf,
    sync::Arc,
};

use serde_json::Value;

use super::{MOST_ROW_BYTES, Origin, Place, Row, Unpacked, object, without_mark};
use crate::{Error, Result};

/// The first character that is no blank is an opening bracket; nothing but blanks and a byte-order mark is consumed.
pub(super) fn is_array(reader: &mut dyn BufRead) -> io::Result<bool> {
    let mark = reader.fill_buf()?.starts_with(b"\xef\xbb\xbf");
    if mark {
        reader.consume(3);
    }
    // Looks only into what is buffered: whoever puts 8 KiB of blanks before a bracket gets an error of line 1.
    let first = reader
        .fill_buf()?
        .iter()
        .find(|byte| !byte.is_ascii_whitespace());
    Ok(first == Some(&b'['))
}

/// Rows of a file with one JSON object a line.
pub(super) struct Lines {
    reader: Unpacked,
    file: Arc<PathBuf>,
    line: usize,
    bytes: Vec<u8>,
}

impl Lines {
    pub(super) fn new(reader: Unpacked, file: Arc<PathBuf>) -> Self {
        Self {
            reader,
            file,
            line: 0,
            bytes: Vec::new(),
        }
    }

    fn read(&mut self) -> Result<Option<Row>> {
        loop {
            self.bytes.clear();
            self.line += 1;
            let origin = Origin {
                file: self.file.clone(),
                place: Place::Line(self.line),
            };
            let read = (&mut self.reader)
                .take(MOST_ROW_BYTES as u64 + 1)
                .read_until(b'\n', &mut self.bytes)
                .map_err(Error::io("read", &*self.file))?;
            if read == 0 {
                return Ok(None);
            }
            if read > MOST_ROW_BYTES {
                return Err(too_long(&origin));
            }
            let text = std::str::from_utf8(without_mark(&self.bytes))
                .map_err(|_| origin.error("is no UTF-8; convert the file to UTF-8"))?;
            if text.trim().is_empty() {
                continue;
            }
            let value: Value = serde_json::from_str(text).map_err(|error| {
                origin.error(format!(
                    "is not valid JSON at column {}: {}; each line must be one JSON object",
                    error.column(),
                    reason(&error)
                ))
            })?;
            return object(value, origin).map(Some);
        }
    }
}

impl Iterator for Lines {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

pub(super) fn too_long(origin: &Origin) -> Error {
    origin.error(format!(
        "is longer than the {} MiB that a row may have",
        MOST_ROW_BYTES >> 20
    ))
}

/// serde_json counts the lines of the one line that it was given.
pub(super) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned()
}
