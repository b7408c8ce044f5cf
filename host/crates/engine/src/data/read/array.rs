//! A JSON array, element by element, so that its size does not matter.

use std::{io::BufRead, path::PathBuf, sync::Arc};

use serde_json::Value;

use super::{MOST_ROW_BYTES, Origin, Place, Row, Unpacked, json, object};
use crate::{Error, Result};

/// Rows of a file that is one JSON array of objects.
pub(super) struct Elements {
    reader: Unpacked,
    file: Arc<PathBuf>,
    /// Elements given out.
    count: usize,
    /// Line of the next byte, counted from 1.
    line: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Start,
    Within,
    Ended,
}

/// How an element ended.
struct Cut {
    bytes: Vec<u8>,
    /// Line of its first character.
    line: usize,
    /// The bracket that closes the array came, not a comma.
    last: bool,
}

impl Elements {
    pub(super) fn new(reader: Unpacked, file: Arc<PathBuf>) -> Self {
        Self {
            reader,
            file,
            count: 0,
            line: 1,
            state: State::Start,
        }
    }

    fn read(&mut self) -> Result<Option<Row>> {
        if self.state == State::Start {
            while let Some(byte) = self.byte()? {
                if byte == b'[' {
                    break;
                }
            }
            self.state = State::Within;
        }
        if self.state == State::Ended {
            return Ok(None);
        }
        let cut = self.element()?;
        if cut.last {
            self.state = State::Ended;
            self.nothing_follows()?;
            if cut.bytes.iter().all(u8::is_ascii_whitespace) {
                // `[]`, or a comma too many, which is no row either way.
                return if self.count == 0 {
                    Ok(None)
                } else {
                    Err(self.wrong(cut.line, "trailing comma"))
                };
            }
        }
        self.count += 1;
        let value: Value = serde_json::from_slice(&cut.bytes).map_err(|error| {
            let line = cut.line + error.line().max(1) - 1;
            self.wrong(line, &json::reason(&error))
        })?;
        let place = Place::Element(self.count);
        let origin = Origin {
            file: self.file.clone(),
            place,
        };
        object(value, origin).map(Some)
    }

    /// Bytes up to the comma or bracket that ends the element. Only strings and brackets are looked at: whether what
    /// lies between is JSON, the parser says.
    fn element(&mut self) -> Result<Cut> {
        let (mut bytes, mut depth, mut text, mut escaped) = (Vec::new(), 0usize, false, false);
        let mut line = self.line;
        loop {
            let Some(byte) = self.byte()? else {
                return Err(self.wrong(self.line, "the array is not closed"));
            };
            if bytes.is_empty() && byte.is_ascii_whitespace() {
                line = self.line;
                continue;
            }
            if text {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => text = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => text = true,
                    b'{' | b'[' => depth += 1,
                    b']' if depth == 0 => {
                        return Ok(Cut {
                            bytes,
                            line,
                            last: true,
                        });
                    }
                    b',' if depth == 0 => {
                        return Ok(Cut {
                            bytes,
                            line,
                            last: false,
                        });
                    }
                    // One closed too many is found by the parser, in the element where it stands.
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            bytes.push(byte);
            if bytes.len() > MOST_ROW_BYTES {
                return Err(json::too_long(&Origin {
                    file: self.file.clone(),
                    place: Place::Element(self.count + 1),
                }));
            }
        }
    }

    fn nothing_follows(&mut self) -> Result<()> {
        while let Some(byte) = self.byte()? {
            if !byte.is_ascii_whitespace() {
                return Err(self.wrong(self.line, "something stands behind the array"));
            }
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<Option<u8>> {
        let byte = self
            .reader
            .fill_buf()
            .map_err(Error::io("read", &*self.file))?
            .first()
            .copied();
        if byte.is_some() {
            self.reader.consume(1);
        }
        self.line += usize::from(byte == Some(b'\n'));
        Ok(byte)
    }

    fn wrong(&self, line: usize, reason: &str) -> Error {
        Error::file(
            &*self.file,
            format!("line {line}: is not valid JSON: {reason}"),
        )
    }
}

impl Iterator for Elements {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
