use candle_core::Tensor;

use super::{Linear, Parameter, Pass};
use crate::Result;
use crate::ops::{self, Heads, RotaryTable};

/// One decoder layer: attention, then a gated feed-forward, each behind a norm and beside a residual.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) input_norm: Parameter,
    pub(crate) q: Linear,
    pub(crate) k: Linear,
    pub(crate) v: Linear,
    pub(crate) o: Linear,
    pub(crate) post_norm: Parameter,
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
    pub(crate) eps: f32,
}

/// What all layers of one forward share.
pub(crate) struct Setting<'a> {
    pub(crate) heads: &'a Heads,
    pub(crate) table: &'a RotaryTable,
    /// Rows of the table: [T].
    pub(crate) positions: &'a Tensor,
    pub(crate) pass: Pass,
}

/// What the backward pass of a layer needs. Norm outputs and the feed-forward's product are made anew: they cost a
/// pass over memory, where keeping them would cost a third more memory.
pub(crate) struct Saved {
    x: Tensor,
    /// After the rotary embedding.
    qkv: Tensor,
    attended: Tensor,
    middle: Tensor,
    gate_up: Tensor,
    low: [Option<Tensor>; 7],
}

impl Block {
    /// Queries, keys and values of `x` [T, H] side by side, turned by their positions.
    pub(crate) fn project(
        &self,
        x: &Tensor,
        setting: &Setting<'_>,
    ) -> Result<(Tensor, [Option<Tensor>; 3])> {
        let (heads, pass) = (setting.heads, setting.pass);
        let normed = ops::rms_norm(x, &self.input_norm.value, self.eps)?;
        let qkv = ops::unwritten_tensor(&[x.dims()[0], heads.qkv_width()])?;
        let [q, k, v] = thirds(&qkv, heads)?;
        let low = [
            self.q.forward(&normed, &q, false, pass)?,
            self.k.forward(&normed, &k, false, pass)?,
            self.v.forward(&normed, &v, false, pass)?,
        ];
        let turned = heads.heads + heads.kv_heads;
        ops::rotary(
            &qkv,
            setting.table,
            setting.positions,
            turned,
            heads.head_dim,
            false,
        )?;
        Ok((qkv, low))
    }

    /// The rest of the layer after attention: the residual, then the feed-forward.
    pub(crate) fn finish(
        &self,
        x: &Tensor,
        attended: &Tensor,
        pass: Pass,
    ) -> Result<(Tensor, Tensor, Tensor, [Option<Tensor>; 4])> {
        let middle = ops::copy(x)?;
        let low_o = self.o.forward(attended, &middle, true, pass)?;
        let normed = ops::rms_norm(&middle, &self.post_norm.value, self.eps)?;
        let width = self.gate.weight.outputs();
        let gate_up = ops::unwritten_tensor(&[x.dims()[0], 2 * width])?;
        let low_gate = self
            .gate
            .forward(&normed, &gate_up.narrow(1, 0, width)?, false, pass)?;
        let low_up = self
            .up
            .forward(&normed, &gate_up.narrow(1, width, width)?, false, pass)?;
        drop(normed);
        let product = ops::swiglu(&gate_up)?;
        let out = ops::copy(&middle)?;
        let low_down = self.down.forward(&product, &out, true, pass)?;
        Ok((out, middle, gate_up, [low_o, low_gate, low_up, low_down]))
    }

    /// `x` [T, H] to [T, H], with what the backward pass needs.
    pub(crate) fn forward(&self, x: Tensor, setting: &Setting<'_>) -> Result<(Tensor, Saved)> {
        let (qkv, [q, k, v]) = self.project(&x, setting)?;
        let attended = ops::attention(&qkv, setting.heads)?;
        let (out, middle, gate_up, [o, gate, up, down]) =
            self.finish(&x, &attended, setting.pass)?;
        let low = [q, k, v, o, gate, up, down];
        Ok((
            out,
            Saved {
                x,
                qkv,
                attended,
                middle,
                gate_up,
                low,
            },
        ))
    }

    /// Turns the gradient `dx` [T, H] of the output into that of the input, in place, and adds the gradients of what
    /// trains. With `below` false nothing under this layer trains, and `dx` is left unfinished.
    pub(crate) fn backward(
        &self,
        dx: &Tensor,
        saved: Saved,
        setting: &Setting<'_>,
        below: bool,
    ) -> Result<()> {
        let (heads, pass) = (setting.heads, setting.pass);
        let Saved {
            x,
            qkv,
            attended,
            middle,
            gate_up,
            low,
        } = saved;
        let [low_q, low_k, low_v, low_o, low_gate, low_up, low_down] = &low;
        let rows = x.dims()[0];
        let width = self.gate.weight.outputs();

        let product = ops::swiglu(&gate_up)?;
        let d_product = ops::unwritten_tensor(&[rows, width])?;
        self.down.backward(
            &product,
            low_down.as_ref(),
            dx,
            Some(&d_product),
            false,
            pass,
        )?;
        drop(product);
        ops::swiglu_backward(&gate_up, &d_product)?;
        drop(d_product);
        let (d_gate, d_up) = (
            gate_up.narrow(1, 0, width)?,
            gate_up.narrow(1, width, width)?,
        );
        let weight = &self.post_norm.value;
        let normed = ops::rms_norm(&middle, weight, self.eps)?;
        let d_normed = ops::unwritten_tensor(x.dims())?;
        self.gate.backward(
            &normed,
            low_gate.as_ref(),
            &d_gate,
            Some(&d_normed),
            false,
            pass,
        )?;
        self.up
            .backward(&normed, low_up.as_ref(), &d_up, Some(&d_normed), true, pass)?;
        drop((normed, d_gate, d_up, gate_up));
        ops::rms_norm_backward(dx, &middle, weight, &d_normed, self.eps)?;
        if let Some(grad) = &self.post_norm.grad {
            ops::rms_norm_weight_gradient(grad, &middle, &d_normed, self.eps)?;
        }
        drop(middle);

        let d_attended = ops::unwritten_tensor(attended.dims())?;
        self.o.backward(
            &attended,
            low_o.as_ref(),
            dx,
            Some(&d_attended),
            false,
            pass,
        )?;
        drop(attended);
        let d_qkv = ops::attention_backward(&qkv, &d_attended, heads)?;
        drop((qkv, d_attended));
        let turned = heads.heads + heads.kv_heads;
        ops::rotary(
            &d_qkv,
            setting.table,
            setting.positions,
            turned,
            heads.head_dim,
            true,
        )?;
        let [dq, dk, dv] = thirds(&d_qkv, heads)?;
        let weight = &self.input_norm.value;
        let normed = ops::rms_norm(&x, weight, self.eps)?;
        let needed = (below || self.input_norm.grad.is_some()).then_some(&d_normed);
        self.q
            .backward(&normed, low_q.as_ref(), &dq, needed, false, pass)?;
        self.k
            .backward(&normed, low_k.as_ref(), &dk, needed, true, pass)?;
        self.v
            .backward(&normed, low_v.as_ref(), &dv, needed, true, pass)?;
        if let Some(d_normed) = needed {
            ops::rms_norm_backward(dx, &x, weight, d_normed, self.eps)?;
            if let Some(grad) = &self.input_norm.grad {
                ops::rms_norm_weight_gradient(grad, &x, d_normed, self.eps)?;
            }
        }
        Ok(())
    }

    /// The linear layers, in the order in which PEFT finds them.
    pub(crate) fn linears(&self) -> [&Linear; 7] {
        [
            &self.q, &self.k, &self.v, &self.o, &self.gate, &self.up, &self.down,
        ]
    }

    /// As [`Self::linears`].
    pub(crate) fn linears_mut(&mut self) -> [&mut Linear; 7] {
        [
            &mut self.q,
            &mut self.k,
            &mut self.v,
            &mut self.o,
            &mut self.gate,
            &mut self.up,
            &mut self.down,
        ]
    }
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
