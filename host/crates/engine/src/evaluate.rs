//! How well a model, with or without an adapter, predicts held-out data.

use std::path::Path;

use candle_core::DType;
use domain::DataConfig;
use serde::Serialize;

use crate::{
    Error, Result, data,
    lora::read_adapter,
    model::{Batch, Decoder, Loading},
};

/// Tokens of one forward.
const BATCH_TOKENS: usize = 4096;

/// What an evaluation found; no figure is rounded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Mean loss of the tokens that carry a label, in nats.
    pub loss: f64,
    /// `exp(loss)`.
    pub perplexity: f64,
    /// The loss of all those tokens in bits, over the bytes of the text that they stand for. Unlike the loss it
    /// compares models with different tokenizers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_byte: Option<f64>,
    /// Tokens that carry a label.
    pub supervised_tokens: usize,
    /// Bytes of the text that they stand for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Sequences.
    pub samples: usize,
}

/// Measures the model of a folder, with an adapter where one is given, on every row of `data.path`.
///
/// # Errors
/// What [`data::load`] refuses, a model or adapter that cannot be read, and a loss that is not finite.
pub fn evaluate(model: &Path, adapter: Option<&Path>, data: &DataConfig) -> Result<Evaluation> {
    let mut samples = data::measured(data, model)?;
    let mut decoder = Decoder::load(model, Loading::frozen(DType::F32))?;
    if let Some(adapter) = adapter {
        read_adapter(&mut decoder, adapter, false)?;
    }
    // Sequences of like length cost least together; the sum does not depend on the order.
    samples.samples.sort_by_key(|sample| sample.input_ids.len());
    let (mut loss, mut tokens) = (0.0, 0);
    let mut rest = &samples.samples[..];
    while !rest.is_empty() {
        let mut held = 0;
        let count = rest
            .iter()
            .take_while(|sample| {
                held += sample.input_ids.len();
                held <= BATCH_TOKENS
            })
            .count()
            .max(1);
        let (now, later) = rest.split_at(count);
        let batch = Batch::new(now)?;
        loss += decoder.loss(&batch, adapter.is_some())?;
        tokens += batch.supervised;
        rest = later;
    }
    let mean = loss / tokens as f64;
    if !mean.is_finite() {
        return Err(Error::Input(format!(
            "{}: the loss on the data is not finite; the weights are damaged",
            model.display()
        )));
    }
    Ok(Evaluation {
        loss: mean,
        perplexity: mean.exp(),
        bits_per_byte: samples
            .bytes
            .filter(|bytes| *bytes > 0)
            .map(|bytes| loss / std::f64::consts::LN_2 / bytes as f64),
        supervised_tokens: tokens,
        bytes: samples.bytes,
        samples: samples.samples.len(),
    })
}
