//! An adapter merged into the weights that it adapts, in memory.

use candle_core::Tensor;

use super::lora::Lora;
use super::{Decoder, Matrix, Parameter};
use crate::{Error, Result, ops};

impl Decoder {
    /// Merges the adapter: `W + scale · B A`, with DoRA at the learned magnitudes. A pass with or without the adapter is
    /// then the same, and one with it costs no more than one without.
    ///
    /// # Errors
    /// The base is packed or in 16 bits, which would lose what the adapter learned.
    pub(crate) fn merge_adapter(&mut self) -> Result<()> {
        let tied_tokens = self.tokens_are_tied();
        for norm in self.norms_mut() {
            if let Some(saved) = norm.saved.take() {
                *norm = *saved;
            }
            norm.bias = norm.own_bias.take().or(norm.bias.take());
        }
        self.positions = self.saved_positions.take().or(self.positions.take());
        for linear in self.linears_mut() {
            if let Some(saved) = linear.saved.take() {
                (linear.weight, linear.bias) = (saved.weight, saved.bias);
            }
            linear.bias = linear.own_bias.take().or(linear.bias.take());
            if let Some(lora) = linear.lora.take() {
                linear.weight = merged(&linear.weight, &lora)?;
                linear.principal = None;
                if let Some(bias) = &lora.bias {
                    let added = (&bias.value * f64::from(lora.scale))?;
                    let sum = match &linear.bias {
                        Some(own) => (&own.value + added)?,
                        None => added,
                    };
                    linear.bias = Some(Parameter::frozen(format!("{}.bias", linear.name), sum));
                }
            }
        }
        // Embedding and head may be one weight: the head's is made before the embedding's changes.
        if let Some(lora) = self.head_lora.take() {
            if lora.bias.is_some() {
                let message = "the adapter's lora_bias of lm_head has no place in a merged model; generate without merging";
                return Err(Error::Input(message.into()));
            }
            self.head = Some(merged(self.head_weight(), &lora)?);
        }
        if let Some(tokens) = self.head_tokens.take() {
            self.head = Some(tokens.merged(self.head_weight())?);
        }
        let tied = self.head.is_none();
        if let Some(tokens) = self.embedding_tokens.take() {
            let own = tokens.merged(&self.embedding)?;
            let before = std::mem::replace(&mut self.embedding, own);
            if !tied_tokens && tied {
                self.head = Some(before);
            }
        }
        let saved = self.saved_head.take();
        let embedding = match (self.embedding_lora.take(), self.saved_embedding.take()) {
            (Some(lora), _) => Some(merged_embedding(&self.embedding, &lora)?),
            (None, saved) => saved,
        };
        if let Some(embedding) = embedding {
            let before = std::mem::replace(&mut self.embedding, embedding);
            if self.head.is_none() && !self.ties_saved {
                self.head = Some(before);
            }
        }
        if saved.is_some() {
            self.head = saved;
        }
        Ok(())
    }
}

fn values(weight: &Matrix) -> Result<Tensor> {
    match weight {
        Matrix::Dense(parameter) => Ok(ops::copy(&parameter.value)?),
        Matrix::Half(_) | Matrix::Packed(_) => Err(Error::Input(format!(
            "{}: an adapter is merged into weights in f32 alone; generate without merging, or export it merged",
            weight.name()
        ))),
    }
}

fn frozen(weight: &Matrix, values: Tensor) -> Matrix {
    Matrix::Dense(Parameter::frozen(weight.name().to_owned(), values))
}

fn merged(weight: &Matrix, lora: &Lora) -> Result<Matrix> {
    let sum = values(weight)?;
    let factors = match &lora.dora {
        Some(_) => Some(lora.factors(weight)?.of_magnitude),
        None => None,
    };
    ops::matmul_into(&sum, &lora.b.value, &lora.a.value, lora.scale, 1.0)?;
    Ok(frozen(
        weight,
        match factors {
            Some(factors) => sum.broadcast_mul(&factors.unsqueeze(1)?)?,
            None => sum,
        },
    ))
}

fn merged_embedding(weight: &Matrix, lora: &Lora) -> Result<Matrix> {
    let sum = values(weight)?;
    let factors = match &lora.dora {
        Some(_) => Some(lora.factors_of(|| lora.column_norms(weight))?.of_magnitude),
        None => None,
    };
    ops::matmul_into(
        &sum,
        &lora.a.value.t()?,
        &lora.b.value.t()?,
        lora.scale,
        1.0,
    )?;
    Ok(frozen(
        weight,
        match factors {
            Some(factors) => sum.broadcast_mul(&factors.unsqueeze(0)?)?,
            None => sum,
        },
    ))
}
