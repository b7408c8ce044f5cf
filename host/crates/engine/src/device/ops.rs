//! One function for each kernel: it checks shapes and says how many threads take part.

use super::machine::{Argument, Element, launch};
use super::rows::{Bytes, Device, Rows};
use crate::ops::{Activation, Span};
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

/// Parameters of a norm on the device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormShape {
    /// Norms side by side in each row.
    pub(crate) pieces: usize,
    /// Added to the weight (Gemma).
    pub(crate) offset: f32,
    pub(crate) eps: f32,
}

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
}

impl Bound {
    /// Rows of a tile.
    fn rows(self) -> usize {
        match self {
            Self::To64 | Self::To128 => 32,
            Self::To256 => 16,
            Self::Tensor64 | Self::Tensor128 => 64,
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
        };
        2 * (own.0 * own.1 + other.0 * other.1) * (wide + 8)
    }
}

/// Widest head that the kernels take.
pub(crate) const WIDEST_HEAD: usize = 256;

impl Device {
    /// Norm of every row, or of every piece of it: root mean square, or with a bias layer norm.
    pub(crate) fn norm(
        &self,
        y: &Rows,
        x: &Rows,
        w: &Rows,
        b: Option<&Rows>,
        norm: NormShape,
    ) -> Result<()> {
        same("norm", y, x)?;
        fits("norm", x.width == norm.pieces * w.len())?;
        let (rows, width) = (x.rows * norm.pieces, w.len() as i32);
        match b {
            None => launch!(
                self,
                "rms_norm",
                x.element,
                warps(rows),
                BLOCK,
                0,
                [
                    y.address,
                    y.stride as i64,
                    x.address,
                    x.stride as i64,
                    w.address,
                    norm.offset,
                    rows as i32,
                    norm.pieces as i32,
                    width,
                    norm.eps,
                ]
            ),
            Some(b) => {
                fits("layer norm", norm.pieces == 1 && b.len() == w.len())?;
                launch!(
                    self,
                    "layer_norm",
                    x.element,
                    warps(rows),
                    BLOCK,
                    0,
                    [
                        y.address,
                        y.stride as i64,
                        x.address,
                        x.stride as i64,
                        w.address,
                        b.address,
                        rows as i32,
                        width,
                        norm.eps,
                    ]
                )
            }
        }
    }

    /// Writes the gradient of a norm's input `x` into `dx`, or adds it; `dx` may be the output's gradient `dy`.
    pub(crate) fn norm_backward(
        &self,
        dx: &Rows,
        (x, dy): (&Rows, &Rows),
        (w, layer): (&Rows, bool),
        norm: NormShape,
        add: bool,
    ) -> Result<()> {
        same("norm backward", dx, x)?;
        same("norm backward", dy, x)?;
        fits("norm backward", x.width == norm.pieces * w.len())?;
        let (rows, width, add) = (x.rows * norm.pieces, w.len() as i32, i32::from(add));
        match layer {
            false => launch!(
                self,
                "rms_norm_backward",
                x.element,
                warps(rows),
                BLOCK,
                0,
                [
                    dx.address,
                    dx.stride as i64,
                    x.address,
                    x.stride as i64,
                    dy.address,
                    dy.stride as i64,
                    w.address,
                    norm.offset,
                    rows as i32,
                    norm.pieces as i32,
                    width,
                    norm.eps,
                    add,
                ]
            ),
            true => {
                fits("layer norm backward", norm.pieces == 1)?;
                launch!(
                    self,
                    "layer_norm_backward",
                    x.element,
                    warps(rows),
                    BLOCK,
                    0,
                    [
                        dx.address,
                        dx.stride as i64,
                        x.address,
                        x.stride as i64,
                        dy.address,
                        dy.stride as i64,
                        w.address,
                        rows as i32,
                        width,
                        norm.eps,
                        add,
                    ]
                )
            }
        }
    }

    /// Turns the first `heads` heads of each row in place; tables are [positions, half].
    pub(crate) fn rotary(
        &self,
        x: &Rows,
        positions: &Bytes,
        (cos, sin): (&Rows, &Rows),
        (heads, dim): (usize, usize),
        inverse: bool,
    ) -> Result<()> {
        let half = cos.width;
        fits(
            "rotary",
            heads * dim <= x.width && 2 * half <= dim && sin.width == half,
        )?;
        let sign: f32 = if inverse { -1.0 } else { 1.0 };
        let grid = blocks(x.rows * heads * half.div_ceil(16 / x.element.size()));
        launch!(
            self,
            "rotary",
            x.element,
            grid,
            BLOCK,
            0,
            [
                x.address,
                x.stride as i64,
                positions.address(),
                cos.address,
                sin.address,
                x.rows as i32,
                heads as i32,
                dim as i32,
                half as i32,
                sign,
            ]
        )
    }

    /// `f(x)` of every element, or of the gates in the first half of each row times the second half.
    pub(crate) fn activate(
        &self,
        y: &Rows,
        x: &Rows,
        activation: Activation,
        gated: bool,
    ) -> Result<()> {
        let wide = if gated { 2 * y.width } else { y.width };
        fits(
            "activate",
            x.is_whole() && y.is_whole() && (x.rows, x.width) == (y.rows, wide),
        )?;
        let grid = blocks(pieces(y.rows, y.width, y.element));
        launch!(
            self,
            "activate",
            x.element,
            grid,
            BLOCK,
            0,
            [
                y.address,
                x.address,
                y.rows as i64,
                y.width as i32,
                kind(activation),
                i32::from(gated),
            ]
        )
    }

    /// Overwrites `x`, which [`Self::activate`] was given, with its gradient.
    pub(crate) fn activate_backward(
        &self,
        x: &Rows,
        dy: &Rows,
        activation: Activation,
        gated: bool,
    ) -> Result<()> {
        let wide = if gated { 2 * dy.width } else { dy.width };
        fits(
            "activate backward",
            x.is_whole() && dy.is_whole() && (x.rows, x.width) == (dy.rows, wide),
        )?;
        let grid = blocks(pieces(dy.rows, dy.width, dy.element));
        launch!(
            self,
            "activate_backward",
            x.element,
            grid,
            BLOCK,
            0,
            [
                x.address,
                dy.address,
                dy.rows as i64,
                dy.width as i32,
                kind(activation),
                i32::from(gated),
            ]
        )
    }

    /// Loss, logarithm of the sum, and whether the target is likeliest, of each row of f32 logits: [N, 3].
    pub(crate) fn cross_entropy(&self, logits: &Rows, targets: u64, cap: f32) -> Result<Rows> {
        fits(
            "cross-entropy",
            logits.is_whole() && logits.element == Element::F32,
        )?;
        let statistics = self.unwritten(logits.rows, 3, Element::F32)?;
        launch!(
            self,
            "cross_entropy",
            self.element,
            [logits.rows as u32, 1],
            BLOCK,
            0,
            [
                statistics.address,
                logits.address,
                targets,
                logits.width as i32,
                cap,
            ]
        )?;
        Ok(statistics)
    }

    /// Gradient of the weighted losses by the logits before their cap, times `factor`.
    pub(crate) fn cross_entropy_gradient(
        &self,
        gradient: &Rows,
        (logits, statistics): (&Rows, &Rows),
        (targets, weights): (u64, u64),
        cap: f32,
        factor: f32,
    ) -> Result<()> {
        let fit =
            (gradient.rows, gradient.width) == (logits.rows, logits.width) && gradient.is_whole();
        fits(
            "cross-entropy gradient",
            fit && gradient.element == self.element,
        )?;
        launch!(
            self,
            "cross_entropy_gradient",
            self.element,
            [logits.rows as u32, 1],
            BLOCK,
            0,
            [
                gradient.address,
                logits.address,
                statistics.address,
                targets,
                weights,
                logits.width as i32,
                cap,
                factor,
            ]
        )
    }

    /// `y = x`.
    pub(crate) fn place(&self, y: &Rows, x: &Rows) -> Result<()> {
        same("place", y, x)?;
        let grid = blocks(pieces(x.rows, x.width, x.element));
        launch!(
            self,
            "place",
            x.element,
            grid,
            BLOCK,
            0,
            [
                y.address,
                y.stride as i64,
                x.address,
                x.stride as i64,
                x.rows as i64,
                x.width as i32,
            ]
        )
    }

    /// A copy without gaps.
    pub(crate) fn copy(&self, x: &Rows) -> Result<Rows> {
        let y = self.unwritten(x.rows, x.width, x.element)?;
        self.place(&y, x)?;
        Ok(y)
    }

    /// `y = own · y + factor · x`.
    pub(crate) fn add_scaled(&self, y: &Rows, x: &Rows, own: f32, factor: f32) -> Result<()> {
        same("add", y, x)?;
        let grid = blocks(pieces(x.rows, x.width, x.element));
        launch!(
            self,
            "add_scaled",
            x.element,
            grid,
            BLOCK,
            0,
            [
                y.address,
                y.stride as i64,
                x.address,
                x.stride as i64,
                x.rows as i64,
                x.width as i32,
                own,
                factor,
            ]
        )
    }

    /// `y += b`, row by row.
    pub(crate) fn add_bias(&self, y: &Rows, b: &Rows) -> Result<()> {
        fits("bias", b.len() == y.width)?;
        let grid = blocks(pieces(y.rows, y.width, y.element));
        launch!(
            self,
            "add_bias",
            y.element,
            grid,
            BLOCK,
            0,
            [
                y.address,
                y.stride as i64,
                b.address,
                y.rows as i64,
                y.width as i32,
            ]
        )
    }

    /// `y = x · (factors + offset)`, column by column, or adds that.
    pub(crate) fn times_columns(
        &self,
        y: &Rows,
        x: &Rows,
        factors: &Rows,
        offset: f32,
        add: bool,
    ) -> Result<()> {
        same("columns", y, x)?;
        fits("columns", factors.len() == x.width)?;
        let grid = blocks(pieces(x.rows, x.width, x.element));
        launch!(
            self,
            "columns",
            x.element,
            grid,
            BLOCK,
            0,
            [
                y.address,
                y.stride as i64,
                x.address,
                x.stride as i64,
                factors.address,
                offset,
                x.rows as i64,
                x.width as i32,
                i32::from(add),
            ]
        )
    }

    /// `out += factors · Σ over rows of x · z`, column by column, in f32.
    pub(crate) fn column_dots(&self, out: &Rows, factors: &Rows, x: &Rows, z: &Rows) -> Result<()> {
        same("column dots", x, z)?;
        fits(
            "column dots",
            out.len() == x.width && factors.len() == x.width && out.element == Element::F32,
        )?;
        launch!(
            self,
            "column_dots",
            x.element,
            [x.width.div_ceil(WARP) as u32, 1],
            8 * WARP as u32,
            0,
            [
                out.address,
                factors.address,
                x.address,
                x.stride as i64,
                z.address,
                z.stride as i64,
                x.rows as i64,
                x.width as i32,
            ]
        )
    }

    /// 1 over the length of each row, and magnitudes times that.
    pub(crate) fn row_norms(
        &self,
        inverse: &Rows,
        factors: &Rows,
        magnitudes: &Rows,
        x: &Rows,
    ) -> Result<()> {
        let lens = [inverse.len(), factors.len(), magnitudes.len()];
        fits("row norms", lens == [x.rows; 3])?;
        launch!(
            self,
            "row_norms",
            x.element,
            warps(x.rows),
            BLOCK,
            0,
            [
                inverse.address,
                factors.address,
                magnitudes.address,
                x.address,
                x.stride as i64,
                x.rows as i32,
                x.width as i32,
            ]
        )
    }

    /// Drops a share `p` of the elements of `x` and scales the rest, as [`crate::ops::dropout`] draws; `add` adds to `y`.
    pub(crate) fn dropout(&self, y: &Rows, x: &Rows, p: f64, seed: u64, add: bool) -> Result<()> {
        same("dropout", y, x)?;
        fits("dropout", x.is_whole() && y.is_whole())?;
        let threshold = (p * f64::from(u32::MAX)) as u32;
        let scale = (1.0 / (1.0 - p)) as f32;
        launch!(
            self,
            "dropout",
            x.element,
            blocks(x.len()),
            BLOCK,
            0,
            [
                y.address,
                x.address,
                x.len() as i64,
                seed,
                threshold,
                scale,
                i32::from(add),
            ]
        )
    }

    /// Rows of `table` that `ids` name, times a factor, into `out`, or added to it. The ids were checked by the caller.
    pub(crate) fn gather(
        &self,
        out: &Rows,
        table: &Rows,
        ids: u64,
        factor: f32,
        add: bool,
    ) -> Result<()> {
        fits(
            "gather",
            out.is_whole()
                && table.is_whole()
                && out.width == table.width
                && out.element == table.element,
        )?;
        let grid = blocks(pieces(out.rows, out.width, out.element));
        launch!(
            self,
            "gather",
            out.element,
            grid,
            BLOCK,
            0,
            [
                out.address,
                table.address,
                ids,
                out.rows as i64,
                out.width as i32,
                factor,
                i32::from(add),
            ]
        )
    }

    /// Row `ids[i]` of `out` becomes row `i` of `x`; no id comes twice.
    pub(crate) fn scatter(&self, out: &Rows, x: &Rows, ids: u64) -> Result<()> {
        fits(
            "scatter",
            out.is_whole() && x.is_whole() && out.width == x.width && out.element == x.element,
        )?;
        let grid = blocks(pieces(x.rows, x.width, x.element));
        launch!(
            self,
            "scatter",
            x.element,
            grid,
            BLOCK,
            0,
            [out.address, x.address, ids, x.rows as i64, x.width as i32,]
        )
    }

    /// Rows [outer, inner, dim] as rows [inner, outer, dim].
    pub(crate) fn exchanged(
        &self,
        x: &Rows,
        outer: usize,
        inner: usize,
        dim: usize,
    ) -> Result<Rows> {
        fits("exchange", x.is_whole() && x.width == outer * inner * dim)?;
        let y = self.unwritten(x.rows, x.width, x.element)?;
        launch!(
            self,
            "exchange",
            x.element,
            blocks(x.len()),
            BLOCK,
            0,
            [
                y.address,
                x.address,
                x.rows as i64,
                outer as i32,
                inner as i32,
                dim as i32,
            ]
        )?;
        Ok(y)
    }

    /// f32 values in the element type.
    pub(crate) fn narrow(&self, y: &Rows, x: &Rows) -> Result<()> {
        fits(
            "narrow",
            x.element == Element::F32 && x.len() == y.len() && x.is_whole() && y.is_whole(),
        )?;
        launch!(
            self,
            "narrow",
            y.element,
            blocks(x.len()),
            BLOCK,
            0,
            [y.address, x.address, x.len() as i64]
        )
    }

    /// Sum of squares of f32 values, once all before is done.
    pub(crate) fn squared_norm(&self, x: &Rows) -> Result<f64> {
        fits("squares", x.element == Element::F32 && x.is_whole())?;
        let blocks = x.len().div_ceil(BLOCK as usize).clamp(1, 1024);
        let sums = self.unwritten(1, blocks, Element::F32)?;
        launch!(
            self,
            "squares",
            self.element,
            [blocks as u32, 1],
            BLOCK,
            0,
            [sums.address, x.address, x.len() as i64,]
        )?;
        Ok(sums.read()?.iter().map(|sum| f64::from(*sum)).sum())
    }

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

    /// Tiles of a batch's sequences for heads of `dim` dimensions.
    pub(crate) fn tiles(&self, spans: &[Span], dim: usize) -> Result<Tiles> {
        let bound = match (dim, self.element) {
            (..=64, Element::F32) => Bound::To64,
            (..=64, Element::Bf16) => Bound::Tensor64,
            (65..=128, Element::F32) => Bound::To128,
            (65..=128, Element::Bf16) => Bound::Tensor128,
            (129..=WIDEST_HEAD, _) => Bound::To256,
            _ => {
                return Err(Error::Compute(format!(
                    "a head_dim of {dim} is wider than {WIDEST_HEAD}"
                )));
            }
        };
        let mut tiles: Vec<Tile> = Vec::new();
        for span in spans {
            tiles.extend((0..span.len).step_by(bound.rows()).map(|from| Tile {
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
        let keys = if matches!(bound, Bound::Tensor64 | Bound::Tensor128) {
            64
        } else {
            WARP
        };
        let shared = bound.shared(dim, (1, bound.rows()), (2, keys));
        let grid = [tiles.count as u32, heads.heads as u32];
        macro_rules! by {
            ($name:literal) => {
                launch!(
                    self,
                    $name,
                    qkv.element,
                    grid,
                    4 * WARP as u32,
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
        let shared = tiles.bound.shared(dim, (2, tiles.bound.rows()), (2, WARP));
        macro_rules! by {
            ($name:literal, $heads:expr) => {
                launch!(
                    self,
                    $name,
                    qkv.element,
                    [tiles.count as u32, $heads as u32],
                    4 * WARP as u32,
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
        match tiles.bound {
            Bound::To64 => by!("attention_queries_64", heads.heads),
            Bound::To128 => by!("attention_queries_128", heads.heads),
            Bound::To256 => by!("attention_queries_256", heads.heads),
            Bound::Tensor64 => by!("attention_tensor_queries_64", heads.heads),
            Bound::Tensor128 => by!("attention_tensor_queries_128", heads.heads),
        }?;
        match tiles.bound {
            Bound::To64 => by!("attention_keys_64", heads.kv_heads),
            Bound::To128 => by!("attention_keys_128", heads.kv_heads),
            Bound::To256 => by!("attention_keys_256", heads.kv_heads),
            Bound::Tensor64 => by!("attention_tensor_keys_64", heads.kv_heads),
            Bound::Tensor128 => by!("attention_tensor_keys_128", heads.kv_heads),
        }?;
        Ok(d_qkv)
    }
}

/// The kernels' number for an activation.
fn kind(activation: Activation) -> i32 {
    match activation {
        Activation::Silu => 0,
        Activation::Gelu => 1,
        Activation::GeluTanh => 2,
        Activation::Relu => 3,
    }
}
