//! What leaves the studio: an adapter as a PEFT folder or a GGUF LoRA, or merged into its model as a Hugging Face
//! folder or a GGUF.
//!
//! `request` says what is wanted, `job` makes it: `merge` makes the tensors one at a time; `peft`, `safetensors` and `gguf` write them; `verify` reads what was
//! written again (`reread` for a GGUF LoRA) and compares its answers; `chat` looks at the chat template, `modelfile` and
//! the crate's `card` write what stands beside.

mod chat;
mod gguf;
mod job;
mod merge;
mod modelfile;
mod peft;
mod plain;
mod request;
mod reread;
mod safetensors;
#[cfg(test)]
mod tests;
mod verify;

use crate::tokenizer::{Tokenizer, tokenizer_folder};
use crate::{Error, Result};
use chat::Chat;
use job::Job;
use merge::Merged;

pub use request::{
    ExportDtype, Format, MAX_SHARD_SIZE, Progress, Report, Request, Stage, WrittenFile,
};
pub use verify::Verification;

/// Writes an export, reads it again, and says what came of it.
///
/// It is written beside its place and renamed there only after it has answered as base and adapter do; nothing of a
/// failed export stays. Merging is `W + scale · B A` in f32, one tensor at a time.
///
/// # Errors
/// Model or adapter cannot be read or do not fit, the output exists already, the format cannot carry what the model
/// is, a file cannot be written, or what was written does not answer as it should.
pub fn export(request: &Request) -> Result<Report> {
    export_telling(request, &mut |_| {})
}

/// As [`export`], and says how far it is.
///
/// # Errors
/// As [`export`].
pub fn export_telling(request: &Request, tell: &mut dyn FnMut(Progress)) -> Result<Report> {
    request::check(request)?;
    // Nothing but PEFT knows adapters that changed their base, and it must find the singular values again each time.
    let scratch = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
    let converted = match &request.adapter {
        Some(adapter) => plain::convert(&request.model, adapter, scratch.path())?,
        None => false,
    };
    let adapter = match converted {
        true => Some(scratch.path()),
        false => request.adapter.as_deref(),
    };
    // What is converted leaves the tokenizer behind that an adapter may have brought.
    let own = request.adapter.as_deref();
    let folder = tokenizer_folder(&request.model, own);
    let mut merged = Merged::open(&request.model, adapter, folder)?;
    let tokenizer = match folder.join("tokenizer.json").is_file() {
        true => Some(Tokenizer::of(&request.model, own)?),
        false => None,
    };
    let chat = match &tokenizer {
        Some(tokenizer) if request.format != Format::Peft => Chat::check(tokenizer)?,
        _ => Chat::default(),
    };
    let job = Job {
        request,
        tokenizer,
        chat,
    };
    let single = request
        .output
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
    match (request.format, single) {
        (Format::Gguf | Format::GgufLora, true) => job.file(&mut merged, tell),
        _ => job.folder(&mut merged, tell),
    }
}
