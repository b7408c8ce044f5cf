//! Rows to samples: tokens, labels, end of document, cutting.

use std::path::Path;

use domain::{DataConfig, DataFormat, FieldErrors, Overflow, TrainOn};

use super::{
    IGNORED, Sample,
    code::{self, Code},
    fim::Fim,
    format::{self, Content},
    origin::Row,
    source::TokenizerSource,
};
use crate::{Error, Result, chat::ChatTemplate, tokenizer::Tokenizer};

/// Turns rows of one format into samples.
pub(crate) struct Encoder {
    config: DataConfig,
    format: DataFormat,
    tokenizer: Option<Tokenizer>,
    template: Option<ChatTemplate>,
    code: Option<Code>,
    vocab_size: Option<usize>,
}

/// One sequence of a row.
pub(crate) struct Encoded {
    pub(crate) sample: Sample,
    /// Tokens before the cut.
    pub(crate) full_length: usize,
}

impl Encoder {
    /// `seed` draws the cuts of fill-in-the-middle samples.
    pub(super) fn new(
        config: &DataConfig,
        format: DataFormat,
        tokens: TokenizerSource<'_>,
        seed: u64,
    ) -> Result<Self> {
        let vocab_size = tokens.vocab_size()?;
        // Token ids speak for themselves: a model without a tokenizer can be trained on them.
        let tokenizer = match format {
            DataFormat::Tokenized => None,
            _ => Some(tokens.tokenizer()?),
        };
        let template = match (format, &tokenizer) {
            (DataFormat::Messages | DataFormat::Sharegpt, Some(tokenizer)) => {
                Some(template(config, tokenizer, tokens.folder())?)
            }
            // Texts need none, but one that somebody asks for must be there.
            (DataFormat::Preference | DataFormat::Completion, Some(tokenizer)) => {
                match template(config, tokenizer, tokens.folder()) {
                    Err(error) if config.chat_template.is_some() => return Err(error),
                    found => found.ok(),
                }
            }
            // One that is there and wrong is an error, not a reason for another prompt.
            (DataFormat::Alpaca, Some(tokenizer))
                if config.by_template
                    && (config.chat_template.is_some()
                        || tokenizer.chat_templates().next().is_some()) =>
            {
                Some(template(config, tokenizer, tokens.folder())?)
            }
            _ => None,
        };
        let code = match (format, &tokenizer) {
            (DataFormat::Fim, Some(tokenizer)) => {
                let fim = Fim::new(config, tokenizer, seed)?;
                Some(Code::new(Some(fim), tokenizer))
            }
            (DataFormat::SourceTree, Some(tokenizer)) => Some(Code::new(None, tokenizer)),
            _ => None,
        };
        Ok(Self {
            config: config.clone(),
            format,
            tokenizer,
            template,
            code,
            vocab_size,
        })
    }

    pub(super) fn format(&self) -> DataFormat {
        self.format
    }

    pub(super) fn config(&self) -> &DataConfig {
        &self.config
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

    /// The sequences of a row: one, or several where it is longer than `max_seq_length` and `overflow` is split, or
    /// where it is a repository. A row without text gives one without tokens.
    pub(super) fn encode(&self, row: &Row) -> Result<Vec<Encoded>> {
        let encoded = match &self.code {
            Some(code) => code::encode(self, code, row)?,
            None => self.cut(self.whole(row, self.content(row)?)?),
        };
        self.check_vocabulary(row, encoded.iter().map(|encoded| &encoded.sample))?;
        if encoded.is_empty() {
            return Ok(vec![Encoded {
                sample: Sample {
                    input_ids: Vec::new(),
                    labels: Vec::new(),
                },
                full_length: 0,
            }]);
        }
        Ok(encoded)
    }

    /// The two samples of a row of the format preference; each is cut where it is longer, which is told too.
    pub(super) fn encode_pair(&self, row: &Row) -> Result<(super::Pair, bool)> {
        let (chosen, rejected) = format::preference(row, &self.config, self)?;
        let mut is_cut = false;
        let mut cut = |content| -> Result<Sample> {
            let mut sample = self.whole(row, content)?;
            is_cut |= sample.input_ids.len() > self.max_seq_length();
            sample.input_ids.truncate(self.max_seq_length());
            sample.labels.truncate(self.max_seq_length());
            Ok(sample)
        };
        let (chosen, rejected) = (cut(chosen)?, cut(rejected)?);
        self.check_vocabulary(row, [&chosen, &rejected])?;
        Ok((super::Pair { chosen, rejected }, is_cut))
    }

    fn check_vocabulary<'a>(
        &self,
        row: &Row,
        samples: impl IntoIterator<Item = &'a Sample>,
    ) -> Result<()> {
        let Some(size) = self.vocab_size else {
            return Ok(());
        };
        let mut ids = samples.into_iter().flat_map(|sample| &sample.input_ids);
        match ids.find(|id| **id as usize >= size) {
            None => Ok(()),
            Some(beyond) => Err(row.origin.error(format!(
                "token {beyond} is beyond the model's vocabulary of {size}; the tokenizer belongs to another model"
            ))),
        }
    }

    fn whole(&self, row: &Row, content: Content) -> Result<Sample> {
        match content {
            Content::Tokens(sample) => Ok(sample),
            Content::Text {
                pieces,
                special,
                end,
            } => {
                let tokenizer = self.tokenizer.as_ref().expect("only tokens go without one");
                self.sample(tokenizer, &pieces, special, end)
                    .map_err(|error| row.origin.error(error.to_string()))
            }
        }
    }

    fn cut(&self, mut sample: Sample) -> Vec<Encoded> {
        let most = self.max_seq_length();
        let full_length = sample.input_ids.len();
        if full_length <= most || self.config.overflow == Overflow::Cut {
            sample.input_ids.truncate(most);
            sample.labels.truncate(most);
            return vec![Encoded {
                sample,
                full_length,
            }];
        }
        let labels = sample.labels.chunks(most);
        sample
            .input_ids
            .chunks(most)
            .zip(labels)
            .map(|(ids, labels)| Encoded {
                sample: Sample {
                    input_ids: ids.to_vec(),
                    labels: labels.to_vec(),
                },
                full_length: ids.len(),
            })
            .collect()
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

    /// What becomes of the rows, where a person may expect something else; judged by the first of them.
    pub(super) fn notes(&self, first: &Row) -> Vec<String> {
        let written = match (self.config.by_template, self.format, &self.template) {
            (true, DataFormat::Alpaca, Some(_)) => Some(
                "instructions are written by the model's chat template, as LLaMA-Factory writes them",
            ),
            (true, DataFormat::Alpaca, None) => Some(
                "instructions are written in the prompt of Stanford Alpaca: the model has no chat template, by which \
                 LLaMA-Factory would write them",
            ),
            _ => None,
        };
        let several = self.answers(first) > 1 && self.config.train_on == TrainOn::Completion;
        let learned = several.then_some(
            "conversations have several answers: the last of each is learned, and with data.train_on = \"assistant\" every one",
        );
        written
            .into_iter()
            .chain(learned)
            .map(str::to_owned)
            .collect()
    }

    /// How many turns of a conversation are the assistant's, by the usual names or the one that is set.
    fn answers(&self, row: &Row) -> usize {
        let columns = format::Columns {
            row,
            config: &self.config,
        };
        let column = match self.format {
            DataFormat::Messages => "messages",
            DataFormat::Sharegpt => "conversations",
            _ => return 0,
        };
        let set = self.config.columns.get("assistant_tag");
        let is_its = |word: &str| match set {
            Some(set) => word == set,
            None => ["assistant", "gpt"].contains(&word),
        };
        let turns = columns.optional(column).and_then(|turns| turns.as_array());
        let turns = turns
            .into_iter()
            .flatten()
            .filter_map(|turn| turn.as_object());
        turns
            .filter(|turn| turn.values().any(|word| word.as_str().is_some_and(is_its)))
            .count()
    }

    pub(super) fn vocab_size(&self) -> Option<usize> {
        self.vocab_size
    }
}

fn template(config: &DataConfig, tokenizer: &Tokenizer, folder: &Path) -> Result<ChatTemplate> {
    let asked = config.chat_template.as_deref();
    if asked.is_none() && tokenizer.chat_templates().next().is_none() {
        return Err(Error::file(
            folder,
            "holds no chat template (tokenizer_config.json or chat_template.jinja), which the format messages \
             needs; use the instruct variant of the model, or set data.chat_template",
        ));
    }
    ChatTemplate::asked(tokenizer, asked).map_err(|error| match asked {
        Some(_) => FieldErrors::one("data.chat_template", error.to_string()).into(),
        None => error,
    })
}
