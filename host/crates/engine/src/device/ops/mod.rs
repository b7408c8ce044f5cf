//! One function for each kernel: it checks shapes and says how many threads take part.

mod activation;
mod attention;
mod cached;
mod columns;
mod elementwise;
mod loss;
mod norm;
mod rotary;
mod rows;
mod sums;
mod unpack;

pub(crate) use attention::{HeadsArgument, Tiles, WIDEST_HEAD};
pub(crate) use cached::{KeptRows, NewRows};
pub(crate) use norm::NormShape;
pub(crate) use rows::Along;
pub(crate) use sums::Sums;
pub(crate) use unpack::{SourceArgument, Unpacking};

use super::machine::Element;
use super::rows::Rows;
use crate::{Error, Result};

/// Threads of a block of an elementwise kernel.
const BLOCK: u32 = 256;
/// Lanes of a warp.
const WARP: usize = 32;
/// Rows, a warp for each, that a block of [`BLOCK`] threads takes.
const WARPS: usize = BLOCK as usize / WARP;

/// Blocks of an elementwise kernel over `count` pieces of 16 bytes: enough to fill any GPU, the rest by a loop.
fn blocks(count: usize) -> [u32; 2] {
    [count.div_ceil(BLOCK as usize).clamp(1, 1 << 14) as u32, 1]
}

/// Pieces of 16 bytes that rows take.
fn pieces(rows: usize, width: usize, element: Element) -> usize {
    rows * width.div_ceil(16 / element.size())
}

/// Blocks of a kernel with a warp for each row.
fn warps(rows: usize) -> [u32; 2] {
    [rows.div_ceil(WARPS).max(1) as u32, 1]
}

fn fits(what: &str, fit: bool) -> Result<()> {
    match fit {
        true => Ok(()),
        false => Err(Error::Compute(format!(
            "{what}: shapes do not fit on the device"
        ))),
    }
}

fn same(what: &str, a: &Rows, b: &Rows) -> Result<()> {
    let fit = (a.rows, a.width, a.element) == (b.rows, b.width, b.element);
    fits(what, fit)
}
