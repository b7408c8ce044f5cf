use candle_core::Tensor;

use super::linear::Kept;
use super::section::{Entry, Exit, SavedExit};
use super::setting::Setting;
use super::{Norm, Pass};
use crate::Result;
use crate::ops::{self, Heads};

/// Attention of one layer, from the residual stream and back to it.
#[derive(Debug)]
pub(crate) struct Attention {
    /// Queries, keys and values, side by side.
    pub(crate) entry: Entry,
    /// Norms of queries and keys: of each head, or of all heads of a row together.
    pub(crate) q_norm: Option<Norm>,
    pub(crate) k_norm: Option<Norm>,
    pub(crate) exit: Exit,
    /// The projection's outputs come head by head (query, key, value, and again), not all queries first: gpt_bigcode without
    /// `multi_query`.
    pub(crate) by_head: bool,
    /// Keys that a query sees; `None` for all before it.
    pub(crate) window: Option<usize>,
    /// Which of the model's rotary tables turns queries and keys; `None` for none.
    pub(crate) rotary: Option<usize>,
}

/// Queries, keys and values as attention takes them.
pub(crate) struct Projected {
    /// [T, (heads + 2 · kv_heads) · D].
    pub(crate) qkv: Tensor,
    /// Queries and keys before their norms.
    raw: [Option<Tensor>; 2],
    kept: Vec<Option<Kept>>,
}

/// What the backward pass needs.
pub(crate) struct SavedAttention {
    x: Tensor,
    projected: Projected,
    attended: Tensor,
    exit: SavedExit,
}

impl Attention {
    /// The heads of this layer.
    pub(crate) fn heads(&self, setting: &Setting<'_>) -> Heads {
        Heads {
            window: self.window,
            ..setting.heads.clone()
        }
    }

    /// Queries, keys and values of `x` [T, H], turned by their positions.
    pub(crate) fn project(&self, x: &Tensor, setting: &Setting<'_>) -> Result<Projected> {
        let (mut qkv, kept) = self.entry.forward(x, setting.pass)?;
        if self.by_head {
            qkv = exchanged(&qkv, setting.heads.heads, 3, setting.heads.head_dim)?;
        }
        let [q, k, _] = thirds(&qkv, setting.heads)?;
        let raw = [
            normalize(self.q_norm.as_ref(), &q, setting.pass)?,
            normalize(self.k_norm.as_ref(), &k, setting.pass)?,
        ];
        self.turn(&qkv, setting, false)?;
        Ok(Projected { qkv, raw, kept })
    }

    /// The rest after the softmax: output and residual.
    pub(crate) fn finish(
        &self,
        x: &Tensor,
        attended: &Tensor,
        pass: Pass,
    ) -> Result<(Tensor, SavedExit)> {
        self.exit.forward(x, attended, pass)
    }

    /// `x` [T, H] to [T, H], with what the backward pass needs.
    pub(crate) fn forward(
        &self,
        x: Tensor,
        setting: &Setting<'_>,
    ) -> Result<(Tensor, SavedAttention)> {
        let projected = self.project(&x, setting)?;
        let attended = ops::attention(&projected.qkv, &self.heads(setting))?;
        let (out, exit) = self.finish(&x, &attended, setting.pass)?;
        let saved = SavedAttention {
            x,
            projected,
            attended,
            exit,
        };
        Ok((out, saved))
    }

    /// Turns the gradient `dx` [T, H] of the output into that of the input, in place; see [`Entry::backward`].
    pub(crate) fn backward(
        &self,
        dx: &Tensor,
        saved: SavedAttention,
        setting: &Setting<'_>,
        below: bool,
    ) -> Result<()> {
        let SavedAttention {
            x,
            projected: Projected { qkv, raw, kept },
            attended,
            exit,
        } = saved;
        let d_attended = self.exit.backward(&attended, &exit, dx, setting.pass)?;
        drop((attended, exit));
        let d_qkv = ops::attention_backward(&qkv, &d_attended, &self.heads(setting))?;
        drop((qkv, d_attended));
        self.turn(&d_qkv, setting, true)?;
        let [d_q, d_k, _] = thirds(&d_qkv, setting.heads)?;
        normalize_backward(self.q_norm.as_ref(), raw[0].as_ref(), &d_q, setting.pass)?;
        normalize_backward(self.k_norm.as_ref(), raw[1].as_ref(), &d_k, setting.pass)?;
        let d_qkv = match self.by_head {
            true => exchanged(&d_qkv, 3, setting.heads.heads, setting.heads.head_dim)?,
            false => d_qkv,
        };
        self.entry
            .backward(&x, &kept, &d_qkv, dx, below, setting.pass)
    }

    fn turn(&self, qkv: &Tensor, setting: &Setting<'_>, inverse: bool) -> Result<()> {
        let Some(table) = self.rotary.map(|index| &setting.tables[index]) else {
            return Ok(());
        };
        let turned = setting.heads.heads + setting.heads.kv_heads;
        let dim = setting.heads.head_dim;
        Ok(ops::rotary(
            qkv,
            table,
            setting.positions,
            turned,
            dim,
            inverse,
        )?)
    }
}

/// Rows [T, outer · inner · D] with inner before outer: [T, inner · outer · D].
fn exchanged(x: &Tensor, outer: usize, inner: usize, dim: usize) -> Result<Tensor> {
    let rows = x.dims()[0];
    let x = x.reshape((rows, outer, inner, dim))?.transpose(1, 2)?;
    Ok(x.contiguous()?.reshape((rows, outer * inner * dim))?)
}

/// Normalises a block of columns in place, in pieces as wide as the norm, and returns what it was.
fn normalize(norm: Option<&Norm>, block: &Tensor, pass: Pass) -> Result<Option<Tensor>> {
    let Some(norm) = norm else { return Ok(None) };
    let raw = ops::unwritten_tensor(block.dims())?;
    ops::assign(&raw, block)?;
    ops::place(block, &norm.forward(&pieces(&raw, norm)?, pass)?)?;
    Ok(Some(raw))
}

/// Turns the gradient of a normalised block into that of what it was, in place.
fn normalize_backward(
    norm: Option<&Norm>,
    raw: Option<&Tensor>,
    d_block: &Tensor,
    pass: Pass,
) -> Result<()> {
    let (Some(norm), Some(raw)) = (norm, raw) else {
        return Ok(());
    };
    let dy = ops::unwritten_tensor(raw.dims())?;
    ops::assign(&dy, d_block)?;
    let dx = Tensor::zeros_like(raw)?;
    norm.backward(
        &pieces(&dx, norm)?,
        &pieces(raw, norm)?,
        &pieces(&dy, norm)?,
        pass,
    )?;
    Ok(ops::place(d_block, &dx)?)
}

fn pieces(x: &Tensor, norm: &Norm) -> Result<Tensor> {
    let width = norm.weight.value.elem_count();
    Ok(x.reshape((x.elem_count() / width, width))?)
}

/// The columns of queries, keys and values.
pub(crate) fn thirds(qkv: &Tensor, heads: &Heads) -> Result<[Tensor; 3]> {
    let (q, kv) = (heads.q_width(), heads.kv_heads * heads.head_dim);
    Ok([
        qkv.narrow(1, 0, q)?,
        qkv.narrow(1, q, kv)?,
        qkv.narrow(1, q + kv, kv)?,
    ])
}
