use super::adapters::Adapters;
use super::linear::Kept;
use super::norm::Norm;
use super::ops::HeadsArgument;
use super::rows::{Device, Rows};
use super::section::{Entry, Exit, SavedExit};
use super::setting::Setting;
use crate::Result;
use crate::model;
use crate::ops::Activation;

/// One decoder layer.
#[derive(Debug)]
pub(crate) struct Block {
    qkv: Entry,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
    by_head: bool,
    window: i32,
    rotary: Option<usize>,
    out: Exit,
    up: Entry,
    activation: Activation,
    gated: bool,
    down: Exit,
}

/// What attention is given.
struct Projected {
    qkv: Rows,
    /// Queries and keys before their norms, side by side.
    raw: Option<Rows>,
    kept: Vec<Option<Kept>>,
}

/// What the backward pass of a layer needs.
pub(crate) struct Saved {
    x: Rows,
    qkv: Rows,
    /// Queries and keys before their norms, side by side.
    raw: Option<Rows>,
    qkv_kept: Vec<Option<Kept>>,
    attended: Rows,
    log_sums: Rows,
    out: SavedExit,
    middle: Rows,
    inner: Rows,
    up_kept: Vec<Option<Kept>>,
    down: SavedExit,
}

impl Block {
    pub(crate) fn place(
        device: &Device,
        block: &model::Block,
        adapters: &Adapters,
    ) -> Result<Self> {
        let (attention, feed_forward) = (&block.attention, &block.feed_forward);
        let norm = |norm: Option<&model::Norm>| {
            norm.map(|norm| Norm::place(device, norm, adapters))
                .transpose()
        };
        let (qkv, up) = (&attention.entry, &feed_forward.entry);
        let (out, down) = (&attention.exit, &feed_forward.exit);
        Ok(Self {
            qkv: Entry::place(device, (qkv.norm.as_ref(), &qkv.linears), adapters)?,
            q_norm: norm(attention.q_norm.as_ref())?,
            k_norm: norm(attention.k_norm.as_ref())?,
            by_head: attention.by_head,
            window: attention
                .window
                .map_or(0, |window| i32::try_from(window).unwrap_or(0)),
            rotary: attention.rotary,
            out: Exit::place(
                device,
                (&out.linear, out.norm.as_ref(), out.factor),
                adapters,
            )?,
            up: Entry::place(device, (up.norm.as_ref(), &up.linears), adapters)?,
            activation: feed_forward.activation,
            gated: feed_forward.gated,
            down: Exit::place(
                device,
                (&down.linear, down.norm.as_ref(), down.factor),
                adapters,
            )?,
        })
    }

    fn heads(&self, s: &Setting<'_>) -> HeadsArgument {
        HeadsArgument {
            window: self.window,
            ..s.heads
        }
    }

    fn turn(&self, qkv: &Rows, s: &Setting<'_>, inverse: bool) -> Result<()> {
        let Some((cos, sin)) = self.rotary.map(|index| &s.tables[index]) else {
            return Ok(());
        };
        let turned = (s.heads.heads + s.heads.kv_heads) as usize;
        s.device.rotary(
            qkv,
            s.positions,
            (cos, sin),
            (turned, s.heads.dim as usize),
            inverse,
        )
    }

    /// The columns of queries and of keys, and both.
    fn queries_and_keys(all: &Rows, s: &Setting<'_>) -> (Rows, Rows, Rows) {
        let (q, k) = (s.heads.heads * s.heads.dim, s.heads.kv_heads * s.heads.dim);
        let (q, k) = (q as usize, k as usize);
        (all.columns(0, q), all.columns(q, k), all.columns(0, q + k))
    }

    /// Queries, keys and values of `x` [T, H] as attention takes them, with what the backward pass needs of that.
    fn project(&self, x: &Rows, s: &Setting<'_>) -> Result<Projected> {
        let (mut qkv, kept) = self.qkv.forward(x, s)?;
        let dim = s.heads.dim as usize;
        if self.by_head {
            qkv = s.device.exchanged(&qkv, s.heads.heads as usize, 3, dim)?;
        }
        let (q, k, both) = Self::queries_and_keys(&qkv, s);
        let normed = self.q_norm.is_some() || self.k_norm.is_some();
        let raw = normed.then(|| s.device.copy(&both)).transpose()?;
        for (norm, part) in [(&self.q_norm, &q), (&self.k_norm, &k)] {
            if let Some(norm) = norm {
                norm.forward_into(s.device, part, part, s.pass)?;
            }
        }
        self.turn(&qkv, s, false)?;
        Ok(Projected { qkv, raw, kept })
    }

    /// `x` [T, H] to [T, H], with what the backward pass needs.
    pub(crate) fn forward(&self, x: Rows, s: &Setting<'_>) -> Result<(Rows, Saved)> {
        let Projected { qkv, raw, kept } = self.project(&x, s)?;
        let (attended, log_sums) = s.device.attention(&qkv, s.tiles, self.heads(s))?;
        let (middle, out) = self.out.forward(&x, &attended, s)?;
        let (inner, up_kept) = self.up.forward(&middle, s)?;
        let product = self.activated(&inner, s)?;
        let (y, down) = self.down.forward(&middle, &product, s)?;
        let saved = Saved {
            x,
            qkv,
            raw,
            qkv_kept: kept,
            attended,
            log_sums,
            out,
            middle,
            inner,
            up_kept,
            down,
        };
        Ok((y, saved))
    }

    /// As [`Self::forward`], outside training: `attend` makes of queries, keys and values what attention gives.
    pub(crate) fn write(
        &self,
        x: &Rows,
        s: &Setting<'_>,
        attend: impl FnOnce(Rows, HeadsArgument) -> Result<Rows>,
    ) -> Result<Rows> {
        let attended = attend(self.project(x, s)?.qkv, self.heads(s))?;
        let (middle, _) = self.out.forward(x, &attended, s)?;
        drop(attended);
        let (inner, _) = self.up.forward(&middle, s)?;
        let product = self.activated(&inner, s)?;
        drop(inner);
        Ok(self.down.forward(&middle, &product, s)?.0)
    }

    fn activated(&self, inner: &Rows, s: &Setting<'_>) -> Result<Rows> {
        let width = if self.gated {
            inner.width / 2
        } else {
            inner.width
        };
        let product = s.device.activations(inner.rows, width)?;
        s.device
            .activate(&product, inner, self.activation, self.gated)?;
        Ok(product)
    }

    /// Turns the gradient `dx` [T, H] of the output into that of the input, in place; with `below` false nothing under
    /// this layer trains, and `dx` is left unfinished.
    pub(crate) fn backward(
        &self,
        dx: &Rows,
        saved: Saved,
        s: &Setting<'_>,
        below: bool,
    ) -> Result<()> {
        let product = self.activated(&saved.inner, s)?;
        let d_product = self.down.backward(&product, &saved.down, dx, s)?;
        drop(product);
        s.device
            .activate_backward(&saved.inner, &d_product, self.activation, self.gated)?;
        drop(d_product);
        self.up
            .backward((&saved.middle, &saved.up_kept, &saved.inner), dx, true, s)?;

        let d_attended = self.out.backward(&saved.attended, &saved.out, dx, s)?;
        let attended = (&saved.attended, &saved.log_sums);
        let heads = self.heads(s);
        let mut d_qkv =
            s.device
                .attention_backward(&saved.qkv, attended, &d_attended, s.tiles, heads)?;
        drop(d_attended);
        self.turn(&d_qkv, s, true)?;
        if let Some(raw) = &saved.raw {
            let (q, k, _) = Self::queries_and_keys(&d_qkv, s);
            let of_raw = [raw.columns(0, q.width), raw.columns(q.width, k.width)];
            for ((norm, d), raw) in [(&self.q_norm, &q), (&self.k_norm, &k)]
                .into_iter()
                .zip(&of_raw)
            {
                if let Some(norm) = norm {
                    norm.backward(s.device, d, (raw, d), false, s.pass)?;
                }
            }
        }
        if self.by_head {
            d_qkv = s
                .device
                .exchanged(&d_qkv, 3, heads.heads as usize, heads.dim as usize)?;
        }
        self.qkv
            .backward((&saved.x, &saved.qkv_kept, &d_qkv), dx, below, s)
    }
}
