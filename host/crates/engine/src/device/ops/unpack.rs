use super::super::machine::{Argument, launch};
use super::super::rows::{Device, Rows};
use super::{BLOCK, blocks, fits, pieces};
use crate::Result;

/// Where a packed matrix lies, as the kernels take it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceArgument {
    pub(crate) codes: u64,
    pub(crate) scales: u64,
    pub(crate) outer: u64,
    pub(crate) values: u64,
    pub(crate) mean: f32,
}

// SAFETY: as `struct Source` in unpack.cu.
unsafe impl Argument for SourceArgument {}

/// How the kernels unpack a matrix, by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unpacking {
    Nf4,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl Device {
    /// Rows of a packed matrix, by ids or from row `first` on, times a factor.
    pub(crate) fn unpack(
        &self,
        out: &Rows,
        (unpacking, source): (Unpacking, SourceArgument),
        ids: u64,
        first: usize,
        factor: f32,
    ) -> Result<()> {
        fits("unpack", out.is_whole())?;
        let grid = blocks(pieces(out.rows, out.width, out.element));
        macro_rules! by {
            ($name:literal) => {
                launch!(
                    self,
                    $name,
                    out.element,
                    grid,
                    BLOCK,
                    0,
                    [
                        out.address,
                        source,
                        ids,
                        first as i64,
                        out.rows as i64,
                        out.width as i32,
                        factor,
                    ]
                )
            };
        }
        match unpacking {
            Unpacking::Nf4 => by!("unpack_nf4"),
            Unpacking::Q4_0 => by!("unpack_q4_0"),
            Unpacking::Q4_1 => by!("unpack_q4_1"),
            Unpacking::Q5_0 => by!("unpack_q5_0"),
            Unpacking::Q5_1 => by!("unpack_q5_1"),
            Unpacking::Q8_0 => by!("unpack_q8_0"),
            Unpacking::Q4K => by!("unpack_q4_k"),
            Unpacking::Q5K => by!("unpack_q5_k"),
            Unpacking::Q6K => by!("unpack_q6_k"),
        }
    }
}
