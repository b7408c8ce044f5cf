use candle_core::Tensor;

use super::block::{Saved, Setting};
use super::lora::Lora;
use super::{Batch, Block, Description, Kept, Linear, Matrix, Norm, Parameter, Pass};
use crate::Result;
use crate::ops::{self, Heads, RotaryTable};

/// A decoder-only language model: embedding, layers, norm, head.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) description: Description,
    /// [V, H].
    pub(crate) embedding: Matrix,
    /// Learned positions, where the model has no rotary embedding: [P, H].
    pub(crate) positions: Option<Matrix>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: Norm,
    /// [V, H]; `None` where the head is the embedding.
    pub(crate) head: Option<Matrix>,
    /// An adapter's own copy of the embedding, where it trains it whole (PEFT's `modules_to_save`).
    pub(crate) saved_embedding: Option<Matrix>,
    /// As [`Self::saved_embedding`], of the head.
    pub(crate) saved_head: Option<Matrix>,
    /// The embedding's adapter: A [r, V], B [H, r].
    pub(crate) embedding_lora: Option<Lora>,
    /// The head's adapter: A [r, H], B [V, r].
    pub(crate) head_lora: Option<Lora>,
    /// Noise on the embeddings of a training pass (NEFTune, arXiv 2310.05914); 0 for none.
    pub(crate) neftune_noise_alpha: f64,
    /// Layers whose activations are kept at a time; those of other segments are computed again in the backward pass.
    /// 0 keeps those of all.
    pub(crate) segment: usize,
}

/// What the gradient of each supervised token's loss counts for.
pub(crate) enum Weigh<'a> {
    /// The same for all.
    Evenly(f32),
    /// Told once the losses are known: one weight for each, in the batch's order of rows.
    ByLosses(&'a mut dyn FnMut(&[f32]) -> Result<Vec<f32>>),
}

/// How well one supervised token was predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TokenLoss {
    /// In nats.
    pub(crate) loss: f32,
    /// No other token was likelier: greedy decoding would have written it.
    pub(crate) likeliest: bool,
}

/// Some rows behind the final norm, and their logits.
struct HeadChunk<'a> {
    from: usize,
    /// [n, H].
    normed: Tensor,
    /// [n].
    targets: Tensor,
    /// [n, V].
    logits: &'a Tensor,
    /// Of the head's adapter.
    kept: Option<Kept>,
    pass: Pass,
}

/// One tensor of the base.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stored<'a> {
    Vector(&'a Parameter),
    Matrix(&'a Matrix),
}

impl<'a> Stored<'a> {
    /// Its name in the checkpoint.
    pub(crate) fn name(&self) -> &'a str {
        match self {
            Self::Vector(vector) => &vector.name,
            Self::Matrix(matrix) => matrix.name(),
        }
    }

    /// Number of its elements.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Vector(vector) => vector.len(),
            Self::Matrix(matrix) => matrix.len(),
        }
    }

    /// Its values in f32; a copy where they are held otherwise.
    pub(crate) fn dense(&self) -> Result<Tensor> {
        match self {
            Self::Vector(vector) => Ok(vector.value.clone()),
            Self::Matrix(matrix) => matrix.dense(),
        }
    }

    /// The matrix, if it is one.
    pub(crate) fn matrix(&self) -> Option<&'a Matrix> {
        match self {
            Self::Vector(_) => None,
            Self::Matrix(matrix) => Some(matrix),
        }
    }

    /// The parameter that it is, where it is held in f32.
    pub(crate) fn parameter(&self) -> Option<&'a Parameter> {
        match self {
            Self::Vector(vector) => Some(vector),
            Self::Matrix(matrix) => matrix.parameter(),
        }
    }
}

/// Bytes of logits that are held at a time. More rows at once make a better matrix product; the whole of them would
/// be the largest tensor of the run.
pub(crate) const LOGITS: usize = 64 << 20;

impl Decoder {
    /// Heads of a batch with these spans.
    pub(crate) fn heads(&self, spans: std::sync::Arc<[ops::Span]>) -> Heads {
        let d = &self.description;
        Heads {
            heads: d.heads,
            kv_heads: d.kv_heads,
            head_dim: d.head_dim,
            scale: d.attention_scale,
            softcap: d.score_cap,
            window: None,
            spans,
        }
    }

    /// Cosines and sines for positions `from .. from + len` of each rotary embedding, where the longest sequence has
    /// `total` tokens.
    pub(crate) fn tables(&self, from: usize, len: usize, total: usize) -> Result<Vec<RotaryTable>> {
        let rotaries = self.description.rotaries.iter();
        rotaries
            .map(|rotary| rotary.table(from, len, total))
            .collect()
    }

    /// The embedding of a pass with or without the adapter: [V, H].
    fn embedding_in_use(&self, adapter: bool) -> &Matrix {
        let saved = self.saved_embedding.as_ref().filter(|_| adapter);
        saved.unwrap_or(&self.embedding)
    }

    /// The head of a pass with or without the adapter: [V, H].
    pub(super) fn head_in_use(&self, adapter: bool) -> &Matrix {
        let saved = self.saved_head.as_ref().filter(|_| adapter);
        saved.unwrap_or_else(|| self.head_weight())
    }

    /// What the first layer is given for these tokens: [T, H].
    pub(crate) fn embed(&self, ids: &Tensor, positions: &Tensor, adapter: bool) -> Result<Tensor> {
        let mut x = self.embedding_in_use(adapter).gather(ids)?;
        if adapter {
            x = self.adapt_embedding(x, ids)?;
        }
        ops::scale(&x, self.description.embedding_scale)?;
        if let Some(table) = &self.positions {
            ops::add(&x, &table.gather(positions)?)?;
        }
        Ok(x)
    }

    /// The weight of the head: [V, H].
    pub(crate) fn head_weight(&self) -> &Matrix {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// Output of the last layer, before the final norm: [T, H].
    fn hidden(&self, batch: &Batch, pass: Pass) -> Result<Tensor> {
        let heads = self.heads(batch.spans.clone());
        let tables = self.tables(0, batch.longest, batch.longest)?;
        let setting = Setting {
            heads: &heads,
            tables: &tables,
            positions: &batch.positions,
            pass,
        };
        let mut x = self.embed(&batch.ids, &batch.positions, pass.adapter)?;
        for block in &self.blocks {
            x = block.forward(x, &setting)?.0;
        }
        Ok(x)
    }

    /// Logits of every row: [T, V]. Training never holds them whole.
    pub(crate) fn logits(&self, batch: &Batch, adapter: bool) -> Result<Tensor> {
        let pass = Pass {
            adapter,
            dropout: None,
        };
        let x = self.hidden(batch, pass)?;
        let logits = ops::unwritten_tensor(&[batch.tokens, self.description.vocab])?;
        self.head_forward(&self.norm.forward(&x)?, &logits, pass)?;
        Ok(logits)
    }

    /// The loss of each supervised token, in the batch's order of rows.
    pub(crate) fn token_losses(&self, batch: &Batch, adapter: bool) -> Result<Vec<TokenLoss>> {
        let pass = Pass {
            adapter,
            dropout: None,
        };
        let x = self.hidden(batch, pass)?;
        let normed = self.norm.forward(&ops::gather(&x, &batch.rows)?)?;
        self.head_losses(&normed, &batch.targets, pass)
    }

    /// Sum of the losses of a batch's supervised tokens; adds `scale` times its gradient to all that trains.
    ///
    /// `scale` is 1 over the supervised tokens of the whole optimizer step, so that micro-batches weigh by tokens.
    pub(crate) fn loss_and_gradient(
        &self,
        batch: &Batch,
        scale: f32,
        dropout: Option<u64>,
    ) -> Result<f64> {
        self.weighted_loss_and_gradient(batch, &mut Weigh::Evenly(scale), dropout)
    }

    /// Sum of the losses of a batch's supervised tokens; adds the gradient of their weighted sum to all that trains.
    ///
    /// A loss that is some function of the tokens' losses (of a sequence's probability, say) is trained with its
    /// derivatives as weights.
    pub(crate) fn weighted_loss_and_gradient(
        &self,
        batch: &Batch,
        weigh: &mut Weigh<'_>,
        dropout: Option<u64>,
    ) -> Result<f64> {
        let pass = Pass {
            adapter: true,
            dropout,
        };
        let heads = self.heads(batch.spans.clone());
        let tables = self.tables(0, batch.longest, batch.longest)?;
        let setting = Setting {
            heads: &heads,
            tables: &tables,
            positions: &batch.positions,
            pass,
        };
        let lowest = self.lowest_trainable();

        let mut x = self.embed(&batch.ids, &batch.positions, pass.adapter)?;
        if let Some(seed) = dropout.filter(|_| self.neftune_noise_alpha > 0.0) {
            ops::add_noise(&x, &batch.spans, self.neftune_noise_alpha, seed)?;
        }
        for block in &self.blocks[..lowest] {
            x = block.forward(x, &setting)?.0;
        }
        let trained = &self.blocks[lowest..];
        let segment = match self.segment {
            0 => trained.len().max(1),
            layers => layers,
        };
        // Of all segments but the last only the input is kept.
        let mut borders = Vec::new();
        let mut saved: Vec<Saved> = Vec::with_capacity(segment.min(trained.len()));
        for (number, blocks) in trained.chunks(segment).enumerate() {
            let keeps = (number + 1) * segment >= trained.len();
            if !keeps {
                borders.push(x.clone());
            }
            for block in blocks {
                let (out, keep) = block.forward(x, &setting)?;
                x = out;
                if keeps {
                    saved.push(keep);
                }
            }
        }

        let chosen = ops::gather(&x, &batch.rows)?;
        drop(x);
        let normed = self.norm.forward(&chosen)?;
        let d_normed = ops::unwritten_tensor(normed.dims())?;
        let loss = self.head_gradient(&normed, &batch.targets, &d_normed, weigh, pass)?;
        drop(normed);
        let d_chosen = Tensor::zeros_like(&chosen)?;
        self.norm.backward(&d_chosen, &chosen, &d_normed)?;
        let shape = (batch.tokens, self.description.hidden);
        let dx = Tensor::zeros(shape, candle_core::DType::F32, d_chosen.device())?;
        ops::scatter_add(&dx, &batch.rows, &d_chosen)?;
        drop((chosen, d_chosen, d_normed));

        for (number, blocks) in trained.chunks(segment).enumerate().rev() {
            if saved.is_empty()
                && let Some(mut x) = borders.pop()
            {
                for block in blocks {
                    let (out, keep) = block.forward(x, &setting)?;
                    x = out;
                    saved.push(keep);
                }
            }
            for (index, block) in blocks.iter().enumerate().rev() {
                let keep = saved.pop().expect("one for each layer of the segment");
                let below = number + index > 0 || self.embedding_trains();
                block.backward(&dx, keep, &setting, below)?;
            }
        }
        if let Some(grad) = self.positions.as_ref().and_then(Matrix::grad) {
            ops::scatter_add(grad, &batch.positions, &dx)?;
        }
        if self.embedding_trains() {
            ops::scale(&dx, self.description.embedding_scale)?;
            if let Some(grad) = self.embedding_in_use(true).grad() {
                match self.without_padding(&batch.ids)? {
                    None => ops::scatter_add(grad, &batch.ids, &dx)?,
                    Some(rows) if rows.elem_count() == 0 => {}
                    Some(rows) => {
                        let ids = batch.ids.index_select(&rows, 0)?;
                        ops::scatter_add(grad, &ids, &ops::gather(&dx, &rows)?)?;
                    }
                }
            }
            self.adapt_embedding_back(&batch.ids, &dx)?;
        }
        Ok(loss)
    }

    /// Visits rows behind the final norm with their logits, a chunk at a time.
    fn head_chunks(
        &self,
        normed: &Tensor,
        targets: &Tensor,
        pass: Pass,
        visit: &mut dyn FnMut(HeadChunk<'_>) -> Result<()>,
    ) -> Result<()> {
        let rows = normed.dims()[0];
        let chunk = (LOGITS / 4 / self.description.vocab).clamp(16, rows.max(16));
        // One buffer for all chunks: it is the largest tensor of a step, too large for the allocator to keep.
        let buffer = ops::unwritten_tensor(&[chunk.min(rows), self.description.vocab])?;
        for from in (0..rows).step_by(chunk) {
            let len = chunk.min(rows - from);
            let (normed, targets) = (normed.narrow(0, from, len)?, targets.narrow(0, from, len)?);
            let logits = buffer.narrow(0, 0, len)?;
            // Each chunk drops other elements of its rows.
            let pass = Pass {
                dropout: pass.dropout.map(|seed| ops::seed_of(&[seed, from as u64])),
                ..pass
            };
            let kept = self.head_forward(&normed, &logits, pass)?;
            visit(HeadChunk {
                from,
                kept,
                pass,
                normed,
                targets,
                logits: &logits,
            })?;
        }
        Ok(())
    }

    /// Losses of rows behind the final norm.
    fn head_losses(&self, normed: &Tensor, targets: &Tensor, pass: Pass) -> Result<Vec<TokenLoss>> {
        let mut losses = Vec::with_capacity(normed.dims()[0]);
        self.head_chunks(normed, targets, pass, &mut |chunk| {
            let statistics = ops::cross_entropy(chunk.logits, &chunk.targets)?.to_vec2::<f32>()?;
            let likeliest = ops::is_largest(chunk.logits, &chunk.targets)?.to_vec1::<f32>()?;
            losses.extend(
                statistics
                    .iter()
                    .zip(likeliest)
                    .map(|(row, likeliest)| TokenLoss {
                        loss: row[0],
                        likeliest: likeliest == 1.0,
                    }),
            );
            Ok(())
        })?;
        Ok(losses)
    }

    /// Summed loss of rows behind the final norm; fills `d_normed` and adds the head's gradient.
    fn head_gradient(
        &self,
        normed: &Tensor,
        targets: &Tensor,
        d_normed: &Tensor,
        weigh: &mut Weigh<'_>,
        pass: Pass,
    ) -> Result<f64> {
        let d = &self.description;
        // Weights by losses need all losses first; the logits are computed again rather than kept.
        let weights = match weigh {
            Weigh::Evenly(scale) => vec![*scale; normed.dims()[0]],
            Weigh::ByLosses(weigh) => {
                let losses = self.head_losses(normed, targets, pass)?;
                weigh(&losses.iter().map(|token| token.loss).collect::<Vec<_>>())?
            }
        };
        let mut loss = 0f64;
        self.head_chunks(normed, targets, pass, &mut |chunk| {
            let statistics = ops::cross_entropy(chunk.logits, &chunk.targets)?;
            let losses = statistics.to_vec2::<f32>()?;
            loss += losses.iter().map(|row| f64::from(row[0])).sum::<f64>();
            let weights = &weights[chunk.from..chunk.from + losses.len()];
            // The gradient takes the logits' place, and a cap's slope depends on what it made of them.
            let capped = match d.logits_cap {
                Some(cap) => Some((cap, ops::copy(chunk.logits)?)),
                None => None,
            };
            ops::cross_entropy_gradient(chunk.logits, &statistics, &chunk.targets, weights)?;
            if let Some((cap, capped)) = capped {
                ops::soft_cap_backward(chunk.logits, &capped, cap)?;
            }
            let d_normed = d_normed.narrow(0, chunk.from, losses.len())?;
            let (kept, pass) = (chunk.kept.as_ref(), chunk.pass);
            self.head_backward(&chunk.normed, kept, chunk.logits, &d_normed, pass)?;
            Ok(())
        })?;
        Ok(loss)
    }

    /// Rows of a batch whose token is not the padding; `None` where none is.
    fn without_padding(&self, ids: &Tensor) -> Result<Option<Tensor>> {
        let Some(padding) = self.description.padding else {
            return Ok(None);
        };
        let all = ids.to_vec1::<u32>()?;
        if !all.contains(&padding) {
            return Ok(None);
        }
        let rows: Vec<u32> = (0..all.len() as u32)
            .filter(|&row| all[row as usize] != padding)
            .collect();
        let count = rows.len();
        Ok(Some(Tensor::from_vec(rows, count, ids.device())?))
    }

    /// Whether the embedding, or an adapter of it, trains.
    fn embedding_trains(&self) -> bool {
        let lora = self.embedding_lora.as_ref();
        self.embedding_in_use(true).grad().is_some()
            || lora.is_some_and(|lora| lora.a.grad.is_some())
    }

    /// Index of the lowest layer that holds something that trains: below it no gradient is needed.
    fn lowest_trainable(&self) -> usize {
        if self.embedding_trains() {
            return 0;
        }
        let trains = |block: &Block| {
            block
                .linears()
                .any(|linear| linear.lora.is_some() || linear.weight.grad().is_some())
        };
        self.blocks
            .iter()
            .position(trains)
            .unwrap_or(self.blocks.len())
    }

    /// All linear layers that an adapter can sit on: every one but the head.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.blocks.iter().flat_map(|block| block.linears())
    }

    /// As [`Self::linears`].
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.blocks.iter_mut().flat_map(|block| block.linears_mut())
    }

    /// Every tensor of the base, in the order of the layers.
    pub(crate) fn base(&self) -> Vec<Stored<'_>> {
        let mut all = vec![Stored::Matrix(&self.embedding)];
        all.extend(self.positions.as_ref().map(Stored::Matrix));
        for block in &self.blocks {
            all.extend(block.norms().flat_map(Norm::parameters).map(Stored::Vector));
            for linear in block.linears() {
                all.push(Stored::Matrix(&linear.weight));
                all.extend(linear.bias.as_ref().map(Stored::Vector));
            }
        }
        all.extend(self.norm.parameters().map(Stored::Vector));
        all.extend(self.head.as_ref().map(Stored::Matrix));
        all
    }

    /// The tensors of every adapter, then those that it saves whole.
    pub(crate) fn adapter_parameters(&self) -> Vec<&Parameter> {
        self.linears()
            .filter_map(|linear| linear.lora.as_ref())
            .chain(self.end_loras())
            .flat_map(|lora| lora.parameters())
            .chain(
                [&self.saved_embedding, &self.saved_head]
                    .into_iter()
                    .flatten()
                    .filter_map(Matrix::parameter),
            )
            .collect()
    }

    /// What the optimizer changes.
    pub(crate) fn trainable(&self) -> Vec<&Parameter> {
        let mut all: Vec<&Parameter> = self.base().iter().filter_map(Stored::parameter).collect();
        all.extend(self.adapter_parameters());
        all.retain(|parameter| parameter.grad.is_some());
        all
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::Sample;
    use crate::model::Loading;

    #[test]
    fn the_paddings_row_of_the_embedding_gets_what_it_gets_in_transformers() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures");
        let golden = std::fs::read(fixtures.join("padding/golden.json")).unwrap();
        let golden: serde_json::Value = serde_json::from_slice(&golden).unwrap();
        let ids: Vec<u32> = serde_json::from_value(golden["ids"].clone()).unwrap();
        let sample = Sample {
            labels: ids.iter().map(|id| i64::from(*id)).collect(),
            input_ids: ids,
        };
        for (case, rows) in golden["rows"].as_object().unwrap() {
            let loading = Loading {
                trainable: true,
                ..Loading::frozen(candle_core::DType::F32)
            };
            let decoder =
                Decoder::load(&fixtures.join("goldens").join(case).join("model"), loading);
            let decoder = decoder.unwrap();
            let batch = Batch::new([&sample]).unwrap();
            decoder.loss_and_gradient(&batch, 1.0 / 7.0, None).unwrap();
            let grad = decoder.embedding.grad().unwrap().to_vec2::<f32>().unwrap();
            for row in [0, 7] {
                let expected: Vec<f32> =
                    serde_json::from_value(rows[&row.to_string()].clone()).unwrap();
                for (got, expected) in grad[row].iter().zip(expected) {
                    assert!(
                        (got - expected).abs() < 1e-5,
                        "{case} row {row}: {got}, expected {expected}"
                    );
                }
            }
        }
    }
}
