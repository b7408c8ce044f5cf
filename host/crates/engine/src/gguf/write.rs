//! A GGUF file, version 3, written from its head to its last tensor without holding more than one of them.
//!
//! Source: `docs/gguf.md` of ggml.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Tensor};

use crate::model::weights::to_bytes;
use crate::{Error, Result};

/// Tensor data begin at multiples of this many bytes.
const ALIGNMENT: u64 = 32;

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
}

/// How the values of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4K,
    Q6K,
}

/// One tensor to be.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) name: String,
    /// Rows first, as everywhere here; the file has them the other way round.
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: Kind,
}

impl Kind {
    /// Number in the file.
    fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 8,
            Self::Q4K => 12,
            Self::Q6K => 14,
            Self::Bf16 => 30,
        }
    }

    fn quantized(self) -> Option<GgmlDType> {
        match self {
            Self::Q8_0 => Some(GgmlDType::Q8_0),
            Self::Q4K => Some(GgmlDType::Q4K),
            Self::Q6K => Some(GgmlDType::Q6K),
            Self::F32 | Self::F16 | Self::Bf16 => None,
        }
    }

    /// Values that make a block: a row must be a multiple of it.
    pub(crate) fn block(self) -> usize {
        self.quantized().map_or(1, |kind| kind.block_size())
    }

    fn bytes(self, values: usize) -> u64 {
        let size = match (self.quantized(), self) {
            (Some(kind), _) => values / kind.block_size() * kind.type_size(),
            (None, Self::F32) => 4 * values,
            (None, _) => 2 * values,
        };
        size as u64
    }
}

/// A file whose tensors are still to come.
pub(crate) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    tensors: std::vec::IntoIter<Described>,
}

impl Writer {
    /// Writes the head of a file: metadata, and what the tensors will be.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn create(
        path: &Path,
        metadata: &[(String, Value)],
        tensors: Vec<Described>,
    ) -> Result<Self> {
        let mut head = b"GGUF".to_vec();
        head.extend(3u32.to_le_bytes());
        head.extend((tensors.len() as u64).to_le_bytes());
        head.extend((metadata.len() as u64).to_le_bytes());
        for (key, value) in metadata {
            text(&mut head, key);
            value.write(&mut head);
        }
        let mut offset = 0u64;
        for tensor in &tensors {
            text(&mut head, &tensor.name);
            head.extend((tensor.shape.len() as u32).to_le_bytes());
            for size in tensor.shape.iter().rev() {
                head.extend((*size as u64).to_le_bytes());
            }
            head.extend(tensor.kind.id().to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset += tensor.bytes().next_multiple_of(ALIGNMENT);
        }
        head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
        let file = File::create(path).map_err(Error::io("write", path))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&head).map_err(Error::io("write", path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            tensors: tensors.into_iter(),
        })
    }

    /// The tensor that comes next.
    pub(crate) fn next(&self) -> Option<&Described> {
        self.tensors.as_slice().first()
    }

    /// Writes the next tensor's values, given in f32.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn put(&mut self, values: &Tensor) -> Result<()> {
        let Some(tensor) = self.tensors.next() else {
            return Err(Error::Compute(
                "more tensors than the file's head names".into(),
            ));
        };
        let packed;
        let plain;
        let bytes: &[u8] = match (tensor.kind.quantized(), tensor.kind) {
            (Some(kind), _) => {
                packed = QTensor::quantize(values, kind)?;
                &packed.data()?
            }
            (None, kind) => {
                let dtype = match kind {
                    Kind::F16 => DType::F16,
                    Kind::Bf16 => DType::BF16,
                    _ => DType::F32,
                };
                plain = to_bytes(values, dtype)?;
                &plain
            }
        };
        if bytes.len() as u64 != tensor.bytes() {
            let message = format!(
                "{} has {} bytes, not {}",
                tensor.name,
                bytes.len(),
                tensor.bytes()
            );
            return Err(Error::Compute(message));
        }
        let padding = bytes.len().next_multiple_of(ALIGNMENT as usize) - bytes.len();
        self.file
            .write_all(bytes)
            .and_then(|()| self.file.write_all(&[0; ALIGNMENT as usize][..padding]))
            .map_err(Error::io("write", &self.path))
    }

    /// Waits until all of it is on the disk.
    ///
    /// # Errors
    /// The file cannot be written, or a tensor is missing.
    pub(crate) fn finish(self) -> Result<()> {
        if let Some(missing) = self.next() {
            return Err(Error::Compute(format!(
                "{} was never written",
                missing.name
            )));
        }
        let file = self
            .file
            .into_inner()
            .map_err(|error| Error::io("write", &self.path)(error.into_error()))?;
        file.sync_all().map_err(Error::io("write", &self.path))
    }
}

impl Described {
    fn bytes(&self) -> u64 {
        self.kind.bytes(self.shape.iter().product())
    }
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        const BOOL: u32 = 7;
        const TEXT: u32 = 8;
        const ARRAY: u32 = 9;
        const I32: u32 = 5;
        const F32: u32 = 6;
        let list = |out: &mut Vec<u8>, kind: u32, len: usize| {
            out.extend(ARRAY.to_le_bytes());
            out.extend(kind.to_le_bytes());
            out.extend((len as u64).to_le_bytes());
        };
        match self {
            Self::U32(value) => {
                out.extend(4u32.to_le_bytes());
                out.extend(value.to_le_bytes());
            }
            Self::F32(value) => {
                out.extend(F32.to_le_bytes());
                out.extend(value.to_le_bytes());
            }
            Self::Bool(value) => {
                out.extend(BOOL.to_le_bytes());
                out.push(u8::from(*value));
            }
            Self::Text(value) => {
                out.extend(TEXT.to_le_bytes());
                text(out, value);
            }
            Self::Texts(values) => {
                list(out, TEXT, values.len());
                values.iter().for_each(|value| text(out, value));
            }
            Self::I32s(values) => {
                list(out, I32, values.len());
                values
                    .iter()
                    .for_each(|value| out.extend(value.to_le_bytes()));
            }
            Self::F32s(values) => {
                list(out, F32, values.len());
                values
                    .iter()
                    .for_each(|value| out.extend(value.to_le_bytes()));
            }
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
