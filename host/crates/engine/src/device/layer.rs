use super::adapters::Adapters;
use super::linear::{Kept, Linear};
use super::matrix::vector;
use super::ops::{HeadsArgument, NormShape, Tiles};
use super::rows::{Bytes, Device, Rows};
use crate::Result;
use crate::model::{self, NormKind, Pass};
use crate::ops::Activation;

/// A norm over rows, or over pieces of them.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Rows,
    bias: Option<Rows>,
    offset: f32,
    eps: f32,
}

impl Norm {
    pub(crate) fn place(device: &Device, norm: &model::Norm) -> Result<Self> {
        Ok(Self {
            weight: vector(device, &norm.weight)?,
            bias: norm
                .bias
                .as_ref()
                .map(|bias| vector(device, bias))
                .transpose()?,
            offset: match norm.kind {
                NormKind::RmsPlusOne => 1.0,
                NormKind::Rms | NormKind::Layer => 0.0,
            },
            eps: norm.eps,
        })
    }

    fn shape(&self, x: &Rows) -> NormShape {
        NormShape {
            pieces: x.width / self.weight.len().max(1),
            offset: self.offset,
            eps: self.eps,
        }
    }

    /// Writes the norm of `x` into `y`, which may be `x`.
    fn forward_into(&self, device: &Device, y: &Rows, x: &Rows) -> Result<()> {
        device.norm(y, x, &self.weight, self.bias.as_ref(), self.shape(x))
    }

    pub(crate) fn forward(&self, device: &Device, x: &Rows) -> Result<Rows> {
        let y = device.activations(x.rows, x.width)?;
        self.forward_into(device, &y, x)?;
        Ok(y)
    }

    /// Writes the gradient of `x` into `dx`, or adds it; `dx` may be `dy`.
    pub(crate) fn backward(
        &self,
        device: &Device,
        dx: &Rows,
        (x, dy): (&Rows, &Rows),
        add: bool,
    ) -> Result<()> {
        let weight = (&self.weight, self.bias.is_some());
        device.norm_backward(dx, (x, dy), weight, self.shape(x), add)
    }
}

/// What every layer of a pass is given.
pub(crate) struct Setting<'a> {
    pub(crate) device: &'a Device,
    pub(crate) adapters: &'a Adapters,
    /// As every layer has them, but for the window.
    pub(crate) heads: HeadsArgument,
    pub(crate) tiles: &'a Tiles,
    /// Cosines and sines, one pair for each rotary embedding that the model has.
    pub(crate) tables: &'a [(Rows, Rows)],
    pub(crate) positions: &'a Bytes,
    pub(crate) pass: Pass,
}

/// A norm, where there is one, then linear layers whose outputs lie side by side.
#[derive(Debug)]
struct Entry {
    norm: Option<Norm>,
    linears: Vec<Linear>,
}

impl Entry {
    fn place(
        device: &Device,
        (norm, linears): (Option<&model::Norm>, &[model::Linear]),
        adapters: &Adapters,
    ) -> Result<Self> {
        let linears = linears
            .iter()
            .map(|linear| Linear::place(device, linear, adapters));
        Ok(Self {
            norm: norm.map(|norm| Norm::place(device, norm)).transpose()?,
            linears: linears.collect::<Result<_>>()?,
        })
    }

    fn normed(&self, device: &Device, x: &Rows) -> Result<Rows> {
        match &self.norm {
            Some(norm) => norm.forward(device, x),
            None => Ok(x.clone()),
        }
    }

    /// Each linear layer with its columns.
    fn parts<'a>(&'a self, all: &'a Rows) -> impl Iterator<Item = (&'a Linear, Rows)> {
        let mut from = 0;
        self.linears.iter().map(move |linear| {
            let part = all.columns(from, linear.weight.outputs());
            from += part.width;
            (linear, part)
        })
    }

    fn forward(&self, x: &Rows, s: &Setting<'_>) -> Result<(Rows, Vec<Option<Kept>>)> {
        let normed = self.normed(s.device, x)?;
        let width = self
            .linears
            .iter()
            .map(|linear| linear.weight.outputs())
            .sum();
        let out = s.device.activations(x.rows, width)?;
        let kept = self
            .parts(&out)
            .map(|(linear, y)| linear.forward(s.device, s.adapters, (&normed, &y), false, s.pass))
            .collect::<Result<_>>()?;
        Ok((out, kept))
    }

    /// Adds the gradient of `x` to `dx`, unless nothing below needs one, and those of the adapters.
    fn backward(
        &self,
        (x, kept, dy): (&Rows, &[Option<Kept>], &Rows),
        dx: &Rows,
        below: bool,
        s: &Setting<'_>,
    ) -> Result<()> {
        let normed = self.normed(s.device, x)?;
        let d_normed = below
            .then(|| s.device.activations(x.rows, x.width))
            .transpose()?;
        for (index, (linear, dy)) in self.parts(dy).enumerate() {
            let given = (&normed, kept[index].as_ref(), &dy);
            linear.backward(
                s.device,
                s.adapters,
                given,
                d_normed.as_ref(),
                index > 0,
                s.pass,
            )?;
        }
        match (&self.norm, d_normed) {
            (Some(norm), Some(d_normed)) => norm.backward(s.device, dx, (x, &d_normed), true),
            (None, Some(d_normed)) => s.device.add_scaled(dx, &d_normed, 1.0, 1.0),
            (_, None) => Ok(()),
        }
    }
}

/// A linear layer, a norm where there is one, and a factor; added to the residual stream.
#[derive(Debug)]
struct Exit {
    linear: Linear,
    norm: Option<Norm>,
    factor: f32,
}

struct SavedExit {
    kept: Option<Kept>,
    raw: Option<Rows>,
}

impl Exit {
    fn place(
        device: &Device,
        (linear, norm, factor): (&model::Linear, Option<&model::Norm>, f32),
        adapters: &Adapters,
    ) -> Result<Self> {
        Ok(Self {
            linear: Linear::place(device, linear, adapters)?,
            norm: norm.map(|norm| Norm::place(device, norm)).transpose()?,
            factor,
        })
    }

    fn is_plain(&self) -> bool {
        self.norm.is_none() && self.factor == 1.0
    }

    fn forward(&self, x: &Rows, inner: &Rows, s: &Setting<'_>) -> Result<(Rows, SavedExit)> {
        let out = s.device.copy(x)?;
        if self.is_plain() {
            let kept = self
                .linear
                .forward(s.device, s.adapters, (inner, &out), true, s.pass)?;
            return Ok((out, SavedExit { kept, raw: None }));
        }
        let raw = s.device.activations(x.rows, x.width)?;
        let kept = self
            .linear
            .forward(s.device, s.adapters, (inner, &raw), false, s.pass)?;
        let Some(norm) = &self.norm else {
            s.device.add_scaled(&out, &raw, 1.0, self.factor)?;
            return Ok((out, SavedExit { kept, raw: None }));
        };
        let normed = norm.forward(s.device, &raw)?;
        s.device.add_scaled(&out, &normed, 1.0, self.factor)?;
        let raw = Some(raw);
        Ok((out, SavedExit { kept, raw }))
    }

    /// Gradient of `inner`, given that of the sum.
    fn backward(
        &self,
        inner: &Rows,
        saved: &SavedExit,
        dy: &Rows,
        s: &Setting<'_>,
    ) -> Result<Rows> {
        let d_inner = s.device.activations(inner.rows, inner.width)?;
        let mut d_raw = dy.clone();
        if !self.is_plain() {
            d_raw = s.device.activations(dy.rows, dy.width)?;
            s.device.add_scaled(&d_raw, dy, 0.0, self.factor)?;
            if let (Some(norm), Some(raw)) = (&self.norm, &saved.raw) {
                norm.backward(s.device, &d_raw, (raw, &d_raw), false)?;
            }
        }
        let given = (inner, saved.kept.as_ref(), &d_raw);
        self.linear
            .backward(s.device, s.adapters, given, Some(&d_inner), false, s.pass)?;
        Ok(d_inner)
    }
}

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
        let norm =
            |norm: Option<&model::Norm>| norm.map(|norm| Norm::place(device, norm)).transpose();
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

    /// `x` [T, H] to [T, H], with what the backward pass needs.
    pub(crate) fn forward(&self, x: Rows, s: &Setting<'_>) -> Result<(Rows, Saved)> {
        let (mut qkv, qkv_kept) = self.qkv.forward(&x, s)?;
        let dim = s.heads.dim as usize;
        if self.by_head {
            qkv = s.device.exchanged(&qkv, s.heads.heads as usize, 3, dim)?;
        }
        let (q, k, both) = Self::queries_and_keys(&qkv, s);
        let normed = self.q_norm.is_some() || self.k_norm.is_some();
        let raw = normed.then(|| s.device.copy(&both)).transpose()?;
        for (norm, part) in [(&self.q_norm, &q), (&self.k_norm, &k)] {
            if let Some(norm) = norm {
                norm.forward_into(s.device, part, part)?;
            }
        }
        self.turn(&qkv, s, false)?;
        let (attended, log_sums) = s.device.attention(&qkv, s.tiles, self.heads(s))?;
        let (middle, out) = self.out.forward(&x, &attended, s)?;
        let (inner, up_kept) = self.up.forward(&middle, s)?;
        let product = self.activated(&inner, s)?;
        let (y, down) = self.down.forward(&middle, &product, s)?;
        let saved = Saved {
            x,
            qkv,
            raw,
            qkv_kept,
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
                    norm.backward(s.device, d, (raw, d), false)?;
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
