use std::path::{Path, PathBuf};

use domain::{DataFormat, Method, RunConfig};

use crate::Result;
use crate::data::{Pair, Sample, Stream, TokenizerSource, drop_unsupervised};

/// How long something is that a run trains on: a sequence, a pair, or a batch row of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Tokens.
    pub(crate) tokens: u64,
    /// Tokens whose logits are computed.
    pub(crate) scored: u64,
}

/// How long the data of a run is.
#[derive(Debug)]
pub(crate) struct Lengths {
    pub(crate) train: Train,
    pub(crate) eval: Vec<Extent>,
    /// Bytes of the data that is in memory.
    pub(crate) bytes: u64,
}

/// How long what is trained on is.
#[derive(Debug)]
pub(crate) enum Train {
    /// Samples or pairs in memory.
    Held(Vec<Extent>),
    /// What is read while training.
    Streamed {
        /// The rows of each step that was looked at.
        steps: Vec<Vec<Extent>>,
        /// The longest row that may come after those; `None` where all was looked at.
        rest: Option<Extent>,
    },
}

/// Tokens of a stream that are looked at: some seconds of reading.
const LOOKED_AT: u64 = 5_000_000;

/// Bytes that a tokenizer in memory takes for each of its file: its vocabulary both ways, and its merges.
const TOKENIZER: u64 = 6;

impl std::ops::AddAssign for Extent {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.scored += other.scored;
    }
}

impl Extent {
    pub(super) fn of(sample: &Sample) -> Self {
        Self {
            tokens: sample.input_ids.len() as u64,
            scored: sample.supervised_tokens() as u64,
        }
    }

    /// ORPO also learns the whole chosen sequence, prompt and all.
    pub(super) fn of_pair(pair: &Pair, orpo: bool) -> Self {
        let mut both = Self::of(&pair.chosen);
        if orpo {
            both.scored = both.tokens.saturating_sub(1);
        }
        both += Self::of(&pair.rejected);
        both
    }
}

impl Lengths {
    /// Reads and encodes the data of a run as the run will.
    ///
    /// # Errors
    /// The data cannot be used, or nothing of it would be learned.
    pub(crate) fn of_run(config: &RunConfig) -> Result<Self> {
        let folder = PathBuf::from(config.model.path.as_deref().unwrap_or_default());
        let seed = config.train.seed;
        let adapter = config.lora.init_adapter.as_deref().map(Path::new);
        let tokens = TokenizerSource::of(&folder, adapter)?;
        if config.train.method.is_paired() {
            let (train, eval) = crate::data::load_pairs(&config.data, tokens, seed, &mut |_| {})?;
            let orpo = config.train.method == Method::Orpo;
            let of = |pairs: &[Pair]| -> Vec<Extent> {
                pairs
                    .iter()
                    .map(|pair| Extent::of_pair(pair, orpo))
                    .collect()
            };
            let sequences = train.iter().chain(&eval);
            return Ok(Self {
                bytes: sequences
                    .flat_map(|pair| [&pair.chosen, &pair.rejected])
                    .map(held)
                    .sum(),
                train: Train::Held(of(&train)),
                eval: of(&eval),
            });
        }
        if config.data.streaming {
            return Self::of_stream(config, tokens, LOOKED_AT);
        }
        let data = crate::data::load(&config.data, tokens, seed)?;
        let (mut train, mut eval) = (data.train, data.eval);
        // As the run will; what it leaves out, it says itself.
        drop_unsupervised(&mut train);
        drop_unsupervised(&mut eval);
        if train.is_empty() {
            return Err(crate::Error::NoSupervisedToken(
                "no token would be trained on; check data.train_on and data.max_seq_length".into(),
            ));
        }
        Ok(Self {
            bytes: train.iter().chain(&eval).map(held).sum(),
            train: Train::Held(train.iter().map(Extent::of).collect()),
            eval: eval.iter().map(Extent::of).collect(),
        })
    }

    /// Reads what the run will, up to so many tokens. A row that is not seen may be as long as rows can be, so that
    /// a limit holds to the end of the run.
    fn of_stream(config: &RunConfig, tokens: TokenizerSource<'_>, most: u64) -> Result<Self> {
        let mut stream = Stream::open(&config.data, tokens, config.train.seed)?;
        let mut eval = stream.held_out()?;
        drop_unsupervised(&mut eval);
        let rows =
            config.train.batch_size as usize * config.train.gradient_accumulation_steps as usize;
        let (mut steps, mut looked_at, mut epochs) = (Vec::new(), 0u64, 0f64);
        while (steps.len() as u64) < config.train.max_steps && looked_at < most {
            let (taken, done) = stream.take(rows)?;
            epochs = done;
            let step: Vec<Extent> = taken
                .iter()
                .map(|row| {
                    let mut sum = Extent::default();
                    row.iter().for_each(|sample| sum += Extent::of(sample));
                    sum
                })
                .collect();
            looked_at += step.iter().map(|row| row.tokens).sum::<u64>();
            steps.push(step);
        }
        let seen = steps.len() as u64 >= config.train.max_steps || epochs >= 1.0;
        let longest = u64::from(config.data.max_seq_length);
        let rest = (!seen).then_some(Extent {
            tokens: longest,
            scored: longest - 1,
        });
        let tokenizer = match config.data.format {
            DataFormat::Tokenized => 0,
            _ => std::fs::metadata(tokens.folder().join("tokenizer.json"))
                .map_or(0, |file| file.len()),
        };
        Ok(Self {
            bytes: stream.largest_buffer()
                + eval.iter().map(held).sum::<u64>()
                + TOKENIZER * tokenizer,
            train: Train::Streamed { steps, rest },
            eval: eval.iter().map(Extent::of).collect(),
        })
    }
}

/// Bytes of a sample in memory.
pub(crate) fn held(sample: &Sample) -> u64 {
    12 * sample.input_ids.len() as u64 + 64
}

#[cfg(test)]
mod tests {
    use super::super::shape::Shape;
    use super::*;

    #[test]
    fn rows_of_a_stream_that_were_not_looked_at_count_as_long_as_they_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let row = |len: usize| {
            let ids: Vec<usize> = (3..3 + len).collect();
            serde_json::json!({ "input_ids": ids, "labels": ids }).to_string() + "\n"
        };
        let rows: String = (0..12).map(|at| row(8 + at)).collect();
        std::fs::write(&path, rows).unwrap();
        let mut config = RunConfig::default();
        config.data.path = Some(path.display().to_string());
        config.data.format = DataFormat::Tokenized;
        config.data.max_seq_length = 64;
        config.data.streaming = true;
        config.data.shuffle = false;
        config.train.batch_size = 3;
        config.train.max_steps = 4;
        let model = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../../tests/fixtures/goldens/qwen2/model");
        let shape = |most: u64, batch: u32| {
            let lengths = Lengths::of_stream(&config, (&model).into(), most).unwrap();
            let shape = Shape::of(&config, &lengths, batch);
            (shape.tokens, shape.scored)
        };
        // The last step: rows of 17, 18 and 19 tokens.
        assert_eq!(shape(1_000, 3), (54, 51));
        assert_eq!(shape(1_000, 1), (19, 18));
        assert_eq!(shape(20, 3), (3 * 64, 3 * 63));
    }
}
