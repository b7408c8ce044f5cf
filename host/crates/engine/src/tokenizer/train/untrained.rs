//! The parts of each kind of tokenizer, before it has learned anything.

use tokenizers::{
    AddedToken, Tokenizer as Inner,
    decoders::wordpiece::WordPiece as WordPieceDecoder,
    models::{
        ModelWrapper, TrainerWrapper,
        bpe::{BPE, BpeTrainer},
        unigram::{Unigram, UnigramTrainer},
        wordpiece::{WordPiece, WordPieceTrainer},
    },
    normalizers::BertNormalizer,
    pre_tokenizers::{
        bert::BertPreTokenizer,
        byte_level::ByteLevel,
        metaspace::{Metaspace, PrependScheme},
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
    tokenizer::SplitDelimiterBehavior,
};

use super::{TokenizerModel, TokenizerTraining};

/// How text is cut before merges are counted: Qwen2's pattern. Words take one leading blank with them, each
/// digit stands alone, and a line break never joins the indentation after it, so that a prompt that ends with a
/// line has the same tokens whether or not the next line is there.
const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A tokenizer that has learned nothing, with what teaches it.
pub(super) fn untrained(
    training: &TokenizerTraining,
    special: &[String],
) -> tokenizers::Result<(Inner, TrainerWrapper)> {
    let special = special
        .iter()
        .map(|token| AddedToken::from(token.as_str(), true))
        .collect();
    let unknown = training.model.unknown().unwrap_or_default().to_owned();
    match training.model {
        TokenizerModel::Bpe => {
            let mut tokenizer = Inner::new(BPE::default());
            let split = Split::new(
                SplitPattern::Regex(PATTERN.to_owned()),
                SplitDelimiterBehavior::Isolated,
                false,
            )?;
            let bytes = ByteLevel::new(false, false, false);
            tokenizer
                .with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()])))
                .with_post_processor(Some(bytes))
                .with_decoder(Some(bytes));
            let trainer = BpeTrainer::builder()
                .vocab_size(training.vocab_size)
                .min_frequency(training.min_frequency)
                .show_progress(false)
                .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
                .special_tokens(special)
                .build();
            Ok((tokenizer, trainer.into()))
        }
        TokenizerModel::WordPiece => {
            let model = WordPiece::builder().unk_token(unknown).build()?;
            let mut tokenizer = Inner::new(model);
            tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, Some(false), false)))?;
            tokenizer
                .with_pre_tokenizer(Some(BertPreTokenizer))
                .with_decoder(Some(WordPieceDecoder::default()));
            let trainer = WordPieceTrainer::builder()
                .vocab_size(training.vocab_size)
                .min_frequency(training.min_frequency)
                .show_progress(false)
                .special_tokens(special)
                .build();
            Ok((tokenizer, trainer.into()))
        }
        TokenizerModel::SentencePiece => unreachable!("it is trained in `pieces`"),
        TokenizerModel::Unigram => {
            let mut tokenizer = Inner::new(ModelWrapper::Unigram(Unigram::default()));
            let metaspace = Metaspace::new('▁', PrependScheme::Never, true);
            tokenizer
                .with_pre_tokenizer(Some(metaspace.clone()))
                .with_decoder(Some(metaspace));
            let trainer = UnigramTrainer::builder()
                .vocab_size(training.vocab_size as u32)
                .show_progress(false)
                .special_tokens(special)
                .unk_token(Some(unknown))
                .build()?;
            Ok((tokenizer, trainer.into()))
        }
    }
}
