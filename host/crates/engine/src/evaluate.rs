//! How well a model, with or without an adapter, predicts held-out data.

use std::path::Path;

use domain::DataConfig;
use serde::Serialize;

use crate::{
    Error, Result, data,
    data::{IGNORED, Sample, TokenizerSource},
    generate::{Held, Placement},
    lora::read_adapter,
    model::{Batch, Decoder, TokenLoss},
    tokenizer::Tokenizer,
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
    /// Share of the completions that greedy decoding writes token by token as the data has them, to their end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_match: Option<f64>,
    /// The same of the middles of fill-in-the-middle samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fim_exact_match: Option<f64>,
    /// Tokens that carry a label.
    pub supervised_tokens: usize,
    /// Bytes of the text that they stand for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Sequences.
    pub samples: usize,
}

/// Measures the model of a folder, with an adapter where one is given, on every row of `data.path`, on the CPU in f32.
///
/// # Errors
/// What [`data::load`] refuses, a model or adapter that cannot be read, and a loss that is not finite.
pub fn evaluate(model: &Path, adapter: Option<&Path>, data: &DataConfig) -> Result<Evaluation> {
    evaluate_on(model, adapter, data, &Placement::default())
}

/// As [`evaluate`], where `placement` says.
///
/// # Errors
/// As [`evaluate`]; or the GPU that is named cannot be had, has no room for the model, or cannot do it.
pub fn evaluate_on(
    model: &Path,
    adapter: Option<&Path>,
    data: &DataConfig,
    placement: &Placement,
) -> Result<Evaluation> {
    let tokens = TokenizerSource::of(model, adapter)?;
    let mut samples = data::measured(data, tokens)?;
    let mut decoder = Decoder::load(model, placement.loading())?;
    if let Some(adapter) = adapter {
        read_adapter(&mut decoder, adapter, false)?;
    }
    let held = Held::place(decoder, placement)?;
    // Sequences of like length cost least together; the sum does not depend on the order.
    samples.samples.sort_by_key(|sample| sample.input_ids.len());
    let mut matches = Matches::new(tokens.folder());
    let (mut loss, mut tokens) = (0.0, 0);
    let mut rest = &samples.samples[..];
    let mut most = BATCH_TOKENS;
    while !rest.is_empty() {
        let mut sum = 0;
        let count = rest
            .iter()
            .take_while(|sample| {
                sum += sample.input_ids.len();
                sum <= most
            })
            .count()
            .max(1);
        let (now, later) = rest.split_at(count);
        let batch = Batch::new(now)?;
        let losses = match held.token_losses(&batch, adapter.is_some()) {
            // Less at a time may fit.
            Err(Error::DeviceMemory(_)) if count > 1 => {
                most = batch.tokens / 2;
                continue;
            }
            losses => losses?,
        };
        loss += losses
            .iter()
            .map(|token| f64::from(token.loss))
            .sum::<f64>();
        matches.add(&now.iter().collect::<Vec<_>>(), &losses);
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
        exact_match: matches.exact_match(),
        fim_exact_match: matches.fim_exact_match(),
        supervised_tokens: tokens,
        bytes: samples.bytes,
        samples: samples.samples.len(),
    })
}

/// Counts completions that greedy decoding would write exactly.
///
/// No token is generated for it: greedy decoding writes the reference if and only if each of its tokens is the
/// likeliest after those before it, and the forward pass of the loss shows that.
pub(crate) struct Matches {
    /// Tokens before a suffix and before the middle.
    sentinels: Option<[u32; 2]>,
    /// Exact ones and all, of completions and of middles.
    completions: (usize, usize),
    middles: (usize, usize),
}

impl Matches {
    /// Counts nothing yet; the folder's tokenizer, where there is one, tells the token before a middle.
    pub(crate) fn new(folder: &Path) -> Self {
        let tokenizer = Tokenizer::load(folder).ok();
        Self {
            sentinels: tokenizer
                .and_then(|found| data::fim_tokens(&found))
                // Where no token stands before the middle, the one before the prefix tells a middle from a completion.
                .map(|tokens| [tokens.suffix, tokens.middle.unwrap_or(tokens.prefix)]),
            completions: (0, 0),
            middles: (0, 0),
        }
    }

    /// Takes samples with the losses of their supervised tokens, one sample behind the other.
    ///
    /// The completion is the last stretch with labels behind a prompt; a sample that is learned from its first token
    /// on has none, unless a middle token stands in it.
    pub(crate) fn add(&mut self, samples: &[&Sample], losses: &[TokenLoss]) {
        let mut rest = losses;
        for sample in samples {
            let (own, later) = rest.split_at(sample.supervised_tokens());
            rest = later;
            let labels = &sample.labels;
            let Some(start) = self.answer(sample) else {
                continue;
            };
            let count = labels[start..]
                .iter()
                .filter(|label| **label != IGNORED)
                .count();
            if count == 0 || count > own.len() {
                continue;
            }
            let exact = own[own.len() - count..].iter().all(|token| token.likeliest);
            let counts = match self.place_of_middle(sample) {
                Some(_) => &mut self.middles,
                None => &mut self.completions,
            };
            counts.0 += usize::from(exact);
            counts.1 += 1;
        }
    }
}

impl Matches {
    /// Exact ones and all, of completions and of middles: to add up what several processes counted.
    pub(crate) fn counts_mut(&mut self) -> [&mut (usize, usize); 2] {
        [&mut self.completions, &mut self.middles]
    }

    /// Where a sample's last answer begins; `None` where it is learned from its first token on and no middle token
    /// stands in it.
    pub(crate) fn answer(&self, sample: &Sample) -> Option<usize> {
        let labels = &sample.labels;
        if labels.first() == Some(&IGNORED) {
            let end = labels.iter().rposition(|label| *label != IGNORED)?;
            let before = labels[..end].iter().rposition(|label| *label == IGNORED)?;
            return Some(before + 1);
        }
        // Learned whole: where the suffix comes first (SPM), nothing tells where the middle begins.
        let [suffix, _] = self.sentinels?;
        let suffix = sample.input_ids.iter().position(|id| *id == suffix)?;
        (suffix > 2)
            .then(|| self.place_of_middle(sample))
            .flatten()
            .map(|at| at + 1)
    }

    fn place_of_middle(&self, sample: &Sample) -> Option<usize> {
        let [_, middle] = self.sentinels?;
        sample.input_ids.iter().position(|id| *id == middle)
    }

    /// Share of exact completions; `None` where there was none to count.
    pub(crate) fn exact_match(&self) -> Option<f64> {
        share(self.completions)
    }

    /// Share of exact middles.
    pub(crate) fn fim_exact_match(&self) -> Option<f64> {
        share(self.middles)
    }
}

fn share((exact, all): (usize, usize)) -> Option<f64> {
    (all > 0).then(|| exact as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUFFIX: u32 = 91;
    const MIDDLE: u32 = 92;

    fn sample(input_ids: &[u32], given: usize) -> Sample {
        let label = |(at, id): (usize, &u32)| if at < given { IGNORED } else { i64::from(*id) };
        Sample {
            input_ids: input_ids.to_vec(),
            labels: input_ids.iter().enumerate().map(label).collect(),
        }
    }

    fn losses(likeliest: &[bool]) -> Vec<TokenLoss> {
        let of = |&likeliest| TokenLoss {
            loss: 1.0,
            likeliest,
        };
        likeliest.iter().map(of).collect()
    }

    fn counted(all: &[(Sample, &[bool])]) -> (Option<f64>, Option<f64>) {
        let mut matches = Matches {
            sentinels: Some([SUFFIX, MIDDLE]),
            completions: (0, 0),
            middles: (0, 0),
        };
        let samples: Vec<&Sample> = all.iter().map(|(sample, _)| sample).collect();
        let losses: Vec<TokenLoss> = all.iter().flat_map(|(_, found)| losses(found)).collect();
        matches.add(&samples, &losses);
        (matches.exact_match(), matches.fim_exact_match())
    }

    #[test]
    fn a_middle_counts_as_exact_where_each_of_its_tokens_is_the_likeliest() {
        // <pre> 1 <suf> 2 <mid> 3 4, of which 3 and 4 are learned.
        let middle = || sample(&[90, 1, SUFFIX, 2, MIDDLE, 3, 4], 5);
        let found = counted(&[(middle(), &[true, true]), (middle(), &[true, false])]);
        assert_eq!(found, (None, Some(0.5)));
        // Learned whole, only what follows the middle token counts; its first token has no loss.
        let whole = sample(&[90, 1, 5, SUFFIX, 2, MIDDLE, 3, 4], 0);
        let found = counted(&[(whole, &[false, false, false, false, false, true, true])]);
        assert_eq!(found, (None, Some(1.0)));
    }

    #[test]
    fn completions_and_middles_are_counted_apart() {
        let middle = sample(&[90, 1, SUFFIX, 2, MIDDLE, 3], 5);
        let completion = sample(&[1, 2, 3], 2);
        let found = counted(&[(completion, &[false]), (middle, &[true])]);
        assert_eq!(found, (Some(0.0), Some(1.0)));
    }
}
