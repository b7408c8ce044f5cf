//! Where the tokens of a run's texts come from.

use std::path::Path;

use crate::lora::vocabulary_of;
use crate::tokenizer::{Tokenizer, tokenizer_folder};
use crate::{Error, Result};

/// The folder with the tokenizer and the chat template, and how many tokens the model has.
///
/// A model's folder is one by itself: `&Path` turns into it.
#[derive(Debug, Clone, Copy)]
pub struct TokenizerSource<'a> {
    folder: &'a Path,
    /// Where an adapter's file says it; else what the folder's config.json says.
    vocab: Option<usize>,
}

impl<'a> TokenizerSource<'a> {
    /// Of a model with an adapter, which may bring a tokenizer and another number of tokens.
    ///
    /// # Errors
    /// A file of either is there and cannot be read.
    pub fn of(model: &'a Path, adapter: Option<&'a Path>) -> Result<Self> {
        let folder = tokenizer_folder(model, adapter);
        let brought = match adapter {
            Some(adapter) => vocabulary_of(adapter)?,
            None => None,
        };
        let vocab = match brought {
            None if folder != model => vocab_size(model)?,
            brought => brought,
        };
        Ok(Self { folder, vocab })
    }

    /// The folder with the tokenizer.
    #[must_use]
    pub fn folder(&self) -> &'a Path {
        self.folder
    }

    /// Its tokenizer.
    ///
    /// # Errors
    /// As [`Tokenizer::load`].
    pub(super) fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::load(self.folder)
    }

    /// How many tokens the model has; `None` where that is not known, as with a tokenizer on its own.
    pub(super) fn vocab_size(&self) -> Result<Option<usize>> {
        match self.vocab {
            None => vocab_size(self.folder),
            known => Ok(known),
        }
    }
}

impl<'a, P: AsRef<Path> + ?Sized> From<&'a P> for TokenizerSource<'a> {
    fn from(folder: &'a P) -> Self {
        Self {
            folder: folder.as_ref(),
            vocab: None,
        }
    }
}

/// `vocab_size` of a folder's config.json; `None` where it has none.
fn vocab_size(folder: &Path) -> Result<Option<usize>> {
    let path = folder.join("config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let config: serde_json::Value = serde_json::from_slice(&bytes)
        .map_err(|error| Error::file(&path, format!("is not valid JSON: {error}")))?;
    let size = config["vocab_size"]
        .as_u64()
        .or_else(|| config["text_config"]["vocab_size"].as_u64());
    Ok(size.map(|size| size as usize))
}
