//! The decoder: its parts and its forward pass here, the loss in `head`, the gradients in `backward`.

mod backward;
mod head;

use candle_core::Tensor;

pub(crate) use self::head::{LOGITS, TokenLoss, Weigh};
use super::lora::Lora;
use super::setting::Setting;
use super::{Batch, Block, Description, Linear, Matrix, Norm, Parameter, Pass, TokenRows};
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
    /// As [`Self::saved_embedding`], of the learned positions.
    pub(crate) saved_positions: Option<Matrix>,
    /// Whether [`Self::saved_embedding`] is the head's copy too, in a model whose head is its embedding.
    pub(crate) ties_saved: bool,
    /// The embedding's adapter: A [r, V], B [H, r].
    pub(crate) embedding_lora: Option<Lora>,
    /// The head's adapter: A [r, H], B [V, r].
    pub(crate) head_lora: Option<Lora>,
    /// Rows of the embedding that an adapter has its own values for.
    pub(crate) embedding_tokens: Option<TokenRows>,
    /// As [`Self::embedding_tokens`], of the head.
    pub(crate) head_tokens: Option<TokenRows>,
    /// Whether embedding and head are those of an adapter's file, which is written with them again.
    pub(crate) replaced_ends: bool,
    /// Noise on the embeddings of a training pass (NEFTune, arXiv 2310.05914); 0 for none.
    pub(crate) neftune_noise_alpha: f64,
    /// Layers whose activations are kept at a time; those of other segments are computed again in the backward pass.
    /// 0 keeps those of all.
    pub(crate) segment: usize,
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

    /// Outputs and inputs of a matrix, elements of a vector.
    pub(crate) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Vector(vector) => vector.value.dims().to_vec(),
            Self::Matrix(matrix) => <[usize; 2]>::from(matrix.shape()).to_vec(),
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
            in_bf16: self.multiplies_bf16(),
            spans,
        }
    }

    /// Whether its layers' weights are in 16 bits, and the machine multiplies such.
    fn multiplies_bf16(&self) -> bool {
        let first = self.linears().next();
        first.is_some_and(|linear| linear.weight.is_half()) && ops::half_products()
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
    pub(super) fn embedding_in_use(&self, adapter: bool) -> &Matrix {
        let saved = self.saved_embedding.as_ref().filter(|_| adapter);
        saved.unwrap_or(&self.embedding)
    }

    /// The learned positions of a pass with or without the adapter: [P, H].
    fn positions_in_use(&self, adapter: bool) -> Option<&Matrix> {
        let saved = self.saved_positions.as_ref().filter(|_| adapter);
        saved.or(self.positions.as_ref())
    }

    /// The head of a pass with or without the adapter: [V, H].
    pub(super) fn head_in_use(&self, adapter: bool) -> &Matrix {
        let shared = self.saved_embedding.as_ref().filter(|_| self.ties_saved);
        let saved = self.saved_head.as_ref().or(shared).filter(|_| adapter);
        saved.unwrap_or_else(|| self.head_weight())
    }

    /// What the first layer is given for these tokens: [T, H].
    pub(crate) fn embed(&self, ids: &Tensor, positions: &Tensor, adapter: bool) -> Result<Tensor> {
        let mut x = self.embedding_in_use(adapter).gather(ids)?;
        if adapter {
            x = self.adapt_embedding(x, ids)?;
            if let Some(tokens) = &self.embedding_tokens {
                tokens.put(&x, ids)?;
            }
        }
        ops::scale(&x, self.description.embedding_scale)?;
        if let Some(table) = self.positions_in_use(adapter) {
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
        self.head_forward(&self.norm.forward(&x, pass)?, &logits, pass)?;
        Ok(logits)
    }

    /// The loss of each supervised token, in the batch's order of rows.
    pub(crate) fn token_losses(&self, batch: &Batch, adapter: bool) -> Result<Vec<TokenLoss>> {
        let pass = Pass {
            adapter,
            dropout: None,
        };
        let x = self.hidden(batch, pass)?;
        let normed = self.norm.forward(&ops::gather(&x, &batch.rows)?, pass)?;
        self.head_losses(&normed, &batch.targets, pass)
    }

    /// All linear layers that an adapter can sit on: every one but the head.
    pub(crate) fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.blocks.iter().flat_map(|block| block.linears())
    }

    /// As [`Self::linears`].
    pub(crate) fn linears_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.blocks.iter_mut().flat_map(|block| block.linears_mut())
    }

    /// All norms.
    pub(crate) fn norms(&self) -> impl Iterator<Item = &Norm> {
        let inner = self.blocks.iter().flat_map(Block::norms);
        inner.chain(std::iter::once(&self.norm))
    }

    /// As [`Self::norms`].
    pub(crate) fn norms_mut(&mut self) -> impl Iterator<Item = &mut Norm> {
        let inner = self.blocks.iter_mut().flat_map(Block::norms_mut);
        inner.chain(std::iter::once(&mut self.norm))
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

    /// The tensors of every adapter, then its rows of tokens and what it saves whole.
    pub(crate) fn adapter_parameters(&self) -> Vec<&Parameter> {
        self.linears()
            .filter_map(|linear| linear.lora.as_ref())
            .chain(self.end_loras())
            .flat_map(|lora| lora.parameters())
            .chain(self.token_parameters())
            .chain(self.saved_parameters())
            .collect()
    }

    /// The tensors of the modules that an adapter saves whole, and the biases that train with it.
    pub(crate) fn saved_parameters(&self) -> impl Iterator<Item = &Parameter> {
        let tables = [
            &self.saved_embedding,
            &self.saved_head,
            &self.saved_positions,
        ];
        let tables = tables.into_iter().flatten().filter_map(Matrix::parameter);
        tables
            .chain(self.linears().flat_map(Linear::saved_parameters))
            .chain(self.norms().flat_map(Norm::saved_parameters))
    }

    /// What the optimizer changes.
    pub(crate) fn trainable(&self) -> Vec<&Parameter> {
        let mut all: Vec<&Parameter> = self.base().iter().filter_map(Stored::parameter).collect();
        all.extend(self.adapter_parameters());
        all.retain(|parameter| parameter.grad.is_some());
        all
    }
}
