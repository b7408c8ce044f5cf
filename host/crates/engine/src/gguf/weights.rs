use std::collections::BTreeSet;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use domain::Quantize;
use half::{bf16, f16};

use super::names::{
    Architecture, Layout, ROPE_FACTORS_LONG, ROPE_FACTORS_SHORT, ROPE_FREQS, rows_from_gguf,
};
use super::read::{Entry, Gguf};
use super::value::Stored;
use crate::model::{Matrix, Packed};
use crate::{Error, Result};

/// The tensors of a GGUF model by Hugging Face's names, laid out as Hugging Face has them.
pub(crate) struct GgufWeights {
    file: Gguf,
    architecture: &'static Architecture,
    heads: usize,
    kv_heads: usize,
    unread: BTreeSet<String>,
}

impl GgufWeights {
    pub(crate) fn new(
        file: Gguf,
        architecture: &'static Architecture,
        heads: usize,
        kv_heads: usize,
    ) -> Self {
        let unread = file.tensors().keys().cloned().collect();
        Self {
            file,
            architecture,
            heads,
            kv_heads,
            unread,
        }
    }

    /// A frozen matrix [out, in]: as it is where the file has it packed, else packed as asked, or as `dtype`.
    ///
    /// # Errors
    /// It is missing or of another shape.
    pub(crate) fn matrix(
        &mut self,
        name: &str,
        shape: &[usize; 2],
        dtype: DType,
        quantize: Option<Quantize>,
    ) -> Result<Matrix> {
        let (entry, order) = self.take(name, shape)?;
        let row = entry.shape[1];
        let matrix = match (entry.stored, quantize) {
            (Stored::Packed(kind), _) => {
                let bytes = row / kind.block() * kind.bytes();
                let all = self.file.bytes(&entry, 0, shape[0] * bytes);
                let blocks = match &order {
                    None => all.to_vec(),
                    Some(order) => order
                        .iter()
                        .flat_map(|&from| &all[from * bytes..(from + 1) * bytes])
                        .copied()
                        .collect(),
                };
                let shape = (shape[0], shape[1]);
                Matrix::Packed(Packed::of_blocks(name.to_owned(), shape, kind, blocks))
            }
            (_, Some(quantize)) => {
                let values = self.values(&entry, order.as_deref())?;
                let mut read = |from: usize, len: usize| Ok(values[from..from + len].to_vec());
                let shape = (shape[0], shape[1]);
                Matrix::Packed(Packed::pack(name.to_owned(), shape, quantize, &mut read)?)
            }
            (_, None) => {
                let values = self.values(&entry, order.as_deref())?;
                let value = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?;
                Matrix::new(name.to_owned(), value, false)?
            }
        };
        self.file.forget(&entry);
        Ok(matrix)
    }

    /// A vector in f32: a norm's weight or a bias.
    ///
    /// # Errors
    /// It is missing, of another length, or packed.
    pub(crate) fn vector(&mut self, name: &str, len: usize) -> Result<Tensor> {
        let (entry, order) = self.take(name, &[len])?;
        let mut values = self.values(&entry, order.as_deref())?;
        if self.architecture.layout(name, self.heads, self.kv_heads) == Layout::PlusOne {
            values.iter_mut().for_each(|value| *value -= 1.0);
        }
        Ok(Tensor::from_vec(values, len, &Device::Cpu)?)
    }

    /// Fails where a tensor was never asked for: what the model does not know of, it would compute without.
    ///
    /// # Errors
    /// Names the first of them.
    pub(crate) fn finish(self) -> Result<()> {
        let known = [ROPE_FREQS, ROPE_FACTORS_LONG, ROPE_FACTORS_SHORT];
        match self
            .unread
            .iter()
            .find(|name| !known.contains(&name.as_str()))
        {
            Some(name) => Err(self.error(format!(
                "holds {name}, which a {} model has no place for",
                self.architecture.name
            ))),
            None => Ok(()),
        }
    }

    /// Finds a tensor; with the order of its rows where it differs from Hugging Face's.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<(Entry, Option<Vec<usize>>)> {
        let Some(own) = self.architecture.gguf_name(name) else {
            return Err(self.error(format!("{name} has no name in GGUF")));
        };
        let Some(entry) = self.file.tensors().get(&own).cloned() else {
            return Err(self.error(format!(
                "holds no tensor {own}, which its metadata calls for"
            )));
        };
        if entry.shape != shape {
            return Err(self.error(format!(
                "{own} has shape {:?}, but the metadata calls for {shape:?}",
                entry.shape
            )));
        }
        self.unread.remove(&own);
        let order = match self.architecture.layout(name, self.heads, self.kv_heads) {
            Layout::Paired { heads } => Some(rows_from_gguf(shape[0], heads)),
            Layout::Same | Layout::PlusOne => None,
        };
        Ok((entry, order))
    }

    /// All values in f32, rows in Hugging Face's order.
    fn values(&self, entry: &Entry, order: Option<&[usize]>) -> Result<Vec<f32>> {
        let values = floats(&self.file, entry)
            .ok_or_else(|| self.error("has a vector that is packed".into()))?;
        let Some(order) = order else {
            return Ok(values);
        };
        let row = values.len() / order.len().max(1);
        let rows = order
            .iter()
            .flat_map(|&from| &values[from * row..(from + 1) * row]);
        Ok(rows.copied().collect())
    }

    fn error(&self, message: String) -> Error {
        Error::file(self.file.path(), message)
    }
}

/// The values of a tensor that is not packed.
pub(super) fn floats(file: &Gguf, entry: &Entry) -> Option<Vec<f32>> {
    let count: usize = entry.shape.iter().product();
    let bytes = file.bytes(entry, 0, count * entry.stored.block().1);
    Some(match entry.stored {
        Stored::F32 => {
            let words = bytes.as_chunks::<4>().0.iter();
            words.map(|word| f32::from_le_bytes(*word)).collect()
        }
        Stored::F16 => {
            let words = bytes.as_chunks::<2>().0.iter();
            words
                .map(|word| f16::from_le_bytes(*word).to_f32())
                .collect()
        }
        Stored::Bf16 => {
            let words = bytes.as_chunks::<2>().0.iter();
            words
                .map(|word| bf16::from_le_bytes(*word).to_f32())
                .collect()
        }
        Stored::Packed(_) => return None,
    })
}

/// Whether a path is a GGUF file by its ending.
pub(crate) fn is_gguf(path: &Path) -> bool {
    path.extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}
