//! The tokenizer of a model folder: text to ids and back, its special tokens, its chat template.
//!
//! [`Tokenizer`] reads what Python's `transformers` writes (`tokenizer.json`, `tokenizer_config.json`,
//! `chat_template.jinja`); [`train_tokenizer`] makes a new one, [`extend()`] adds tokens to a model's.

mod config;
mod extend;
mod quick;
mod resize;
mod train;

#[cfg(test)]
mod tests;

use std::{fs, path::Path, sync::Arc};

use crate::gguf::{Gguf, is_gguf};
use crate::{Error, Result};

pub use config::SpecialTokens;
pub use extend::{Extended, Extension, extend};
pub use resize::NewRows;
pub use train::{
    BpeTraining, TokenizerModel, TokenizerTraining, TrainedTokenizer, train_bpe, train_tokenizer,
};

/// A tokenizer with what its folder says about special tokens and conversations.
///
/// Truncation and padding that a `tokenizer.json` may carry are off: cutting is the caller's decision and is
/// always reported.
#[derive(Clone)]
pub struct Tokenizer {
    /// Without its post-processor, so that offsets are exact (`ByteLevel` trims blanks off them) and special
    /// tokens are added here, in one place.
    inner: tokenizers::Tokenizer,
    /// The same ids sooner, where the tokenizer is of the kind for which that can be done.
    quick: Option<Arc<quick::Quick>>,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    byte_level: bool,
    special: SpecialTokens,
    eos_ids: Vec<u32>,
    chat_templates: Vec<(String, String)>,
}

/// A stretch of text and whether it is to be learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Its tokens carry a label.
    pub trained: bool,
}

impl Piece {
    /// A piece of text that is given, not learned.
    pub fn given(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            trained: false,
        }
    }

    /// A piece of text that is learned.
    pub fn trained(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            trained: true,
        }
    }
}

/// Bytes of a text, from and to, that a token stands for.
pub type Offsets = (usize, usize);

impl Tokenizer {
    /// Reads `tokenizer.json` and what stands beside it in a model folder.
    ///
    /// # Errors
    /// A missing or damaged file, named.
    pub fn load(model_dir: &Path) -> Result<Self> {
        if is_gguf(model_dir) {
            return Self::of_gguf(model_dir);
        }
        let path = model_dir.join("tokenizer.json");
        if !path.is_file() {
            return Err(Error::file(
                model_dir,
                "holds no tokenizer.json; save the tokenizer there with Transformers' \
                 AutoTokenizer.save_pretrained, or make one with `codetune tokenizer train`",
            ));
        }
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let described = config::read(model_dir)?;
        Self::of_parts(&path, &bytes, described)
    }

    /// The tokenizer of a model with an adapter: that of [`tokenizer_folder`], which ends texts where the model's configs say,
    /// too.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn of(model: &Path, adapter: Option<&Path>) -> Result<Self> {
        let folder = tokenizer_folder(model, adapter);
        let mut tokenizer = Self::load(folder)?;
        if folder != model && !is_gguf(model) {
            let mut more = config::read(model)?.eos_ids;
            more.retain(|id| !tokenizer.eos_ids.contains(id));
            tokenizer.eos_ids.append(&mut more);
        }
        Ok(tokenizer)
    }

    /// The tokenizer in a GGUF file's metadata; where that is of a kind that is not supported, the `tokenizer.json`
    /// beside the file.
    fn of_gguf(path: &Path) -> Result<Self> {
        let file = Gguf::open(path)?;
        match crate::gguf::tokenizer(&file) {
            Ok((tokenizer, described)) => {
                let (_, model) = crate::gguf::config(&file)?;
                let described = config::of_json(&described, &[model], Vec::new());
                Self::of_parts(path, tokenizer.to_string().as_bytes(), described)
            }
            Err(error) => match path.parent() {
                Some(folder) if folder.join("tokenizer.json").is_file() => Self::load(folder),
                _ => Err(error),
            },
        }
    }

    fn of_parts(path: &Path, bytes: &[u8], described: config::Described) -> Result<Self> {
        let mut inner = parsed(bytes, path)?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| Error::file(path, format!("{error}")))?;
        let (prefix, suffix) = added_around(&inner, path)?;
        let json: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|error| Error::file(path, format!("is no tokenizer: {error}")))?;
        let byte_level = splits_bytes(&json["pre_tokenizer"]);
        inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        let mut eos_ids = described.eos_ids;
        if let Some(eos) = &described.special.eos {
            let id = inner.token_to_id(eos).ok_or_else(|| {
                let message = format!(
                    "does not hold the eos_token {eos:?}, which tokenizer_config.json names"
                );
                Error::file(path, message)
            })?;
            // What the tokenizer says comes first: it is the one that is appended.
            eos_ids.retain(|other| *other != id);
            eos_ids.insert(0, id);
        }
        let quick = quick::Quick::new(&json, &inner).map(Arc::new);
        Ok(Self {
            inner,
            quick,
            prefix,
            suffix,
            byte_level,
            special: described.special,
            eos_ids,
            chat_templates: described.chat_templates,
        })
    }

    /// Ids of `text`, with the tokens that the tokenizer puts around every text (such as a BOS) when `special`.
    ///
    /// # Errors
    /// [`Error::Input`] where the tokenizer fails.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let ids = match self.quickly(text, false) {
            Some(tokens) => tokens.ids,
            None => self
                .inner
                .encode_fast(text, false)
                .map_err(|error| Error::Input(format!("the tokenizer failed: {error}")))?
                .get_ids()
                .to_vec(),
        };
        if !special {
            return Ok(ids);
        }
        Ok([&self.prefix[..], &ids, &self.suffix[..]].concat())
    }

    /// Ids of `text` and the bytes of it, from and to, that each stands for.
    ///
    /// # Errors
    /// [`Error::Input`] where the tokenizer fails.
    pub fn encode_offsets(&self, text: &str) -> Result<(Vec<u32>, Vec<Offsets>)> {
        if let Some(tokens) = self.quickly(text, true) {
            return Ok((tokens.ids, tokens.offsets));
        }
        let encoding = self
            .inner
            .encode(text, false)
            .map_err(|error| Error::Input(format!("the tokenizer failed: {error}")))?;
        Ok((encoding.get_ids().to_vec(), encoding.get_offsets().to_vec()))
    }

    fn quickly(&self, text: &str, offsets: bool) -> Option<quick::Tokens> {
        self.quick.as_ref()?.encode(&self.inner, text, offsets)
    }

    /// Ids of the joined pieces and, for each, whether it belongs to a trained piece.
    ///
    /// The text is encoded as a whole. Where a token would reach over an edge between given and trained text, a
    /// byte-level tokenizer encodes the pieces on their own instead: the prompt then has the very tokens that it
    /// has when the model is asked to go on from it. Another kind of tokenizer cannot be split without changing
    /// the text, so there such a token counts as trained.
    ///
    /// # Errors
    /// [`Error::Input`] where the tokenizer fails.
    pub fn encode_pieces(&self, pieces: &[Piece]) -> Result<(Vec<u32>, Vec<bool>)> {
        let pieces = merged(pieces);
        if let [only] = &pieces[..] {
            let ids = self.encode(&only.text, false)?;
            let mask = vec![only.trained; ids.len()];
            return Ok((ids, mask));
        }
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        let (ids, offsets) = self.encode_offsets(&text)?;
        let mut edges = Vec::with_capacity(pieces.len());
        let mut end = 0;
        for piece in &pieces {
            end += piece.text.len();
            edges.push(end);
        }
        let crosses = |&(from, to): &(usize, usize)| {
            let edge = edges.partition_point(|edge| *edge <= from);
            edges.get(edge).is_some_and(|edge| *edge < to)
        };
        if self.byte_level && offsets.iter().any(crosses) {
            let (mut ids, mut mask) = (Vec::new(), Vec::new());
            for piece in &pieces {
                ids.extend(self.encode(&piece.text, false)?);
                mask.resize(ids.len(), piece.trained);
            }
            return Ok((ids, mask));
        }
        let mask = offsets
            .iter()
            .map(|&(from, to)| {
                let first = edges.partition_point(|edge| *edge <= from);
                let last = edges.partition_point(|edge| *edge < to.max(from + 1));
                pieces[first.min(pieces.len() - 1)..=last.min(pieces.len() - 1)]
                    .iter()
                    .any(|piece| piece.trained)
            })
            .collect();
        Ok((ids, mask))
    }

    /// Text of `ids`; bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// [`Error::Input`] where the tokenizer fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        self.inner
            .decode(ids, skip_special)
            .map_err(|error| Error::Input(format!("the tokenizer failed: {error}")))
    }

    /// Tokens that are put before every text, such as a BOS.
    pub fn prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// Tokens that are put after every text; empty with nearly every decoder model.
    pub fn suffix(&self) -> &[u32] {
        &self.suffix
    }

    /// The token that ends a document, where one is known.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos_ids.first().copied()
    }

    /// Every token after which generation stops.
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos_ids
    }

    /// Names of the special tokens.
    pub fn special_tokens(&self) -> &SpecialTokens {
        &self.special
    }

    /// The Jinja template for conversations, where the folder holds one: of several, the one called `default`.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_templates()
            .find_map(|(name, source)| (name == "default").then_some(source))
    }

    /// All chat templates of the folder by name.
    pub fn chat_templates(&self) -> impl Iterator<Item = (&str, &str)> {
        self.chat_templates
            .iter()
            .map(|(name, source)| (name.as_str(), source.as_str()))
    }

    /// Ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// A token as it stands in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id of a token as it stands in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token is an added special token, such as an end of turn.
    pub fn is_special(&self, id: u32) -> bool {
        self.inner
            .get_added_vocabulary()
            .get_added_tokens_decoder()
            .get(&id)
            .is_some_and(|token| token.special)
    }

    /// Added tokens with their ids, in the order of the ids.
    pub fn added_tokens(&self) -> Vec<(u32, String)> {
        let mut added: Vec<_> = self
            .inner
            .get_added_tokens_decoder()
            .into_iter()
            .map(|(id, token)| (id, token.content))
            .collect();
        added.sort_unstable();
        added
    }

    /// The text ends with an added token, such as an end of turn.
    pub fn ends_with_added(&self, text: &str) -> bool {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        added
            .values()
            .any(|token| text.ends_with(token.content.as_str()))
    }

    /// What splits words, as `tokenizer.json` names it: `BPE`, `WordPiece`, `WordLevel` or `Unigram`.
    pub fn model(&self) -> &'static str {
        use tokenizers::models::ModelWrapper;
        match self.inner.get_model() {
            ModelWrapper::BPE(_) => "BPE",
            ModelWrapper::WordPiece(_) => "WordPiece",
            ModelWrapper::WordLevel(_) => "WordLevel",
            ModelWrapper::Unigram(_) => "Unigram",
        }
    }

    /// The tokenizer works on bytes, so that text can be split anywhere and nothing is unknown.
    pub fn is_byte_level(&self) -> bool {
        self.byte_level
    }
}

/// The folder whose tokenizer a model with an adapter reads: the adapter's, where it brought one of its own, with ChatML's
/// tokens say, else the model's.
#[must_use]
pub fn tokenizer_folder<'a>(model: &'a Path, adapter: Option<&'a Path>) -> &'a Path {
    let brought = adapter.filter(|folder| folder.join("tokenizer.json").is_file());
    brought.unwrap_or(model)
}

/// Reads a `tokenizer.json`. The library panics on some files that are cut off or make no sense; here those are errors.
fn parsed(bytes: &[u8], path: &Path) -> Result<tokenizers::Tokenizer> {
    let told = |what: &str| Error::file(path, format!("is no tokenizer: {what}"));
    let _: serde::de::IgnoredAny =
        serde_json::from_slice(bytes).map_err(|error| told(&error.to_string()))?;
    std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(bytes))
        .map_err(|_| told("its parts do not fit together"))?
        .map_err(|error| told(&error.to_string()))
}

/// Neighbours of one kind as one piece; empty ones fall away.
fn merged(pieces: &[Piece]) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    for piece in pieces.iter().filter(|piece| !piece.text.is_empty()) {
        match out.last_mut() {
            Some(last) if last.trained == piece.trained => last.text.push_str(&piece.text),
            _ => out.push(piece.clone()),
        }
    }
    if out.is_empty() {
        out.push(Piece::given(""));
    }
    out
}

/// What the post-processor puts before and after a text.
fn added_around(inner: &tokenizers::Tokenizer, path: &Path) -> Result<(Vec<u32>, Vec<u32>)> {
    let ids = |special| {
        inner
            .encode("a", special)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|error| Error::file(path, format!("cannot encode: {error}")))
    };
    let (bare, full) = (ids(false)?, ids(true)?);
    let start = full
        .windows(bare.len().max(1))
        .position(|window| window == bare)
        .unwrap_or(0);
    let end = (start + bare.len()).min(full.len());
    Ok((full[..start].to_vec(), full[end..].to_vec()))
}

/// The pre-tokenizer turns text into bytes, and puts nothing before it.
fn splits_bytes(pre_tokenizer: &serde_json::Value) -> bool {
    match pre_tokenizer["type"].as_str() {
        Some("ByteLevel") => pre_tokenizer["add_prefix_space"] != serde_json::Value::Bool(true),
        Some("Sequence") => pre_tokenizer["pretokenizers"]
            .as_array()
            .is_some_and(|steps| steps.iter().any(splits_bytes)),
        _ => false,
    }
}
