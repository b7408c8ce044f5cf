//! Documents of code as sequences: files, repositories with file separators, and fill-in-the-middle.

use domain::{DataFormat, FimLoss, Overflow};

use super::{
    IGNORED, Sample,
    encode::{Encoded, Encoder},
    fim::{FileTokens, Fim, encode_inner},
    format::Columns,
    origin::Row,
    read::kind,
    tree,
};
use crate::{Error, Result, tokenizer::Tokenizer};

/// Least tokens of a file that are worth a sequence's rest.
const LEAST_REST: usize = 64;
/// Tokens that the parts of a cut text may have beyond those of the whole.
const SLACK: usize = 8;
/// More bytes than a sequence's tokens have, with nearly every text.
const MOST_BYTES_A_TOKEN: usize = 16;

/// What documents of code need beside a tokenizer.
#[derive(Debug, Clone)]
pub(super) struct Code {
    /// Set with the format fim.
    fim: Option<Fim>,
    tokens: FileTokens,
}

/// One file of a row.
struct Document<'a> {
    path: Option<&'a str>,
    text: &'a str,
}

/// A sequence's worth of a text.
struct Stretch {
    body: Sample,
    /// Bytes of the text that it stands for.
    taken: usize,
    /// Tokens behind them that had no room.
    dropped: usize,
    /// It is a fill-in-the-middle sample, which ends where its middle does.
    filled: bool,
}

impl Code {
    pub(super) fn new(fim: Option<Fim>, tokenizer: &Tokenizer) -> Self {
        Self {
            fim,
            tokens: FileTokens::of(tokenizer),
        }
    }
}

/// The sequences of a row of the format fim or source-tree.
pub(super) fn encode(encoder: &Encoder, code: &Code, row: &Row) -> Result<Vec<Encoded>> {
    let writer = Writer {
        encoder,
        code,
        tokenizer: encoder.tokenizer().expect("code comes with a tokenizer"),
        columns: Columns {
            row,
            config: encoder.config(),
        },
    };
    writer.encode().map_err(|error| match error {
        Error::Input(message) => row.origin.error(message),
        other => other,
    })
}

struct Writer<'a> {
    encoder: &'a Encoder,
    code: &'a Code,
    tokenizer: &'a Tokenizer,
    columns: Columns<'a>,
}

impl Writer<'_> {
    fn encode(&self) -> Result<Vec<Encoded>> {
        let repo = self.columns.optional_text("repo")?;
        if self.columns.optional("files").is_some() {
            return self.repository(repo, &self.files()?);
        }
        let document = Document {
            path: self.columns.optional_text("path")?,
            text: self.columns.text("text")?,
        };
        self.single(&document)
    }

    fn files(&self) -> Result<Vec<Document<'_>>> {
        let value = self.columns.value("files")?;
        let wrong = |message: String| self.columns.error("files", message);
        let list = value
            .as_array()
            .ok_or_else(|| wrong(format!("must be a list, not {}", kind(value))))?;
        list.iter()
            .enumerate()
            .map(
                |(at, file)| match (file["path"].as_str(), file["text"].as_str()) {
                    (Some(path), Some(text)) => Ok(Document {
                        path: Some(path),
                        text,
                    }),
                    _ => Err(wrong(format!("file {} must have path and text", at + 1))),
                },
            )
            .collect()
    }

    /// A document of its own, cut into sequences where it is longer.
    fn single(&self, document: &Document<'_>) -> Result<Vec<Encoded>> {
        // Who completes a file in an editor asks without its path: so does a fill-in-the-middle sample.
        let header = match (self.encoder.format(), document.path) {
            (DataFormat::SourceTree, Some(path)) => self.file_header(path)?,
            _ => Vec::new(),
        };
        let before = [self.tokenizer.prefix(), &header].concat();
        let mut sequences = Vec::new();
        let mut rest = document.text;
        let mut part = 0;
        while !rest.is_empty() {
            let next = self.stretch(document, part, rest, before.len())?;
            let more = next.taken < rest.len();
            rest = &rest[next.taken..];
            part += 1;
            let mut open = Open::with(&before);
            open.append(&next.body);
            let dropped = if self.splits() { 0 } else { next.dropped };
            open.close(self, dropped, more && !next.filled);
            sequences.extend(open.done());
            if more && !self.splits() {
                break;
            }
        }
        Ok(sequences)
    }

    /// A repository: files one behind another, each under its path, as many as a sequence holds.
    fn repository(&self, repo: Option<&str>, files: &[Document<'_>]) -> Result<Vec<Encoded>> {
        let most = self.encoder.max_seq_length();
        let mut before = self.tokenizer.prefix().to_vec();
        if let (Some(repo), Some(token)) = (repo, self.code.tokens.repo_name) {
            before.push(token);
            before.extend(encode_inner(self.tokenizer, &format!("{repo}\n"))?);
        }
        let mut sequences = Vec::new();
        let mut open = Open::with(&before);
        for file in files {
            let header = match file.path {
                Some(path) => self.file_header(path)?,
                None => Vec::new(),
            };
            let mut rest = file.text;
            let mut part = 0;
            while !rest.is_empty() {
                let needed = header.len() + LEAST_REST.min(rest.len() / 4 + 1) + self.reserve();
                if open.holds_text && open.len() + needed > most {
                    open.close(self, 0, false);
                    sequences.extend(open.done());
                    open = Open::with(&before);
                }
                let next = self.stretch(file, part, rest, open.len() + header.len())?;
                let whole = next.taken == rest.len();
                // A file that fits into a sequence of its own is not cut to fill another's rest.
                if open.holds_text && !whole {
                    open.close(self, 0, false);
                    sequences.extend(open.done());
                    open = Open::with(&before);
                    continue;
                }
                open.given(&header, self.learns_context());
                open.append(&next.body);
                rest = &rest[next.taken..];
                part += 1;
                if !whole {
                    let splits = self.splits();
                    let dropped = if splits { 0 } else { next.dropped };
                    open.close(self, dropped, !next.filled);
                    sequences.extend(open.done());
                    open = Open::with(&before);
                    if !splits {
                        break;
                    }
                }
            }
        }
        if open.holds_text {
            open.close(self, 0, false);
            sequences.extend(open.done());
        }
        Ok(sequences)
    }

    /// The next sequence's worth of a text, behind `used` tokens.
    fn stretch(
        &self,
        document: &Document<'_>,
        part: usize,
        text: &str,
        used: usize,
    ) -> Result<Stretch> {
        let most = self.encoder.max_seq_length();
        let room = most.saturating_sub(used + self.reserve()).max(1);
        // What is split is encoded a sequence at a time: a long file would be encoded whole for each of them.
        let ahead = match self.splits() {
            true => room.saturating_mul(MOST_BYTES_A_TOKEN),
            false => text.len(),
        };
        let seen = &text[..text.floor_char_boundary(ahead)];
        let (ids, offsets) = self.tokenizer.encode_offsets(seen)?;
        let taken = match offsets.get(room) {
            // A character that takes more tokens than there is room for must not hold the rest up.
            Some((from, _)) => match text.floor_char_boundary(*from) {
                0 => text.char_indices().nth(1).map_or(text.len(), |(at, _)| at),
                at => at,
            },
            None => seen.len(),
        };
        let dropped = ids.len().saturating_sub(room);
        let body = &text[..taken];
        if let Some(fim) = &self.code.fim {
            let room = room + fim.overhead() + SLACK;
            let key = document.path.unwrap_or_default();
            if let Some(body) = fim.sample(self.tokenizer, key, part, body, room)? {
                return Ok(Stretch {
                    body,
                    taken,
                    dropped,
                    filled: true,
                });
            }
        }
        let input_ids = if taken == text.len() && used == self.tokenizer.prefix().len() {
            ids
        } else {
            encode_inner(self.tokenizer, body)?
        };
        let labels = input_ids.iter().map(|id| i64::from(*id)).collect();
        Ok(Stretch {
            body: Sample { input_ids, labels },
            taken,
            dropped,
            filled: false,
        })
    }

    /// `<file_sep>path` and a line break; a comment with the path where the family has no such token.
    fn file_header(&self, path: &str) -> Result<Vec<u32>> {
        match self.code.tokens.separator {
            Some(token) => {
                let mut ids = vec![token];
                ids.extend(encode_inner(self.tokenizer, &format!("{path}\n"))?);
                Ok(ids)
            }
            None => self
                .tokenizer
                .encode(&format!("{}\n", tree::comment(path)), false),
        }
    }

    fn splits(&self) -> bool {
        self.encoder.config().overflow == Overflow::Split
    }

    /// Tokens kept free for sentinels and the end.
    fn reserve(&self) -> usize {
        let end = usize::from(self.tokenizer.eos_id().is_some()) + self.tokenizer.suffix().len();
        let fim = self.code.fim.as_ref();
        end + fim.map_or(0, |fim| fim.overhead() + SLACK)
    }

    fn learns_context(&self) -> bool {
        self.code.fim.is_none() || self.encoder.config().fim_loss == FimLoss::All
    }
}

/// A sequence that is being written.
struct Open {
    sample: Sample,
    holds_text: bool,
    full_length: usize,
}

impl Open {
    fn with(before: &[u32]) -> Self {
        let mut open = Self {
            sample: Sample {
                input_ids: Vec::new(),
                labels: Vec::new(),
            },
            holds_text: false,
            full_length: 0,
        };
        open.given(before, true);
        open
    }

    fn len(&self) -> usize {
        self.sample.input_ids.len()
    }

    fn given(&mut self, ids: &[u32], learned: bool) {
        self.sample.input_ids.extend_from_slice(ids);
        let label = |id: &u32| if learned { i64::from(*id) } else { IGNORED };
        self.sample.labels.extend(ids.iter().map(label));
    }

    fn append(&mut self, body: &Sample) {
        self.sample.input_ids.extend_from_slice(&body.input_ids);
        self.sample.labels.extend_from_slice(&body.labels);
        self.holds_text = true;
    }

    /// Ends the sequence, as a document's end where nothing of it was cut off.
    fn close(&mut self, writer: &Writer<'_>, dropped: usize, cut: bool) {
        let mut end = writer.tokenizer.suffix().to_vec();
        if !cut
            && let Some(eos) = writer.tokenizer.eos_id()
            && end.last() != Some(&eos)
            && self.sample.input_ids.last() != Some(&eos)
        {
            end.push(eos);
        }
        self.given(&end, true);
        let most = writer.encoder.max_seq_length();
        self.full_length = self.len() + dropped;
        self.sample.input_ids.truncate(most);
        self.sample.labels.truncate(most);
    }

    fn done(&mut self) -> Option<Encoded> {
        if !self.holds_text {
            return None;
        }
        let sample = std::mem::replace(
            &mut self.sample,
            Sample {
                input_ids: Vec::new(),
                labels: Vec::new(),
            },
        );
        Some(Encoded {
            sample,
            full_length: self.full_length,
        })
    }
}
