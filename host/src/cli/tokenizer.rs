//! `codetune tokenizer`: make a tokenizer, look into one, and cut text into training sequences with it.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Subcommand};
use engine::{
    data::{read_documents, read_texts, windows},
    tokenizer::{
        Extension, NewRows, Tokenizer, TokenizerModel, TokenizerTraining, extend, train_tokenizer,
    },
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::usage_error;
use crate::config::Config;

/// Arguments of `codetune tokenizer`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune tokenizer train --input src --vocab-size 4096 --output DIR"
)]
pub(crate) struct TokenizerArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a tokenizer on files: byte-level BPE, SentencePiece's BPE, WordPiece or Unigram
    Train(TrainArgs),
    /// Add tokens to a model: its tokenizer, its embedding and its head
    Extend(ExtendArgs),
    /// Show a tokenizer's special tokens, and how it cuts a text
    Inspect(InspectArgs),
    /// Cut documents into sequences of one length, as a dataset of the format tokenized
    Encode(EncodeArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune tokenizer train --input src --vocab-size 4096 --output DIR"
)]
struct TrainArgs {
    /// Files or folders: text and source files, or JSON lines with a "text" column
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    input: Vec<PathBuf>,
    /// What splits words: bpe (on bytes: every text comes back as it was), sentencepiece (its BPE, on characters), wordpiece
    /// (loses blanks and line breaks) or unigram
    #[arg(long, default_value = "bpe", value_name = "KIND")]
    model: TokenizerModel,
    /// Tokens in all, bytes and special tokens included
    #[arg(long, default_value_t = 32_000)]
    vocab_size: usize,
    /// Folder for tokenizer.json and tokenizer_config.json
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Special tokens; the first ends a document
    #[arg(long, num_args = 1.., value_name = "TOKEN", default_value = "<|endoftext|>")]
    special: Vec<String>,
    /// Times that a pair must be seen to become a token
    #[arg(long, default_value_t = 2)]
    min_frequency: u64,
    /// Longest sequence that the model will take
    #[arg(long, default_value_t = 2048)]
    model_max_length: usize,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune tokenizer extend --model DIR --special '<|tool|>' '<|end_of_tool|>' --output NEW"
)]
struct ExtendArgs {
    /// A Hugging Face folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Tokens to add
    #[arg(long, num_args = 1.., value_name = "TOKEN")]
    tokens: Vec<String>,
    /// Special tokens to add: they are left out when text is decoded for people
    #[arg(long, num_args = 1.., value_name = "TOKEN")]
    special: Vec<String>,
    /// What the new rows hold: mean (of the old rows) or normal (drawn)
    #[arg(long, default_value = "mean", value_parser = ["mean", "normal"])]
    rows: String,
    /// With --rows normal: seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Add rows until their number is a multiple of this; 0 adds none
    #[arg(long, default_value_t = 0)]
    pad_to_multiple_of: usize,
    /// The folder to write, a whole model
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  codetune tokenizer inspect DIR \"def f(x):\" --json")]
struct InspectArgs {
    /// A folder with tokenizer.json
    dir: PathBuf,
    /// A text to cut
    text: Option<String>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  codetune tokenizer encode DIR --input src --max-seq-length 512 --output data.jsonl"
)]
struct EncodeArgs {
    /// A folder with tokenizer.json
    dir: PathBuf,
    /// Files or folders: text and source files, or JSON lines with a "text" column
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    input: Vec<PathBuf>,
    /// Tokens of a sequence
    #[arg(long, default_value_t = 512)]
    max_seq_length: usize,
    /// Start a new sequence with each document instead of filling up
    #[arg(long)]
    no_join: bool,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Runs a subcommand.
pub(crate) fn run(args: &TokenizerArgs, _config: &Config) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Train(args) => train(args),
        Command::Extend(args) => extended(args),
        Command::Inspect(args) => inspect(args),
        Command::Encode(args) => encode(args),
    }
}

fn train(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    let documents = read_texts(&args.input).map_err(bad_input)?;
    let training = TokenizerTraining {
        model: args.model,
        vocab_size: args.vocab_size,
        special_tokens: args.special.clone(),
        min_frequency: args.min_frequency,
        model_max_length: args.model_max_length,
    };
    let bytes = documents.iter().map(|text| text.len() as u64).sum();
    // Drawn on a terminal only; elsewhere it writes nothing.
    let bar = ProgressBar::new(bytes);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes}") {
        bar.set_style(style);
    }
    bar.set_message("counting words");
    let heard = |counted: u64| {
        bar.inc(counted);
        if bar.position() >= bytes {
            bar.set_message("learning tokens");
        }
    };
    let made = train_tokenizer(&documents, &training, &args.output, &heard).map_err(bad_input)?;
    bar.finish_and_clear();
    if made.vocab_size < args.vocab_size {
        eprintln!(
            "warning: the input gave {} tokens only, not {}: it holds no more pairs that repeat",
            made.vocab_size, args.vocab_size
        );
    }
    if args.json {
        println!("{}", serde_json::to_string(&made)?);
    } else {
        println!(
            "{} tokens from {} documents ({} bytes), written to {}",
            made.vocab_size,
            made.documents,
            made.bytes,
            args.output.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn extended(args: &ExtendArgs) -> anyhow::Result<ExitCode> {
    let extension = Extension {
        tokens: args.tokens.clone(),
        special_tokens: args.special.clone(),
        rows: match args.rows.as_str() {
            "normal" => NewRows::Normal(args.seed),
            _ => NewRows::Mean,
        },
        pad_to_multiple_of: args.pad_to_multiple_of,
    };
    let made = extend(&args.model, &extension, &args.output).map_err(bad_input)?;
    if args.json {
        println!("{}", serde_json::to_string(&made)?);
        return Ok(ExitCode::SUCCESS);
    }
    for (id, token) in &made.added {
        println!("  added {id:>8} {token}");
    }
    println!(
        "the embedding has {} rows (before: {}), written to {}",
        made.vocab_size,
        made.old_vocab_size,
        args.output.display()
    );
    Ok(ExitCode::SUCCESS)
}

fn inspect(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let tokenizer = Tokenizer::load(&args.dir).map_err(bad_input)?;
    let special = tokenizer.special_tokens();
    let added = tokenizer.added_tokens();
    let cut = args
        .text
        .as_deref()
        .map(|text| tokenizer.encode(text, true))
        .transpose()?;
    if args.json {
        let tokens = cut.as_ref().map(|ids| {
            ids.iter()
                .map(|id| json!({"id": id, "token": tokenizer.token(*id)}))
                .collect::<Vec<_>>()
        });
        println!(
            "{}",
            json!({
                "model": tokenizer.model(),
                "vocab_size": tokenizer.vocab_size(),
                "byte_level": tokenizer.is_byte_level(),
                "special_tokens": special,
                "eos_ids": tokenizer.eos_ids(),
                "added_tokens": added
                    .iter()
                    .map(|(id, token)| json!({"id": id, "token": token}))
                    .collect::<Vec<_>>(),
                "chat_template": tokenizer.chat_template().is_some(),
                "chat_templates": tokenizer.chat_templates().map(|(name, _)| name).collect::<Vec<_>>(),
                "bytes_per_token": cut.as_ref().zip(args.text.as_ref()).map(|(ids, text)| {
                    text.len() as f64 / ids.len().max(1) as f64
                }),
                "tokens": tokens,
            })
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} tokens, {}", tokenizer.vocab_size(), tokenizer.model());
    for (name, token) in [
        ("begins a text", &special.bos),
        ("ends a text", &special.eos),
        ("fills a batch", &special.pad),
    ] {
        println!("  {name:<14} {}", token.as_deref().unwrap_or("(none)"));
    }
    println!(
        "  chat template  {}",
        if tokenizer.chat_template().is_some() {
            "yes"
        } else {
            "none"
        }
    );
    for (id, token) in &added {
        println!("  added {id:>8} {token}");
    }
    for id in cut.unwrap_or_default() {
        println!("{id:>8} {}", tokenizer.token(id).unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

fn encode(args: &EncodeArgs) -> anyhow::Result<ExitCode> {
    let tokenizer = Tokenizer::load(&args.dir).map_err(bad_input)?;
    let documents = read_documents(&args.input).map_err(bad_input)?;
    let samples =
        windows(&documents, &tokenizer, args.max_seq_length, !args.no_join).map_err(bad_input)?;
    let context = || format!("{}: cannot write", args.output.display());
    let mut out = BufWriter::new(File::create(&args.output).with_context(context)?);
    let mut tokens = 0;
    for sample in &samples {
        tokens += sample.input_ids.len();
        let row = json!({"input_ids": sample.input_ids, "labels": sample.labels});
        writeln!(out, "{row}").with_context(context)?;
    }
    out.flush().with_context(context)?;
    if args.json {
        println!(
            "{}",
            json!({"sequences": samples.len(), "tokens": tokens, "documents": documents.len()})
        );
    } else {
        println!(
            "{} sequences with {tokens} tokens from {} documents, written to {}",
            samples.len(),
            documents.len(),
            args.output.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn bad_input(error: engine::Error) -> anyhow::Error {
    match error {
        engine::Error::Io { .. } | engine::Error::Compute(_) => error.into(),
        wrong => usage_error(wrong.to_string()),
    }
}
