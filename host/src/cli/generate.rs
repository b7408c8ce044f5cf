//! `codetune generate`: text from a model, with or without an adapter.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use engine::chat::{Conversation, Ending};
use engine::generate::{EarlyStopping, GenerateRequest, Generator, Placement};
use serde_json::{Map, Value, json};

use super::bench::Packing;
use super::export::Dtype;
use super::{model_folder, usage_error};
use crate::config::Config;

/// Arguments of `codetune generate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune generate --model models/tiny --prompt 'def add(a, b):'\n  \
    codetune generate --model models/tiny --adapter runs/one/adapter --prompt @prompt.txt --temperature 0.8 --json\n  \
    codetune generate --model models/chat --chat --system 'You are terse.' --prompt 'Write a sort.'\n  \
    codetune generate --model models/tiny --prompt 'def a' --prompt 'def b' --num-beams 4 --json\n  \
    codetune generate --model models/large --prompt 'def a' --device cuda --dtype bf16\n\n\
    A setting that is not given has the value of the model's generation_config.json."
)]
pub(crate) struct GenerateArgs {
    /// A Hugging Face folder, a GGUF file, or a repository of the hub (owner/name, owner/name@revision)
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A PEFT folder
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Merge the adapter into the weights first: the same text, sooner
    #[arg(long, requires = "adapter")]
    merge: bool,
    /// Text to go on from, or @FILE; given several times, the texts are written together
    #[arg(long, value_name = "TEXT", required_unless_present = "messages")]
    prompt: Vec<String>,
    /// Put each prompt into the model's chat template, as what the user says
    #[arg(long)]
    chat: bool,
    /// With --chat: the system's message
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// With --chat or --messages: which of the model's chat templates, such as rag, or another one as @FILE
    #[arg(long, value_name = "NAME")]
    chat_template: Option<String>,
    /// A conversation for the chat template: JSON or @FILE, a list of {"role", "content"}, or an object with messages and,
    /// where wanted, tools, documents and chat_template_kwargs
    #[arg(long, value_name = "JSON", conflicts_with_all = ["prompt", "chat"])]
    messages: Option<String>,
    /// Go on with the last message instead of answering it
    #[arg(long, requires = "messages")]
    continue_final_message: bool,
    /// Most tokens to write [built in: 128]
    #[arg(long)]
    max_new_tokens: Option<usize>,
    /// Least tokens to write [built in: 0]
    #[arg(long)]
    min_new_tokens: Option<usize>,
    /// 0 takes the likeliest token each time; higher is more random [built in: 0]
    #[arg(long)]
    temperature: Option<f64>,
    /// Draw from this many likeliest tokens; 0 means all [built in: 0]
    #[arg(long)]
    top_k: Option<usize>,
    /// Draw from the likeliest tokens that together have this probability [built in: 1]
    #[arg(long)]
    top_p: Option<f64>,
    /// Draw from tokens with at least this share of the likeliest one's probability [built in: 0]
    #[arg(long)]
    min_p: Option<f64>,
    /// Above 1 makes tokens that came already less likely [built in: 1]
    #[arg(long)]
    repetition_penalty: Option<f64>,
    /// Sequences of this many tokens come at most once; 0 lets them repeat [built in: 0]
    #[arg(long)]
    no_repeat_ngram_size: Option<usize>,
    /// Texts to follow at a time [built in: 1]
    #[arg(long)]
    num_beams: Option<usize>,
    /// Power of the length by which a beam's score is divided [built in: 1]
    #[arg(long, allow_negative_numbers = true)]
    length_penalty: Option<f64>,
    /// When beams end: false, true or never [built in: false]
    #[arg(long)]
    early_stopping: Option<EarlyStopping>,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Text that ends the generation; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    #[command(flatten)]
    placement: PlacementArgs,
    /// One JSON object a prompt on standard output
    #[arg(long)]
    json: bool,
}

/// Where a model writes.
#[derive(Debug, Args)]
pub(super) struct PlacementArgs {
    /// Where to write: cpu, cuda, cuda:N, or auto for a GPU where there is one
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Type in which the weights are held; on a GPU that of activations, keys and values too
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
    /// Pack the weights
    #[arg(long, value_enum)]
    quantize: Option<Packing>,
}

impl PlacementArgs {
    /// As the engine takes it, in the program that can do it.
    ///
    /// # Errors
    /// A GPU is named, and there is none.
    pub(super) fn chosen(&self, config: &Config) -> anyhow::Result<Placement> {
        crate::gpu::hand_over("--device", &self.device, config)?;
        Ok(Placement {
            device: self.device.clone(),
            dtype: self.dtype.into(),
            quantize: self.quantize.map(Into::into),
        })
    }
}

/// Writes the text as it comes, or one JSON object a prompt at the end.
///
/// # Errors
/// A folder or a setting that cannot be used.
pub(crate) fn run(args: &GenerateArgs, config: &Config) -> anyhow::Result<ExitCode> {
    let placement = args.placement.chosen(config)?;
    let given = args
        .prompt
        .iter()
        .map(|prompt| text_of("--prompt", prompt))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let messages = args
        .messages
        .as_deref()
        .map(|messages| text_of("--messages", messages))
        .transpose()?;
    let model = model_folder::local(&args.model, &config.hub)?;
    let generator = Generator::load_on(&model, args.adapter.as_deref(), args.merge, &placement);
    let generator = generator.map_err(told)?;
    let chat_template = args.chat_template.as_deref();
    if chat_template.is_some() && messages.is_none() && !args.chat {
        return Err(usage_error(
            "--chat-template: needs --chat or --messages".to_owned(),
        ));
    }
    let chat_template = chat_template.map(|template| text_of("--chat-template", template));
    let chat_template = chat_template.transpose()?;
    let write = |conversation: Conversation<'_>, ending: Ending<'_>| {
        generator
            .chat_prompt_by(chat_template.as_deref(), conversation, ending)
            .map_err(told)
    };
    let prompts = match messages {
        Some(messages) => vec![conversation(args, &messages, &write)?],
        None if args.chat => given
            .iter()
            .map(|prompt| asked(args, prompt, &write))
            .collect::<anyhow::Result<_>>()?,
        None => given,
    };
    let settings = settings(args, generator.defaults());
    let requests: Vec<GenerateRequest> = prompts
        .into_iter()
        .enumerate()
        .map(|(index, prompt)| GenerateRequest {
            prompt,
            // Each prompt draws its own numbers, as in `eval`.
            seed: args.seed.wrapping_add(index as u64),
            ..settings.clone()
        })
        .collect();
    let mut out = io::stdout().lock();
    // Several texts that grow together cannot be shown as they come.
    let live = !args.json && requests.len() == 1;
    let generations = generator
        .generate_all(&requests, &mut |_, piece| {
            // Nobody reads any more: a closed pipe ends the generation.
            let closed = live && (write!(out, "{piece}").is_err() || out.flush().is_err());
            if closed {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .map_err(told)?;
    if live {
        writeln!(out)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (request, generation) in requests.iter().zip(&generations) {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(generation)?)?;
        } else {
            writeln!(out, "{}{}\n", request.prompt, generation.text)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &GenerateArgs, defaults: &GenerateRequest) -> GenerateRequest {
    GenerateRequest {
        add_special_tokens: !args.chat && args.messages.is_none(),
        max_new_tokens: args.max_new_tokens.unwrap_or(defaults.max_new_tokens),
        min_new_tokens: args.min_new_tokens.unwrap_or(defaults.min_new_tokens),
        temperature: args.temperature.unwrap_or(defaults.temperature),
        top_k: args.top_k.unwrap_or(defaults.top_k),
        top_p: args.top_p.unwrap_or(defaults.top_p),
        min_p: args.min_p.unwrap_or(defaults.min_p),
        repetition_penalty: args
            .repetition_penalty
            .unwrap_or(defaults.repetition_penalty),
        no_repeat_ngram_size: args
            .no_repeat_ngram_size
            .unwrap_or(defaults.no_repeat_ngram_size),
        num_beams: args.num_beams.unwrap_or(defaults.num_beams),
        length_penalty: args.length_penalty.unwrap_or(defaults.length_penalty),
        early_stopping: args.early_stopping.unwrap_or(defaults.early_stopping),
        stop: match args.stop.is_empty() {
            true => defaults.stop.clone(),
            false => args.stop.clone(),
        },
        ..GenerateRequest::default()
    }
}

/// Writes a conversation by the chat template.
type Writer<'a> = &'a dyn Fn(Conversation<'_>, Ending<'_>) -> anyhow::Result<String>;

/// A prompt as what the user says.
fn asked(args: &GenerateArgs, prompt: &str, write: Writer<'_>) -> anyhow::Result<String> {
    let system = args.system.iter().map(|text| ("system", text.as_str()));
    let messages: Vec<Value> = system
        .chain([("user", prompt)])
        .map(|(role, content)| json!({ "role": role, "content": content }))
        .collect();
    let conversation = Conversation {
        messages: &messages,
        ..Conversation::default()
    };
    write(conversation, Ending::Prompt)
}

fn conversation(args: &GenerateArgs, text: &str, write: Writer<'_>) -> anyhow::Result<String> {
    let wrong = |what: &str| usage_error(format!("--messages: {what}"));
    let given: Value =
        serde_json::from_str(text).map_err(|error| wrong(&format!("is no valid JSON: {error}")))?;
    let whole = match given {
        Value::Array(messages) => Map::from_iter([("messages".to_owned(), messages.into())]),
        Value::Object(whole) => whole,
        _ => {
            return Err(wrong(
                "must be a list of messages, or an object that holds it",
            ));
        }
    };
    let known = ["messages", "tools", "documents", "chat_template_kwargs"];
    if let Some(other) = whole.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(wrong(&format!(
            "holds {other:?}; these are known: {}",
            known.join(", ")
        )));
    }
    let messages = whole
        .get("messages")
        .and_then(Value::as_array)
        .filter(|messages| !messages.is_empty() && messages.iter().all(Value::is_object))
        .ok_or_else(|| wrong("messages must be a list of objects, one at least"))?;
    let variables = match whole.get("chat_template_kwargs") {
        None | Some(Value::Null) => None,
        Some(Value::Object(variables)) => Some(variables),
        Some(_) => return Err(wrong("chat_template_kwargs must be an object")),
    };
    let conversation = Conversation {
        messages,
        tools: whole.get("tools"),
        documents: whole.get("documents"),
        variables,
    };
    let ending = match args.continue_final_message {
        true => Ending::Continue("content"),
        false => Ending::Prompt,
    };
    write(conversation, ending)
}

fn text_of(flag: &str, given: &str) -> anyhow::Result<String> {
    match given.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| usage_error(format!("{flag}: {path}: {error}"))),
        None => Ok(given.to_owned()),
    }
}

fn told(error: engine::Error) -> anyhow::Error {
    usage_error(error.to_string())
}
