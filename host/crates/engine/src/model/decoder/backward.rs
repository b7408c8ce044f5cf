//! The backward pass: the layers in reverse, whole or in segments.

use candle_core::Tensor;

use super::{Decoder, Weigh};
use crate::Result;
use crate::model::block::Saved;
use crate::model::{Batch, Block, Linear, Matrix, Norm, Pass, Setting};
use crate::ops;

impl Decoder {
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
        let normed = self.norm.forward(&chosen, pass)?;
        let d_normed = ops::unwritten_tensor(normed.dims())?;
        let loss = self.head_gradient(&normed, &batch.targets, &d_normed, weigh, pass)?;
        drop(normed);
        let d_chosen = Tensor::zeros_like(&chosen)?;
        self.norm.backward(&d_chosen, &chosen, &d_normed, pass)?;
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
        if let Some(grad) = self.positions_in_use(true).and_then(Matrix::grad) {
            ops::scatter_add(grad, &batch.positions, &dx)?;
        }
        if self.embedding_trains() {
            ops::scale(&dx, self.description.embedding_scale)?;
            if let Some(grad) = self.embedding_in_use(true).grad() {
                self.add_to_tokens(grad, &batch.ids, &dx)?;
            }
            self.adapt_embedding_back(&batch.ids, &dx)?;
            if let Some(tokens) = &self.embedding_tokens {
                tokens.put_back(&dx, &batch.ids, self.description.padding)?;
            }
        }
        Ok(loss)
    }

    /// Adds `dy` [T, H] to the rows `ids` of `grad` [V, H], but for the padding's, which PyTorch's embeddings keep as it is.
    pub(in crate::model) fn add_to_tokens(
        &self,
        grad: &Tensor,
        ids: &Tensor,
        dy: &Tensor,
    ) -> Result<()> {
        match self.without_padding(ids)? {
            None => ops::scatter_add(grad, ids, dy)?,
            Some(rows) if rows.elem_count() == 0 => {}
            Some(rows) => {
                let ids = ids.index_select(&rows, 0)?;
                ops::scatter_add(grad, &ids, &ops::gather(dy, &rows)?)?;
            }
        }
        Ok(())
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

    /// Whether the embedding, an adapter or rows of it, or the learned positions train.
    pub(crate) fn embedding_trains(&self) -> bool {
        let lora = self.embedding_lora.as_ref();
        let tokens = self.embedding_tokens.as_ref();
        let positions = self.positions_in_use(true);
        self.embedding_in_use(true).grad().is_some()
            || positions.is_some_and(|positions| positions.grad().is_some())
            || lora.is_some_and(|lora| lora.a.grad.is_some())
            || tokens.is_some_and(|tokens| tokens.rows.grad.is_some())
    }

    /// Index of the lowest layer that holds something that trains: below it no gradient is needed.
    pub(crate) fn lowest_trainable(&self) -> usize {
        if self.embedding_trains() {
            return 0;
        }
        let trains =
            |block: &Block| block.linears().any(Linear::trains) || block.norms().any(Norm::trains);
        self.blocks
            .iter()
            .position(trains)
            .unwrap_or(self.blocks.len())
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
