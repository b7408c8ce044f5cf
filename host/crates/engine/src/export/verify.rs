//! Each export is read again and asked the same as the model that it was made of.

use std::path::Path;

use candle_core::DType;
use serde::Serialize;

use super::ExportDtype;
use crate::data::Sample;
use crate::model::{Batch, Decoder};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// Code, so that a code model is sure of itself; long enough for positions to matter.
const PROMPT: &str = "import math\n\n\nclass Circle:\n    def __init__(self, radius: float) -> None:\n        self.radius = radius\n\n    def area(self) -> float:\n        return math.pi * self.radius ** 2\n\n\ndef fibonacci(n: int) -> int:\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n";

/// Tokens that are compared at most.
const TOKENS: usize = 160;

/// What reading an export again showed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Verification {
    /// Tokens whose logits were compared.
    pub prompt_tokens: usize,
    /// Largest difference of a logit.
    pub max_abs_difference: f32,
    /// Root mean square of the differences over that of the logits around their mean.
    pub relative_error: f32,
    /// Largest relative error that the type of the weights explains.
    pub tolerance: f32,
    /// Share of positions at which both find the same token the likeliest.
    pub greedy_agreement: f32,
}

/// Logits of every position of the prompt: [T][V].
pub(super) struct Answers(Vec<Vec<f32>>);

/// Ids that are asked: the prompt, or where there is no tokenizer, fixed ones.
pub(super) fn prompt(tokenizer: Option<&Tokenizer>, decoder: &Decoder) -> Result<Vec<u32>> {
    let d = &decoder.description;
    let most = TOKENS.min(d.max_positions);
    let mut ids = match tokenizer {
        Some(tokenizer) => tokenizer.encode(PROMPT, true)?,
        None => (0..most)
            .map(|i| ((i * 37 + 11) % d.vocab) as u32)
            .collect(),
    };
    ids.truncate(most);
    ids.retain(|id| (*id as usize) < d.vocab);
    Ok(ids)
}

/// Asks a model, with its adapter.
pub(super) fn ask(decoder: &Decoder, ids: &[u32]) -> Result<Answers> {
    let sample = Sample {
        input_ids: ids.to_vec(),
        labels: vec![-100; ids.len()],
    };
    let batch = Batch::new([&sample])?;
    Ok(Answers(decoder.logits(&batch, true)?.to_vec2()?))
}

/// Reads the vocabulary of a GGUF again; a sentence where it cuts the prompt otherwise than the folder's.
pub(super) fn vocabulary(written: &Path, tokenizer: &Tokenizer) -> Option<String> {
    let ids = |tokenizer: &Tokenizer| tokenizer.encode(PROMPT, true).ok();
    let own = match Tokenizer::load(written) {
        Ok(own) => own,
        Err(error) => {
            return Some(format!(
                "the vocabulary of the GGUF was not read again: {error}"
            ));
        }
    };
    (ids(&own) != ids(tokenizer)).then(|| {
        "the vocabulary of the GGUF, read again, cuts text otherwise than the model's tokenizer"
            .to_owned()
    })
}

/// Compares what an export answers with what it should.
///
/// # Errors
/// The answers differ by more than `dtype` explains: the export must not be used.
pub(super) fn compare(
    output: &Path,
    expected: &Answers,
    got: &Answers,
    dtype: ExportDtype,
) -> Result<Verification> {
    let (mut largest, mut differences, mut spread, mut agreed) = (0f32, 0f64, 0f64, 0usize);
    let mut finite = expected.0.len() == got.0.len();
    for (expected, got) in expected.0.iter().zip(&got.0) {
        let mean = expected.iter().map(|x| f64::from(*x)).sum::<f64>() / expected.len() as f64;
        for (expected, got) in expected.iter().zip(got) {
            let difference = (expected - got).abs();
            finite &= difference.is_finite();
            largest = largest.max(difference);
            differences += f64::from(difference).powi(2);
            spread += (f64::from(*expected) - mean).powi(2);
        }
        agreed += usize::from(likeliest(expected) == likeliest(got));
    }
    let verification = Verification {
        prompt_tokens: expected.0.len(),
        max_abs_difference: largest,
        relative_error: (differences / spread.max(f64::MIN_POSITIVE)).sqrt() as f32,
        tolerance: tolerance(dtype),
        greedy_agreement: agreed as f32 / expected.0.len().max(1) as f32,
    };
    if !finite || verification.relative_error > verification.tolerance {
        let message = format!(
            "was read again and does not answer as base and adapter do: over {} tokens the logits differ by up to {largest} (relative error {}, {} is allowed for this type), and {:.0} % of the likeliest tokens agree; do not use it",
            verification.prompt_tokens,
            verification.relative_error,
            verification.tolerance,
            100.0 * verification.greedy_agreement,
        );
        return Err(Error::Compute(format!("{}: {message}", output.display())));
    }
    Ok(verification)
}

fn likeliest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
}

/// A wrong layout, scale or name gives an error of about 1; what remains below is rounding, which grows with depth.
fn tolerance(dtype: ExportDtype) -> f32 {
    match dtype {
        ExportDtype::F32 => 1e-3,
        ExportDtype::F16 => 1e-2,
        ExportDtype::Bf16 => 5e-2,
        ExportDtype::Q8_0 => 1e-1,
        ExportDtype::Q4K => 5e-1,
    }
}

/// The type in which a decoder holds weights of this type. f16 and quantized values are held in f32: products of 16-bit
/// weights round what they are multiplied with to bf16, more coarsely than what is checked here.
pub(super) fn held(dtype: ExportDtype) -> DType {
    match dtype {
        ExportDtype::Bf16 => DType::BF16,
        ExportDtype::F32 | ExportDtype::F16 | ExportDtype::Q8_0 | ExportDtype::Q4K => DType::F32,
    }
}
