//! The adapters of a decoder's two ends, embedding and head, as PEFT computes them.

use candle_core::{DType, Tensor};

use super::linear::Kept;
use super::lora::{Decomposed, Lora};
use super::{Decoder, Layer, Pass};
use crate::Result;
use crate::ops;

impl Decoder {
    /// Adds to `x` [T, H], rows of the embedding, what the embedding's adapter makes of them: `scale · A[:, id]ᵀ Bᵀ`, with A
    /// [r, V] and B [H, r]; with DoRA the columns of the sum get the learned lengths. Dropout does not touch it.
    pub(super) fn adapt_embedding(&self, x: Tensor, ids: &Tensor) -> Result<Tensor> {
        let Some(lora) = &self.embedding_lora else {
            return Ok(x);
        };
        let low = lora.a.value.index_select(ids, 1)?;
        ops::matmul_into(&x, &low.t()?, &lora.b.value.t()?, lora.scale, 1.0)?;
        if lora.dora.is_none() {
            return Ok(x);
        }
        let factors = lora.factors_of(|| lora.column_norms(&self.embedding))?;
        let out = ops::unwritten_tensor(x.dims())?;
        ops::columns(&out, &x, &factors.of_magnitude, false)?;
        Ok(out)
    }

    /// Adds the gradients of the embedding's adapter, given that of what [`Self::adapt_embedding`] returned: [T, H].
    pub(super) fn adapt_embedding_back(&self, ids: &Tensor, dy: &Tensor) -> Result<()> {
        let Some(lora) = &self.embedding_lora else {
            return Ok(());
        };
        let low = lora.a.value.index_select(ids, 1)?;
        let scaled = match &lora.dora {
            None => None,
            Some(_) => {
                let product = self.embedding.gather(ids)?;
                ops::matmul_into(&product, &low.t()?, &lora.b.value.t()?, lora.scale, 1.0)?;
                let factors = lora.factors_of(|| lora.column_norms(&self.embedding))?;
                let decomposed = Decomposed { factors, product };
                Some(decomposed.backward(lora, dy)?)
            }
        };
        let dy = scaled.as_ref().unwrap_or(dy);
        if let Some(grad) = &lora.b.grad {
            ops::matmul_into(grad, &dy.t()?, &low.t()?, lora.scale, 1.0)?;
        }
        if let Some(grad) = &lora.a.grad {
            let d_low = ops::matmul(dy, &lora.b.value)?;
            ops::scale(&d_low, lora.scale)?;
            let (rank, vocab) = grad.dims2()?;
            let rows = Tensor::zeros((vocab, rank), DType::F32, grad.device())?;
            self.add_to_tokens(&rows, ids, &d_low)?;
            ops::add(grad, &rows.t()?.contiguous()?)?;
        }
        Ok(())
    }

    /// The head with its adapter.
    pub(super) fn head_layer(&self, pass: Pass) -> Layer<'_> {
        Layer {
            weight: self.head_in_use(pass.adapter),
            bias: None,
            lora: self.head_lora.as_ref(),
            principal: None,
        }
    }

    /// Logits of rows behind the final norm, into `logits` [N, V]. Returns what the backward pass needs of an adapter.
    pub(crate) fn head_forward(
        &self,
        normed: &Tensor,
        logits: &Tensor,
        pass: Pass,
    ) -> Result<Option<Kept>> {
        let d = &self.description;
        let adapted = pass.adapter && self.head_lora.is_some();
        let kept = match adapted {
            true => {
                let kept = self.head_layer(pass).forward(normed, logits, false, pass)?;
                ops::scale(logits, d.logits_scale)?;
                kept
            }
            false => {
                let head = self.head_in_use(pass.adapter);
                head.product(logits, normed, d.logits_scale, 0.0)?;
                if let Some(tokens) = self.head_tokens_in_use().filter(|_| pass.adapter) {
                    tokens.head(normed, logits, d.logits_scale)?;
                }
                None
            }
        };
        if let Some(cap) = d.logits_cap {
            ops::soft_cap(logits, cap)?;
        }
        Ok(kept)
    }

    /// Writes the gradient of `normed` [N, H] and adds the head's, given that of the logits before their cap [N, V], which
    /// is changed.
    pub(super) fn head_backward(
        &self,
        normed: &Tensor,
        kept: Option<&Kept>,
        d_logits: &Tensor,
        d_normed: &Tensor,
        pass: Pass,
    ) -> Result<()> {
        let factor = self.description.logits_scale;
        let layer = self.head_layer(pass);
        if kept.is_some() {
            ops::scale(d_logits, factor)?;
            return layer.backward(normed, kept, d_logits, Some(d_normed), false, pass);
        }
        let tokens = self.head_tokens_in_use().filter(|_| pass.adapter);
        let own = tokens
            .map(|tokens| tokens.head_back(d_logits))
            .transpose()?;
        layer.weight.product_back(d_normed, d_logits, factor, 0.0)?;
        if let Some(grad) = layer.weight.grad() {
            ops::matmul_into(grad, &d_logits.t()?, normed, factor, 1.0)?;
        }
        match tokens.zip(own) {
            Some((tokens, own)) => tokens.head_gradient(normed, &own, d_normed, factor),
            None => Ok(()),
        }
    }

    /// Adapters of embedding and head.
    pub(crate) fn end_loras(&self) -> impl Iterator<Item = &Lora> {
        [&self.embedding_lora, &self.head_lora]
            .into_iter()
            .flatten()
    }
}
