//! Matrices in 4 to 8 bits: llama.cpp's blocks and QLoRA's NormalFloat.
//!
//! Every kind cuts the matrix, read row by row as one long list, into blocks. Where a row is no whole number of
//! blocks, a block runs on over the row's end, so that every matrix can be packed in every kind.

mod ggml;
mod nf4;

#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor};
use domain::Quantize;
use rayon::prelude::*;

use crate::Result;
use crate::ops;
use nf4::Nf4;

pub(crate) use ggml::Kind;

/// A frozen matrix in packed blocks.
pub(crate) struct Packed {
    name: String,
    outputs: usize,
    inputs: usize,
    blocks: Blocks,
}

enum Blocks {
    /// llama.cpp's, byte for byte as in a GGUF file.
    Ggml(Kind, Vec<u8>),
    Nf4(Nf4),
}

/// What a packed matrix is made of, for a device that unpacks it itself.
#[cfg(any(test, feature = "cuda"))]
pub(crate) enum Parts<'a> {
    /// llama.cpp's blocks.
    Ggml(Kind, &'a [u8]),
    /// Two codes a byte, a scale's index for each 64, the scale of each 256 scales, the values of the indices, and the
    /// mean of the scales.
    Nf4 {
        codes: &'a [u8],
        scales: &'a [u8],
        outer: &'a [f32],
        values: &'static [f32; 256],
        mean: f32,
    },
}

/// Elements that one task unpacks; a multiple of every block.
const TASK: usize = 1 << 14;

impl Packed {
    /// Packs a matrix whose f32 values `read(from, len)` gives by element, a stretch at a time and in order.
    ///
    /// # Errors
    /// Whatever `read` fails with.
    pub(crate) fn pack(
        name: String,
        (outputs, inputs): (usize, usize),
        quantize: Quantize,
        read: &mut dyn FnMut(usize, usize) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let blocks = match quantize {
            Quantize::Nf4 => Blocks::Nf4(Nf4::pack(outputs * inputs, read)?),
            Quantize::Q4k => {
                let kind = Kind::Q4K;
                Blocks::Ggml(kind, ggml::pack(kind, outputs * inputs, read)?)
            }
            Quantize::Q8_0 => {
                let kind = Kind::Q8_0;
                Blocks::Ggml(kind, ggml::pack(kind, outputs * inputs, read)?)
            }
        };
        Ok(Self {
            name,
            outputs,
            inputs,
            blocks,
        })
    }

    /// A matrix of llama.cpp's blocks, row by row as in a GGUF file; they must be as many as the shape needs.
    pub(crate) fn of_blocks(
        name: String,
        (outputs, inputs): (usize, usize),
        kind: Kind,
        blocks: Vec<u8>,
    ) -> Self {
        debug_assert_eq!(blocks.len(), outputs * inputs / kind.block() * kind.bytes());
        Self {
            name,
            outputs,
            inputs,
            blocks: Blocks::Ggml(kind, blocks),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it is made of.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn parts(&self) -> Parts<'_> {
        match &self.blocks {
            Blocks::Ggml(kind, bytes) => Parts::Ggml(*kind, bytes),
            Blocks::Nf4(nf4) => nf4.parts(),
        }
    }

    /// Outputs and inputs.
    pub(crate) fn shape(&self) -> (usize, usize) {
        (self.outputs, self.inputs)
    }

    /// Bytes that the packed weights and their scales take.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.blocks {
            Blocks::Ggml(_, bytes) => bytes.len() as u64,
            Blocks::Nf4(nf4) => nf4.bytes(),
        }
    }

    /// Writes the elements `from ..`, as many as `out` holds, in f32.
    fn unpack(&self, from: usize, out: &mut [f32]) {
        debug_assert!(from + out.len() <= self.outputs * self.inputs);
        let width = self.block();
        // Only the first and the last block may be cut.
        let head = (from.next_multiple_of(width) - from).min(out.len());
        let (first, rest) = out.split_at_mut(head);
        self.unpack_part(from, first);
        let from = from + head;
        let (whole, last) = rest.split_at_mut(rest.len() / width * width);
        self.unpack_part(from + whole.len(), last);
        whole
            .par_chunks_mut(TASK)
            .enumerate()
            .for_each(|(task, out)| self.unpack_whole(from + task * TASK, out));
    }

    /// Part of one block.
    fn unpack_part(&self, from: usize, out: &mut [f32]) {
        if out.is_empty() {
            return;
        }
        let mut block = [0f32; ggml::LARGEST_BLOCK];
        let block = &mut block[..self.block()];
        let skip = from % block.len();
        self.unpack_whole(from - skip, block);
        out.copy_from_slice(&block[skip..skip + out.len()]);
    }

    fn unpack_whole(&self, from: usize, out: &mut [f32]) {
        match &self.blocks {
            Blocks::Ggml(kind, bytes) => kind.unpack(bytes, from, out),
            Blocks::Nf4(nf4) => nf4.unpack(from, out),
        }
    }

    /// Elements of a block.
    fn block(&self) -> usize {
        match &self.blocks {
            Blocks::Ggml(kind, _) => kind.block(),
            Blocks::Nf4(_) => nf4::BLOCK,
        }
    }

    /// Writes the rows `from ..`, as many as `panel` [n, in] has, in f32.
    pub(crate) fn read_rows(&self, from: usize, panel: &Tensor) -> Result<()> {
        let fill = Fill {
            packed: self,
            from: from * self.inputs,
        };
        Ok(panel.inplace_op1(&fill)?)
    }

    /// The rows that `ids` [T] name, in f32: [T, in].
    pub(crate) fn gather(&self, ids: &Tensor) -> Result<Tensor> {
        let ids: Vec<u32> = ids.to_vec1()?;
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.outputs) {
            return Err(crate::Error::Compute(format!(
                "embedding: id {id} in a table of {} rows",
                self.outputs
            )));
        }
        let mut out = vec![0f32; ids.len() * self.inputs];
        out.par_chunks_mut(self.inputs)
            .zip(&ids)
            .for_each(|(out, &id)| self.unpack(id as usize * self.inputs, out));
        Ok(Tensor::from_vec(
            out,
            (ids.len(), self.inputs),
            &candle_core::Device::Cpu,
        )?)
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &self.blocks {
            Blocks::Ggml(kind, _) => kind.word(),
            Blocks::Nf4(_) => "NF4",
        };
        write!(
            f,
            "{}: {} x {} in {kind}",
            self.name, self.outputs, self.inputs
        )
    }
}

struct Fill<'a> {
    packed: &'a Packed,
    from: usize,
}

impl InplaceOp1 for Fill<'_> {
    fn name(&self) -> &'static str {
        "unpack"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let out = ops::storage::floats_mut("unpack", y, layout)?;
        if self.from + out.len() > self.packed.outputs * self.packed.inputs {
            candle_core::bail!("unpack: rows behind the last of {:?}", self.packed);
        }
        self.packed.unpack(self.from, out);
        Ok(())
    }
}
