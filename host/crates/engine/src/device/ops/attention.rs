use super::super::machine::{Argument, Element, launch};
use super::super::rows::{Bytes, Device, Rows};
use super::{BLOCK, WARP, fits, same, warps};
use crate::ops::Span;
use crate::{Error, Result};

/// A tile of rows of one sequence, as the kernels take it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Tile {
    start: i32,
    len: i32,
    from: i32,
}

/// What attention's kernels know of a model and a batch.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadsArgument {
    pub(crate) heads: i32,
    pub(crate) kv_heads: i32,
    pub(crate) dim: i32,
    pub(crate) tokens: i32,
    pub(crate) scale: f32,
    /// 0 for none.
    pub(crate) cap: f32,
    /// 0 for none.
    pub(crate) window: i32,
}

// SAFETY: as `struct Heads` in attention.cu.
unsafe impl Argument for HeadsArgument {}

/// The tiles of a batch, for heads of one width.
#[derive(Debug, Clone)]
pub(crate) struct Tiles {
    tiles: Bytes,
    count: usize,
    bound: Bound,
}

/// Which of attention's kernels takes heads of a width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    To64,
    To128,
    To256,
    /// On tensor cores, as the next.
    Tensor64,
    Tensor128,
    Tensor256,
}

/// Threads of a block, four warps.
const THREADS: u32 = 4 * WARP as u32;

impl Bound {
    /// Rows of a tile.
    fn rows(self) -> usize {
        match self {
            Self::To64 | Self::To128 => 32,
            Self::To256 => 16,
            Self::Tensor64 | Self::Tensor128 | Self::Tensor256 => 64,
        }
    }

    /// Rows of the other side that a turn takes: keys of the forward pass, and keys or queries of the backward pass.
    fn others(self) -> (usize, usize) {
        match self {
            Self::To64 | Self::To128 | Self::To256 => (WARP, WARP),
            Self::Tensor64 | Self::Tensor128 => (64, 32),
            Self::Tensor256 => (32, 16),
        }
    }

    /// Threads that share out the gradients of a tile's keys and values.
    fn key_threads(self) -> u32 {
        match self {
            Self::Tensor256 => 2 * THREADS,
            _ => THREADS,
        }
    }

    /// Bytes of a tile of `own` rows and one of `other` rows beside it in shared memory, `count` of each.
    fn shared(self, dim: usize, own: (usize, usize), other: (usize, usize)) -> usize {
        let wide = match self {
            // Rows of f32; one more column keeps lanes from the same bank.
            Self::To64 | Self::To128 | Self::To256 => {
                return 4 * (own.0 * own.1 * dim + other.0 * other.1 * (dim + 1));
            }
            Self::Tensor64 => 64,
            Self::Tensor128 => 128,
            Self::Tensor256 => 256,
        };
        2 * (own.0 * own.1 + other.0 * other.1) * (wide + 8)
    }
}

/// Widest head that the kernels take.
pub(crate) const WIDEST_HEAD: usize = 256;

impl Device {
    /// Tiles of a batch's sequences for heads of `dim` dimensions.
    pub(crate) fn tiles(&self, spans: &[Span], dim: usize) -> Result<Tiles> {
        self.tiles_behind(spans, 0, dim)
    }

    /// As [`Self::tiles`], without those of each sequence's first `past` rows, whose queries are then not read.
    pub(crate) fn tiles_behind(&self, spans: &[Span], past: usize, dim: usize) -> Result<Tiles> {
        let bound = match (dim, self.element) {
            (..=64, Element::F32) => Bound::To64,
            (..=64, Element::Bf16) => Bound::Tensor64,
            (65..=128, Element::F32) => Bound::To128,
            (65..=128, Element::Bf16) => Bound::Tensor128,
            (129..=WIDEST_HEAD, Element::F32) => Bound::To256,
            (129..=WIDEST_HEAD, Element::Bf16) => Bound::Tensor256,
            _ => {
                return Err(Error::Compute(format!(
                    "a head_dim of {dim} is wider than {WIDEST_HEAD}"
                )));
            }
        };
        let mut tiles: Vec<Tile> = Vec::new();
        for span in spans {
            tiles.extend((past..span.len).step_by(bound.rows()).map(|from| Tile {
                start: span.start as i32,
                len: span.len as i32,
                from: from as i32,
            }));
        }
        // The longest first, so that the last block to end is a short one.
        tiles.sort_by_key(|tile| std::cmp::Reverse(tile.from));
        let bytes = tiles
            .iter()
            .flat_map(|tile| [tile.start, tile.len, tile.from])
            .flat_map(i32::to_ne_bytes);
        Ok(Tiles {
            tiles: self.bytes(&bytes.collect::<Vec<u8>>())?,
            count: tiles.len(),
            bound,
        })
    }

    /// Attention of queries, keys and values side by side: its output [T, heads · D] and the logarithms of its rows' sums.
    pub(crate) fn attention(
        &self,
        qkv: &Rows,
        tiles: &Tiles,
        heads: HeadsArgument,
    ) -> Result<(Rows, Rows)> {
        let (count, kv, dim) = (
            heads.heads as usize,
            heads.kv_heads as usize,
            heads.dim as usize,
        );
        fits(
            "attention",
            qkv.is_whole() && qkv.width == (count + 2 * kv) * dim,
        )?;
        let out = self.unwritten(qkv.rows, count * dim, qkv.element)?;
        let log_sums = self.unwritten(count, qkv.rows, Element::F32)?;
        let bound = tiles.bound;
        let shared = bound.shared(dim, (1, bound.rows()), (2, bound.others().0));
        let grid = [tiles.count as u32, heads.heads as u32];
        macro_rules! by {
            ($name:literal) => {
                launch!(
                    self,
                    $name,
                    qkv.element,
                    grid,
                    THREADS,
                    shared,
                    [
                        out.address,
                        log_sums.address,
                        qkv.address,
                        tiles.tiles.address(),
                        heads,
                    ]
                )
            };
        }
        match tiles.bound {
            Bound::To64 => by!("attention_64"),
            Bound::To128 => by!("attention_128"),
            Bound::To256 => by!("attention_256"),
            Bound::Tensor64 => by!("attention_tensor_64"),
            Bound::Tensor128 => by!("attention_tensor_128"),
            Bound::Tensor256 => by!("attention_tensor_256"),
        }?;
        Ok((out, log_sums))
    }

    /// Gradient of `qkv`, given what [`Self::attention`] returned and the gradient of its output.
    pub(crate) fn attention_backward(
        &self,
        qkv: &Rows,
        (out, log_sums): (&Rows, &Rows),
        d_out: &Rows,
        tiles: &Tiles,
        heads: HeadsArgument,
    ) -> Result<Rows> {
        same("attention backward", out, d_out)?;
        fits("attention backward", out.is_whole() && d_out.is_whole())?;
        let dim = heads.dim as usize;
        let delta = self.unwritten(heads.heads as usize, qkv.rows, Element::F32)?;
        launch!(
            self,
            "attention_delta",
            qkv.element,
            warps(qkv.rows * heads.heads as usize),
            BLOCK,
            0,
            [delta.address, out.address, d_out.address, heads,]
        )?;
        let d_qkv = self.unwritten(qkv.rows, qkv.width, qkv.element)?;
        // On tensor cores the other side is there twice: one is copied while one computes with the other.
        let bound = tiles.bound;
        let others = match bound {
            Bound::To64 | Bound::To128 | Bound::To256 => 2,
            Bound::Tensor64 | Bound::Tensor128 | Bound::Tensor256 => 4,
        };
        let shared = bound.shared(dim, (2, bound.rows()), (others, bound.others().1));
        macro_rules! by {
            ($name:literal, $heads:expr, $threads:expr) => {
                launch!(
                    self,
                    $name,
                    qkv.element,
                    [tiles.count as u32, $heads as u32],
                    $threads,
                    shared,
                    [
                        d_qkv.address,
                        qkv.address,
                        d_out.address,
                        log_sums.address,
                        delta.address,
                        tiles.tiles.address(),
                        heads,
                    ]
                )
            };
        }
        let (queries, keys) = (heads.heads, heads.kv_heads);
        match bound {
            Bound::To64 => by!("attention_queries_64", queries, THREADS),
            Bound::To128 => by!("attention_queries_128", queries, THREADS),
            Bound::To256 => by!("attention_queries_256", queries, THREADS),
            Bound::Tensor64 => by!("attention_tensor_queries_64", queries, THREADS),
            Bound::Tensor128 => by!("attention_tensor_queries_128", queries, THREADS),
            Bound::Tensor256 => by!("attention_tensor_queries_256", queries, THREADS),
        }?;
        let threads = bound.key_threads();
        match bound {
            Bound::To64 => by!("attention_keys_64", keys, threads),
            Bound::To128 => by!("attention_keys_128", keys, threads),
            Bound::To256 => by!("attention_keys_256", keys, threads),
            Bound::Tensor64 => by!("attention_tensor_keys_64", keys, threads),
            Bound::Tensor128 => by!("attention_tensor_keys_128", keys, threads),
            Bound::Tensor256 => by!("attention_tensor_keys_256", keys, threads),
        }?;
        Ok(d_qkv)
    }
}
