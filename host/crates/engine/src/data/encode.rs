//! Rows to samples: tokens, labels, end of document, cutting.

use std::path::Path;

use domain::{DataConfig, DataFormat};

use super::{
    IGNORED, Sample,
    format::{self, Content},
    read::Row,
};
use crate::{Error, Result, chat::ChatTemplate, tokenizer::Tokenizer};

/// Turns rows of one format into samples.
pub(crate) struct Encoder {
    config: DataConfig,
    format: DataFormat,
    tokenizer: Option<Tokenizer>,
    template: Option<ChatTemplate>,
    vocab_size: Option<usize>,
}

/// One row, encoded.
pub(crate) struct Encoded {
    pub(crate) sample: Sample,
    /// Tokens before the cut.
    pub(crate) full_length: usize,
}

impl Encoder {
    pub(super) fn new(config: &DataConfig, format: DataFormat, model_dir: &Path) -> Result<Self> {
        let vocab_size = vocab_size(model_dir)?;
        // Token ids speak for themselves: a model without a tokenizer can be trained on them.
        let tokenizer = match format {
            DataFormat::Tokenized => None,
            _ => Some(Tokenizer::load(model_dir)?),
        };
        let template = match (format, &tokenizer) {
            (DataFormat::Messages, Some(tokenizer)) => {
                Some(template(config, tokenizer, model_dir)?)
            }
            // Pairs of texts need none.
            (DataFormat::Preference, Some(tokenizer)) => {
                template(config, tokenizer, model_dir).ok()
            }
            _ => None,
        };
        Ok(Self {
            config: config.clone(),
            format,
            tokenizer,
            template,
            vocab_size,
        })
    }

    pub(super) fn format(&self) -> DataFormat {
        self.format
    }

    pub(super) fn max_seq_length(&self) -> usize {
        self.config.max_seq_length as usize
    }

    pub(crate) fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    pub(super) fn content(&self, row: &Row) -> Result<Content> {
        format::content(self.format, row, &self.config, self)
    }

    pub(super) fn encode(&self, row: &Row) -> Result<Encoded> {
        self.encode_content(row, self.content(row)?)
    }

    /// The two samples of a row of the format preference.
    pub(super) fn encode_pair(&self, row: &Row) -> Result<super::Pair> {
        let (chosen, rejected) = format::preference(row, &self.config, self)?;
        Ok(super::Pair {
            chosen: self.encode_content(row, chosen)?.sample,
            rejected: self.encode_content(row, rejected)?.sample,
        })
    }

    fn encode_content(&self, row: &Row, content: Content) -> Result<Encoded> {
        let mut sample = match content {
            Content::Tokens(sample) => sample,
            Content::Text {
                pieces,
                special,
                end,
            } => {
                let tokenizer = self.tokenizer.as_ref().expect("only tokens go without one");
                self.sample(tokenizer, &pieces, special, end)
                    .map_err(|error| row.origin.error(error.to_string()))?
            }
        };
        if let Some(size) = self.vocab_size
            && let Some(beyond) = sample.input_ids.iter().find(|id| **id as usize >= size)
        {
            return Err(row.origin.error(format!(
                "token {beyond} is beyond the model's vocabulary of {size}; the tokenizer belongs to another model"
            )));
        }
        let full_length = sample.input_ids.len();
        sample.input_ids.truncate(self.max_seq_length());
        sample.labels.truncate(self.max_seq_length());
        Ok(Encoded {
            sample,
            full_length,
        })
    }

    fn sample(
        &self,
        tokenizer: &Tokenizer,
        pieces: &[crate::tokenizer::Piece],
        special: bool,
        end: bool,
    ) -> Result<Sample> {
        let (body, mask) = tokenizer.encode_pieces(pieces)?;
        if body.is_empty() {
            return Ok(Sample {
                input_ids: Vec::new(),
                labels: Vec::new(),
            });
        }
        let first = mask.first().copied().unwrap_or(false);
        let last = mask.last().copied().unwrap_or(false);
        let (mut ids, mut trained) = (Vec::new(), Vec::new());
        if special {
            ids.extend_from_slice(tokenizer.prefix());
            trained.resize(ids.len(), first);
        }
        ids.extend(body);
        trained.extend(mask);
        if special {
            ids.extend_from_slice(tokenizer.suffix());
            trained.resize(ids.len(), last);
        }
        if end
            && let Some(eos) = tokenizer.eos_id()
            && ids.last() != Some(&eos)
        {
            ids.push(eos);
            trained.push(last);
        }
        let labels = ids
            .iter()
            .zip(trained)
            .map(|(id, trained)| if trained { i64::from(*id) } else { IGNORED })
            .collect();
        Ok(Sample {
            input_ids: ids,
            labels,
        })
    }

    pub(crate) fn template(&self) -> &ChatTemplate {
        self.template
            .as_ref()
            .expect("conversations come with a template")
    }

    pub(super) fn optional_template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    pub(super) fn vocab_size(&self) -> Option<usize> {
        self.vocab_size
    }
}

fn template(config: &DataConfig, tokenizer: &Tokenizer, model_dir: &Path) -> Result<ChatTemplate> {
    if let Some(source) = config.chat_template.as_deref() {
        return ChatTemplate::new(source, tokenizer.special_tokens());
    }
    if tokenizer.chat_template().is_none() {
        return Err(Error::file(
            model_dir,
            "holds no chat template (tokenizer_config.json or chat_template.jinja), which the format messages \
             needs; use the instruct variant of the model, or set data.chat_template",
        ));
    }
    ChatTemplate::of(tokenizer)
}

/// `vocab_size` of config.json; `None` where the folder has none, as with a tokenizer on its own.
fn vocab_size(model_dir: &Path) -> Result<Option<usize>> {
    let path = model_dir.join("config.json");
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
