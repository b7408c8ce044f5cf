//! Reads a GGUF file through a memory map: its metadata, and where its tensors lie.
//!
//! Every length is held against what is left of the file before anything is allocated for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::cursor::{Cursor, cut};
use super::names::key;
use super::value::{Stored, Value};
use crate::{Error, Result};

/// A GGUF file.
pub(crate) struct Gguf {
    path: PathBuf,
    map: Mmap,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Entry>,
}

/// Where a tensor lies and how it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// As Hugging Face has it: rows first.
    pub(crate) shape: Vec<usize>,
    pub(crate) stored: Stored,
    start: usize,
    len: usize,
}

impl Gguf {
    /// Opens a file and reads what stands before the tensors.
    ///
    /// # Errors
    /// It is no GGUF file, is cut off or damaged, or holds a tensor of a type that is not supported.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
        // SAFETY: a file that another process cuts short while it is mapped can end this one; nothing else can go
        // wrong, as every bit pattern is a valid number.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        let (metadata, tensors) = parse(&map).map_err(|message| Error::file(path, message))?;
        Ok(Self {
            path: path.to_owned(),
            map,
            metadata,
            tensors,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// The tensors by their names in the file.
    pub(crate) fn tensors(&self) -> &BTreeMap<String, Entry> {
        &self.tensors
    }

    /// Bytes `from .. from + len` of a tensor.
    pub(crate) fn bytes(&self, entry: &Entry, from: usize, len: usize) -> &[u8] {
        &self.map[entry.start..entry.start + entry.len][from..from + len]
    }

    /// Lets go of a tensor's mapped pages once they were copied. Best effort: it only saves memory.
    pub(crate) fn forget(&self, entry: &Entry) {
        // SAFETY: a private map of a file that nobody writes to through it reads the same pages again.
        let _ = unsafe {
            self.map.unchecked_advise_range(
                memmap2::UncheckedAdvice::DontNeed,
                entry.start,
                entry.len,
            )
        };
    }

    /// The value of a key as a text.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    /// The value of a key as a whole number of 0 or more.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn whole(&self, key: &str) -> Result<Option<u64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Whole(number)) => u64::try_from(*number)
                .map(Some)
                .map_err(|_| self.wrong(key, "0 or more")),
            Some(_) => Err(self.wrong(key, "a whole number")),
        }
    }

    /// The value of a key as a number.
    ///
    /// # Errors
    /// It is something else, or not finite.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) if number.is_finite() => Ok(Some(*number)),
            Some(Value::Whole(number)) => Ok(Some(*number as f64)),
            Some(_) => Err(self.wrong(key, "a number")),
        }
    }

    /// The value of a key as true or false.
    ///
    /// # Errors
    /// It is something else.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    fn wrong(&self, key: &str, what: &str) -> Error {
        Error::file(&self.path, format!("the metadata's {key} must be {what}"))
    }
}

type Parsed = (BTreeMap<String, Value>, BTreeMap<String, Entry>);

/// Reads the head of a file; errors name the place in bytes.
fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let mut cursor = Cursor { bytes, at: 0 };
    if bytes.get(..4) != Some(b"GGUF") {
        return Err("is no GGUF file: it does not begin with the letters GGUF".into());
    }
    cursor.at = 4;
    let version = cursor.u32("the version")?;
    if !matches!(version, 2 | 3) {
        return Err(format!(
            "is GGUF of version {version}, which is not supported; 2 and 3 are (little-endian)"
        ));
    }
    let tensor_count = cursor.u64("the number of tensors")?;
    let key_count = cursor.u64("the number of keys")?;
    // A key takes at least 13 bytes, a tensor 24: counts beyond that are nonsense, whatever they claim.
    for (what, count, least) in [("keys", key_count, 13), ("tensors", tensor_count, 24)] {
        if count.saturating_mul(least) > cursor.left() {
            return Err(cut(format!("promises {count} {what}"), &cursor));
        }
    }
    let mut metadata = BTreeMap::new();
    for _ in 0..key_count {
        let name = cursor.text("a key of the metadata")?;
        let kind = cursor.u32("a type of the metadata")?;
        let value = cursor
            .value(kind)
            .map_err(|message| format!("{message} (metadata {name:?})"))?;
        metadata.insert(name, value);
    }
    let mut heads = Vec::new();
    for _ in 0..tensor_count {
        let name = cursor.text("a tensor's name")?;
        let at = cursor.at;
        let head = cursor
            .tensor()
            .map_err(|message| format!("tensor {name:?} {message} (byte {at})"))?;
        heads.push((name, head));
    }
    let alignment = match metadata.get(key::ALIGNMENT) {
        None => 32,
        Some(Value::Whole(n)) if (1..=1 << 20).contains(n) && (*n as u64).is_power_of_two() => {
            *n as usize
        }
        Some(other) => {
            return Err(format!(
                "{} must be a power of two, not {other:?}",
                key::ALIGNMENT
            ));
        }
    };
    let data = cursor.at.next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    for (name, (shape, stored, offset)) in heads {
        let entry = place(bytes.len(), data, alignment, shape, stored, offset)
            .map_err(|message| format!("tensor {name:?} {message}"))?;
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(format!("holds tensor {name:?} twice"));
        }
    }
    Ok((metadata, tensors))
}

fn place(
    file: usize,
    data: usize,
    alignment: usize,
    shape: Vec<usize>,
    stored: Stored,
    offset: u64,
) -> Result<Entry, String> {
    let (elements, bytes) = stored.block();
    let count = shape
        .iter()
        .try_fold(1usize, |all, size| all.checked_mul(*size));
    let width = shape.last().copied().unwrap_or(1);
    if width % elements != 0 {
        return Err(format!(
            "has rows of {width}, no multiple of a block of {elements}"
        ));
    }
    let len = count.and_then(|count| (count / elements).checked_mul(bytes));
    let start = usize::try_from(offset)
        .ok()
        .and_then(|offset| data.checked_add(offset));
    let end = start
        .zip(len)
        .and_then(|(start, len)| start.checked_add(len));
    match (start, len, end) {
        (Some(start), Some(len), Some(end)) if end <= file => {
            if !offset.is_multiple_of(alignment as u64) {
                return Err(format!(
                    "begins at {offset}, no multiple of the alignment {alignment}"
                ));
            }
            Ok(Entry {
                shape,
                stored,
                start,
                len,
            })
        }
        _ => Err(format!(
            "of shape {shape:?} at offset {offset} reaches over the end of the file of {file} bytes; it may be cut off: download or copy it again"
        )),
    }
}
