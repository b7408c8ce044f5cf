//! Fill-in-the-middle samples (Bavarian et al., arXiv 2207.14255), laid out as bigcode's `fim.py` does.
//!
//! A document is cut at two places into prefix, middle and suffix. PSM is `<pre> prefix <suf> suffix <mid> middle`;
//! SPM is the paper's variant 2, `<pre> <suf> suffix <mid> prefix middle`, in which prefix and middle lie together. Codestral
//! knows one layout, `<suf> suffix <pre> prefix middle` (`encode_fim` of mistral-common).

use domain::{DataConfig, FieldErrors, FimLoss, FimMode, FimSpan};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::{IGNORED, Sample};
use crate::{Result, tokenizer::Tokenizer};

/// Tokens of a family that has both layouts: prefix, suffix, middle.
const FAMILIES: &[[&str; 3]] = &[
    // Qwen2.5-Coder, CodeGemma, Granite 4
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    // StarCoder, StarCoder2, Granite Code, SmolLM, Stable Code
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    // SantaCoder
    ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
    // DeepSeek-Coder: what it calls the hole stands where the suffix begins
    ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
    // CodeLlama
    ["▁<PRE>", "▁<SUF>", "▁<MID>"],
    // GLM-4
    ["<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"],
];
/// Codestral's: prefix, suffix. Its tokenizer has a `[MIDDLE]` too, which it was not trained on.
const SUFFIX_FIRST: [&str; 2] = ["[PREFIX]", "[SUFFIX]"];
/// Tokens that end a middle where the family has its own.
const ENDS: &[&str] = &["▁<EOT>"];
/// Tokens that stand before each file of a repository.
const FILE_SEPARATORS: &[&str] = &[
    "<|file_sep|>",
    "<file_sep>",
    "<|file_separator|>",
    "<filename>",
];
/// Tokens that stand before the name of a repository.
const REPO_NAMES: &[&str] = &["<|repo_name|>", "<repo_name>", "<reponame>", "<|reponame|>"];

/// Places to draw a cut again where the tokens of the parts come out longer than those of the whole.
const TRIES: usize = 8;

/// Tokens for context by file; none where the family has none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FileTokens {
    pub(super) separator: Option<u32>,
    pub(super) repo_name: Option<u32>,
}

impl FileTokens {
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let first = |names: &[&str]| names.iter().find_map(|name| tokenizer.token_id(name));
        Self {
            separator: first(FILE_SEPARATORS),
            repo_name: first(REPO_NAMES),
        }
    }
}

/// The sentinel tokens of a tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FimTokens {
    pub(crate) prefix: u32,
    pub(crate) suffix: u32,
    /// None where the suffix comes first and the middle follows the prefix.
    pub(crate) middle: Option<u32>,
}

/// The sentinel tokens of a tokenizer and the settings of a run.
#[derive(Debug, Clone)]
pub(super) struct Fim {
    tokens: FimTokens,
    end: Option<u32>,
    rate: f64,
    mode: FimMode,
    span: FimSpan,
    loss: FimLoss,
    seed: u64,
}

/// The tokens of a tokenizer's family.
pub(crate) fn fim_tokens(tokenizer: &Tokenizer) -> Option<FimTokens> {
    let id = |name: &str| tokenizer.token_id(name);
    let both_ways = FAMILIES.iter().find_map(|[prefix, suffix, middle]| {
        Some(FimTokens {
            prefix: id(prefix)?,
            suffix: id(suffix)?,
            middle: Some(id(middle)?),
        })
    });
    both_ways.or_else(|| {
        let [prefix, suffix] = SUFFIX_FIRST;
        Some(FimTokens {
            prefix: id(prefix)?,
            suffix: id(suffix)?,
            middle: None,
        })
    })
}

impl Fim {
    /// Finds the family's tokens.
    ///
    /// # Errors
    /// A tokenizer without them, by name; a layout that the family does not know.
    pub(super) fn new(config: &DataConfig, tokenizer: &Tokenizer, seed: u64) -> Result<Self> {
        let tokens = fim_tokens(tokenizer).ok_or_else(|| {
            FieldErrors::one(
                "data.format",
                format!(
                    "fim needs a model with fill-in-the-middle tokens, and this tokenizer has none of {}; \
                     choose such a model (Qwen2.5-Coder, StarCoder2, …) or the format text",
                    FAMILIES.iter().map(|names| names[0]).collect::<Vec<_>>().join(", ")
                ),
            )
        })?;
        if tokens.middle.is_none() && config.fim_mode == FimMode::Psm {
            return Err(FieldErrors::one(
                "data.fim_mode",
                format!(
                    "a model with {} and {} knows the suffix first only; choose spm or both",
                    SUFFIX_FIRST[0], SUFFIX_FIRST[1]
                ),
            )
            .into());
        }
        Ok(Self {
            tokens,
            end: ENDS.iter().find_map(|name| tokenizer.token_id(name)),
            rate: config.fim_rate,
            mode: config.fim_mode,
            span: config.fim_span,
            loss: config.fim_loss,
            seed,
        })
    }

    /// Tokens that a sample has beside those of its text.
    pub(super) fn overhead(&self) -> usize {
        2 + usize::from(self.tokens.middle.is_some()) + usize::from(self.end.is_some())
    }

    /// The random numbers of a document: a function of the seed and the document alone, so that neither threads nor
    /// the order of files change a sample.
    fn generator(&self, key: &str, text: &str, part: usize) -> ChaCha8Rng {
        let mut hasher = Sha256::new();
        hasher.update(self.seed.to_le_bytes());
        hasher.update((part as u64).to_le_bytes());
        hasher.update((key.len() as u64).to_le_bytes());
        hasher.update(key);
        hasher.update(text);
        ChaCha8Rng::from_seed(hasher.finalize().into())
    }

    /// A stretch of a document as a fill-in-the-middle sample of at most `most` tokens; `None` where the draw leaves
    /// it as it is, or it holds a sentinel of its own. `key` and `part` tell equal stretches apart.
    ///
    /// # Errors
    /// Where the tokenizer fails.
    pub(super) fn sample(
        &self,
        tokenizer: &Tokenizer,
        key: &str,
        part: usize,
        text: &str,
        most: usize,
    ) -> Result<Option<Sample>> {
        let mut random = self.generator(key, text, part);
        if !random.random_bool(self.rate) {
            return Ok(None);
        }
        let spm = match self.mode {
            FimMode::Psm => false,
            FimMode::Spm => true,
            FimMode::Both => random.random_bool(0.5),
        };
        let FimTokens { prefix, suffix, .. } = self.tokens;
        let sentinels = [prefix, suffix, self.tokens.middle.unwrap_or(suffix)];
        // Looked for before it is cut: a cut through a sentinel would hide it.
        if encode_inner(tokenizer, text)?
            .iter()
            .any(|id| sentinels.contains(id))
        {
            return Ok(None);
        }
        let cuts = self.cuts(text);
        for _ in 0..TRIES {
            let mut at = [0, 0].map(|_| cuts[random.random_range(0..cuts.len() as u64) as usize]);
            at.sort_unstable();
            let inner = |range| encode_inner(tokenizer, range);
            let prefix = inner(&text[..at[0]])?;
            let middle = inner(&text[at[0]..at[1]])?;
            let suffix = inner(&text[at[1]..])?;
            if prefix.len() + middle.len() + suffix.len() + self.overhead() > most {
                continue;
            }
            return Ok(Some(self.laid_out(spm, &prefix, &middle, &suffix)));
        }
        Ok(None)
    }

    fn laid_out(&self, spm: bool, prefix: &[u32], middle: &[u32], suffix: &[u32]) -> Sample {
        let tokens = self.tokens;
        let (pre, suf) = ([tokens.prefix], [tokens.suffix]);
        let mut input_ids = match tokens.middle {
            None => [&suf, suffix, &pre, prefix].concat(),
            Some(mid) if spm => [&pre, &suf[..], suffix, &[mid], prefix].concat(),
            Some(mid) => [&pre, prefix, &suf, suffix, &[mid]].concat(),
        };
        let given = match self.loss {
            FimLoss::All => 0,
            FimLoss::Middle => input_ids.len(),
        };
        input_ids.extend_from_slice(middle);
        input_ids.extend(self.end);
        let labels = input_ids
            .iter()
            .enumerate()
            .map(|(at, id)| if at < given { IGNORED } else { i64::from(*id) })
            .collect();
        Sample { input_ids, labels }
    }

    /// Byte offsets at which a text may be cut.
    fn cuts(&self, text: &str) -> Vec<usize> {
        let mut cuts: Vec<usize> = match self.span {
            FimSpan::Character => text.char_indices().map(|(at, _)| at).collect(),
            FimSpan::Line => std::iter::once(0)
                .chain(text.match_indices('\n').map(|(at, _)| at + 1))
                .collect(),
        };
        if cuts.last() != Some(&text.len()) {
            cuts.push(text.len());
        }
        cuts
    }
}

/// Tokens of a text that does not stand at the start: a tokenizer that puts a blank before a text must not do so
/// here. CodeLlama's reference implementation (`encode_infilling`) does the same with another character.
pub(super) fn encode_inner(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    const STAND_IN: &str = "☺";
    if tokenizer.is_byte_level() || text.is_empty() {
        return tokenizer.encode(text, false);
    }
    let (ids, offsets) = tokenizer.encode_offsets(&format!("{STAND_IN}{text}"))?;
    let behind = offsets
        .iter()
        .position(|(_, end)| *end > STAND_IN.len())
        .unwrap_or(ids.len());
    // A token that joins the stand-in with the text would lose text: then the blank is the lesser evil.
    if offsets
        .get(behind)
        .is_some_and(|(from, _)| *from < STAND_IN.len())
    {
        return tokenizer.encode(text, false);
    }
    Ok(ids[behind..].to_vec())
}
