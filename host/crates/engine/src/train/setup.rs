use std::path::{Path, PathBuf};

use candle_core::DType;
use domain::{Method, ModelDtype, Quantize, RunConfig, RunEvent};
use sha2::{Digest, Sha256};

use super::checkpoint::Checkpoint;
use super::preference::{Preference, values};
use crate::data::{self, Pair, Sample, Stream, TokenizerSource};
use crate::lora::{Base, Settings, attach, differing, read_adapter};
use crate::model::{Decoder, Loading, Matrix, Stored, check_folder};
use crate::{Error, Result};

/// A run that is ready for its next step.
pub(super) struct Setup {
    pub(super) folder: PathBuf,
    /// Where the tokenizer is: the model's folder, or that of the adapter to go on from, where it brought one.
    pub(super) tokenizer_folder: PathBuf,
    pub(super) decoder: Decoder,
    /// `None` for method full.
    pub(super) lora: Option<Settings>,
    pub(super) base: Base,
    /// What is trained on; with `stream`, the samples of the present step.
    pub(super) train: Vec<Sample>,
    /// Set with `data.streaming`, until the trainer takes it.
    pub(super) stream: Option<Stream>,
    pub(super) eval: Vec<Sample>,
    /// What is trained on and held out for preference tuning, in place of samples.
    pub(super) pairs: Vec<Pair>,
    pub(super) eval_pairs: Vec<Pair>,
    /// The loss over pairs, for preference tuning.
    pub(super) preference: Option<Preference>,
    /// Digest of what is trained on, so that a checkpoint is not gone on from with other data.
    pub(super) data_digest: String,
}

/// The candle type of a config's.
pub(super) fn dtype(dtype: ModelDtype) -> DType {
    match dtype {
        ModelDtype::F32 => DType::F32,
        ModelDtype::F16 => DType::F16,
        ModelDtype::Bf16 => DType::BF16,
    }
}

/// Loads data, model and adapter; from a checkpoint, where there is one to go on from.
pub(super) fn set_up(
    config: &RunConfig,
    checkpoint: Option<&Checkpoint>,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Setup> {
    let mixed = config.data.mix.values();
    let mixed = mixed.map(|mixed| (&mixed.repo, "data.mix"));
    let named = [
        (&config.model.repo, "model.repo"),
        (&config.data.repo, "data.repo"),
    ];
    for (repo, field) in named.into_iter().chain(mixed) {
        if repo.is_some() {
            let message = "must be fetched before a run (hub::local)";
            return Err(domain::FieldErrors::one(field, message).into());
        }
    }
    let folder = PathBuf::from(config.model.path.as_deref().unwrap_or_default());
    check_folder(&folder)?;
    let init_adapter = config.lora.init_adapter.as_deref().map(Path::new);
    let tokens = TokenizerSource::of(&folder, init_adapter)?;
    let paired = config.train.method.is_paired();
    let (mut train, mut eval, mut pairs, mut eval_pairs) = (vec![], vec![], vec![], vec![]);
    let mut stream = None;
    if paired {
        let tell = &mut |line| log(emit, line);
        (pairs, eval_pairs) =
            crate::data::load_pairs(&config.data, tokens, config.train.seed, tell)?;
    } else if config.data.streaming {
        let opened = open_stream(config, tokens, emit)?;
        eval = learnable(opened.held_out()?, emit);
        stream = Some(opened);
    } else {
        let data = crate::data::load(&config.data, tokens, config.train.seed)?;
        if data.report.format == domain::DataFormat::Preference {
            let message = "preference needs train.method = \"dpo\", \"cpo\" or \"orpo\"";
            return Err(domain::FieldErrors::one("data.format", message).into());
        }
        log(emit, data.report.summary());
        let details = data.report.details();
        details.into_iter().for_each(|line| log(emit, line));
        (train, eval) = (learnable(data.train, emit), learnable(data.eval, emit));
    }
    if train.is_empty() && pairs.is_empty() && stream.is_none() {
        return Err(Error::NoSupervisedToken(format!(
            "{}: no token would be trained on; check data.train_on and data.max_seq_length",
            config.data.path.as_deref().unwrap_or("data"),
        )));
    }
    let (trained, held_out) = (train.len() + pairs.len(), eval.len() + eval_pairs.len());
    let what = if paired { "pairs" } else { "samples" };
    if stream.is_none() {
        log(
            emit,
            format!("{trained} {what} to train on, {held_out} held out"),
        );
    }
    let full = config.train.method == Method::Full;
    let mut decoder = Decoder::load(
        match checkpoint {
            Some(checkpoint) if full => checkpoint.folder(),
            _ => &folder,
        },
        Loading {
            dtype: dtype(config.model.dtype),
            quantize: config.model.quantize,
            trainable: full,
            random: (config.model.random_init && checkpoint.is_none()).then_some(config.train.seed),
        },
    )?;
    decoder.neftune_noise_alpha = config.train.neftune_noise_alpha;
    if let Some(quantize) = config.model.quantize.filter(|_| !full) {
        log(emit, packing(&decoder, quantize));
    }
    // DPO that goes on with an adapter holds to it as it began, as TRL does.
    let mut reference = None;
    if let (Method::Dpo, Some(adapter)) = (config.train.method, &config.lora.init_adapter) {
        read_adapter(&mut decoder, Path::new(adapter), true)?;
        reference = Some(values(&decoder)?);
    }
    let lora = match (full, checkpoint, &config.lora.init_adapter) {
        (true, ..) => None,
        (false, Some(checkpoint), from) => {
            let settings = read_adapter(&mut decoder, checkpoint.folder(), true)?;
            // An adapter to go on from brought its own, and is in the checkpoint by now.
            if from.is_none()
                && let Some(setting) = differing(&decoder, &settings, &config.lora)
            {
                return Err(checkpoint.changed(setting));
            }
            Some(settings)
        }
        (false, None, Some(adapter)) => Some(read_adapter(&mut decoder, Path::new(adapter), true)?),
        (false, None, None) => {
            let settings = Settings::of_run(&config.lora);
            attach(&mut decoder, &settings, config.train.seed)?;
            Some(settings)
        }
    };
    // An adapter may have brought another number of tokens.
    let of_pairs = answers(&pairs).chain(answers(&eval_pairs));
    check_lengths(&decoder, train.iter().chain(&eval).chain(of_pairs))?;
    if stream.is_some() {
        check_longest(&decoder, config.data.max_seq_length as usize)?;
    }
    let base = match full {
        true => Base::default(),
        false => Base::of_folder(&folder)?,
    };
    // Packing changes which samples make a step: a checkpoint of the one is none of the other.
    let packed = if config.data.packing { "-packed" } else { "" };
    let data_digest = match &stream {
        Some(stream) => stream.digest()?,
        None => digest(train.iter().chain(answers(&pairs))) + packed,
    };
    let preference = Preference::of_run(&config.train, reference);
    Ok(Setup {
        tokenizer_folder: tokens.folder().to_owned(),
        folder,
        decoder,
        lora,
        base,
        train,
        stream,
        eval,
        pairs,
        eval_pairs,
        preference,
        data_digest,
    })
}

/// What packing made of the base, in a sentence.
fn packing(decoder: &Decoder, quantize: Quantize) -> String {
    let matrices: Vec<&Matrix> = decoder.base().iter().filter_map(Stored::matrix).collect();
    let bytes: u64 = matrices.iter().map(|matrix| matrix.bytes()).sum();
    let weights: u64 = matrices.iter().map(|matrix| matrix.len()).sum();
    let word = match quantize {
        Quantize::Nf4 => "nf4",
        Quantize::Q4k => "q4k",
        Quantize::Q8_0 => "q8_0",
    };
    format!(
        "the base is packed as {word}, embedding and head included: {:.1} MB, {:.3} bytes a weight",
        bytes as f64 / 1e6,
        bytes as f64 / weights.max(1) as f64,
    )
}

impl Setup {
    /// Samples or pairs to train on.
    pub(super) fn examples(&self) -> usize {
        self.train.len() + self.pairs.len()
    }

    /// Tokens of each sample or pair in memory.
    pub(super) fn lengths(&self) -> Vec<usize> {
        let of_pair = |pair: &Pair| pair.chosen.input_ids.len() + pair.rejected.input_ids.len();
        let samples = self.train.iter().map(|sample| sample.input_ids.len());
        samples.chain(self.pairs.iter().map(of_pair)).collect()
    }

    /// Tokens of one epoch that carry a label; 0 where they are not counted.
    pub(super) fn supervised_tokens(&self) -> u64 {
        let all = self.train.iter().chain(answers(&self.pairs));
        all.map(|sample| sample.supervised_tokens() as u64).sum()
    }
}

/// Both sequences of each pair.
fn answers(pairs: &[Pair]) -> impl Iterator<Item = &Sample> {
    pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected])
}

/// Says one line in the run's log.
pub(super) fn log(emit: &mut dyn FnMut(RunEvent), message: String) {
    emit(RunEvent::Log { message });
}

/// The samples that something can be learned from; says how many are left out.
fn learnable(mut samples: Vec<Sample>, emit: &mut dyn FnMut(RunEvent)) -> Vec<Sample> {
    let without = data::drop_unsupervised(&mut samples);
    if without > 0 {
        log(
            emit,
            format!("{without} samples without a supervised token were left out"),
        );
    }
    samples
}

/// Opens data that is read while training goes on.
fn open_stream(
    config: &RunConfig,
    tokens: TokenizerSource<'_>,
    emit: &mut dyn FnMut(RunEvent),
) -> Result<Stream> {
    let stream = Stream::open(&config.data, tokens, config.train.seed)?;
    let notes = stream.notes();
    notes.for_each(|note| log(emit, note.clone()));
    let rows = config.data.shuffle_buffer;
    log(
        emit,
        format!(
            "the data is read while training goes on, {rows} rows at a time; it is not counted before"
        ),
    );
    Ok(stream)
}

fn check_longest(decoder: &Decoder, len: usize) -> Result<()> {
    let positions = decoder.description.max_positions;
    if len <= positions {
        return Ok(());
    }
    let message = format!(
        "is too long: a sample has {len} tokens, and the model has {positions} positions (max_position_embeddings)"
    );
    Err(domain::FieldErrors::one("data.max_seq_length", message).into())
}

fn check_lengths<'a>(decoder: &Decoder, samples: impl Iterator<Item = &'a Sample>) -> Result<()> {
    let vocab = decoder.description.vocab;
    for sample in samples {
        let len = sample.input_ids.len();
        check_longest(decoder, len)?;
        let label = sample
            .labels
            .iter()
            .find(|&&label| label != crate::data::IGNORED && label as u64 >= vocab as u64);
        if let Some(id) = sample.input_ids.iter().find(|&&id| id as usize >= vocab) {
            return Err(Error::Input(format!(
                "the data holds token {id}, but the model's vocabulary ends at {}",
                vocab - 1
            )));
        }
        if let Some(label) = label {
            return Err(Error::Input(format!(
                "the data holds label {label}, but the model's vocabulary ends at {}",
                vocab - 1
            )));
        }
    }
    Ok(())
}

fn digest<'a>(samples: impl Iterator<Item = &'a Sample>) -> String {
    let mut hasher = Sha256::new();
    for sample in samples {
        hasher.update((sample.input_ids.len() as u64).to_le_bytes());
        for (id, label) in sample.input_ids.iter().zip(&sample.labels) {
            hasher.update(id.to_le_bytes());
            hasher.update(label.to_le_bytes());
        }
    }
    crate::files::hex(&hasher.finalize())
}
