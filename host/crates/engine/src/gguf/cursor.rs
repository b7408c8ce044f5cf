//! Reads the head of a GGUF file from its first byte on, and never beyond its end.

use super::value::{Stored, Value};

/// Most values of one list; vocabularies have some hundred thousand.
const LONGEST_LIST: u64 = 1 << 24;

/// A file that promises more than there is.
pub(super) fn cut(what: String, cursor: &Cursor<'_>) -> String {
    format!(
        "{what} at byte {}, but only {} bytes follow; it may be cut off: download or copy it again",
        cursor.at,
        cursor.left()
    )
}

/// A place in the file.
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn left(&self) -> u64 {
        (self.bytes.len() - self.at.min(self.bytes.len())) as u64
    }

    fn take<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        match self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk::<N>())
        {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(cut(format!("has {what}"), self)),
        }
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.take(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.take(what).map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self, what: &str) -> Result<String, String> {
        let len = self.u64(what)?;
        if len > self.left() {
            return Err(cut(format!("has {what} of {len} bytes"), self));
        }
        let bytes = &self.bytes[self.at..self.at + len as usize];
        self.at += len as usize;
        // A few vocabularies hold tokens that are no UTF-8; llama.cpp takes them as they are.
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    pub(super) fn value(&mut self, kind: u32) -> Result<Value, String> {
        const WHAT: &str = "a value";
        Ok(match kind {
            0 => Value::Whole(self.take::<1>(WHAT)?[0].into()),
            1 => Value::Whole((self.take::<1>(WHAT)?[0] as i8).into()),
            2 => Value::Whole(self.take(WHAT).map(u16::from_le_bytes)?.into()),
            3 => Value::Whole(self.take(WHAT).map(i16::from_le_bytes)?.into()),
            4 => Value::Whole(self.u32(WHAT)?.into()),
            5 => Value::Whole(self.take(WHAT).map(i32::from_le_bytes)?.into()),
            6 => Value::Number(self.take(WHAT).map(f32::from_le_bytes)?.into()),
            7 => match self.take::<1>(WHAT)?[0] {
                0 => Value::Flag(false),
                1 => Value::Flag(true),
                other => return Err(format!("has the flag {other} at byte {}", self.at - 1)),
            },
            8 => Value::Text(self.text(WHAT)?),
            9 => self.list()?,
            10 => Value::Whole(self.u64(WHAT)?.into()),
            11 => Value::Whole(self.take(WHAT).map(i64::from_le_bytes)?.into()),
            12 => Value::Number(self.take(WHAT).map(f64::from_le_bytes)?),
            other => {
                return Err(format!(
                    "has a value of unknown type {other} at byte {}",
                    self.at
                ));
            }
        })
    }

    fn list(&mut self) -> Result<Value, String> {
        let kind = self.u32("a list's type")?;
        let count = self.u64("a list's length")?;
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            other => return Err(format!("has a list of type {other} at byte {}", self.at)),
        };
        if count > LONGEST_LIST || count.saturating_mul(least) > self.left() {
            return Err(cut(format!("has a list of {count} values"), self));
        }
        if kind == 8 {
            let texts = (0..count).map(|_| self.text("a text of a list"));
            return Ok(Value::Texts(texts.collect::<Result<_, _>>()?));
        }
        let mut numbers = Vec::with_capacity(count as usize);
        for _ in 0..count {
            numbers.push(match self.value(kind)? {
                Value::Whole(number) => number as f64,
                Value::Number(number) => number,
                Value::Flag(flag) => f64::from(u8::from(flag)),
                _ => unreachable!("the types above are numbers"),
            });
        }
        Ok(Value::Numbers(numbers))
    }

    pub(super) fn tensor(&mut self) -> Result<(Vec<usize>, Stored, u64), String> {
        let dimensions = self.u32("a tensor's dimensions")?;
        if !(1..=4).contains(&dimensions) {
            return Err(format!("has {dimensions} dimensions; 1 to 4 can be"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = self.u64("a tensor's size")?;
            shape.push(usize::try_from(size).map_err(|_| format!("has a size of {size}"))?);
        }
        shape.reverse();
        let stored = Stored::of_code(self.u32("a tensor's type")?)?;
        Ok((shape, stored, self.u64("a tensor's offset")?))
    }
}
