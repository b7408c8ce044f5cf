//! What leaves the studio: an adapter as a PEFT folder or a GGUF LoRA, or merged into its model as a Hugging Face
//! folder or a GGUF.
//!
//! `merge` makes the tensors one at a time; `peft`, `safetensors` and `gguf` write them; `verify` reads what was
//! written again (`reread` for a GGUF LoRA) and compares its answers; `chat` looks at the chat template, `modelfile` and
//! `card` write what stands beside.

mod card;
mod chat;
mod gguf;
mod merge;
mod modelfile;
mod peft;
mod plain;
mod reread;
mod safetensors;
#[cfg(test)]
mod tests;
mod verify;

use std::path::{Path, PathBuf};

use domain::ModelDtype;
use serde::Serialize;

use crate::lora::{Base, read_adapter};
use crate::model::{Decoder, Loading};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, files};
use chat::Chat;
use merge::Merged;
use modelfile::Holds;

pub use verify::Verification;

/// What to write.
#[derive(Debug, Clone)]
pub struct Request {
    /// A Hugging Face folder.
    pub model: PathBuf,
    /// A PEFT folder; without one the model is written as it is.
    pub adapter: Option<PathBuf>,
    /// Form of the output.
    pub format: Format,
    /// A folder that does not exist yet; for a GGUF also a file that ends in `.gguf`.
    pub output: PathBuf,
    /// Type of the weights; the base's own where it is left out (gguf-lora: f32).
    pub dtype: Option<ExportDtype>,
    /// Most bytes of one safetensors file.
    pub max_shard_size: u64,
    /// Replace what is there.
    pub force: bool,
    /// Read the output again and compare its answers with those of base and adapter.
    pub verify: bool,
}

/// Form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The adapter by itself, as Python PEFT reads it.
    Peft,
    /// The adapter merged into its model, as a Hugging Face folder.
    Safetensors,
    /// The adapter merged into its model, as llama.cpp reads it.
    Gguf,
    /// The adapter by itself, as llama.cpp reads it.
    GgufLora,
}

/// Type of exported weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExportDtype {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// 16-bit floats with the range of 32.
    Bf16,
    /// Blocks of 32 values in 8 bits; only in a GGUF.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// Blocks of 256 values in 4 bits; only in a GGUF.
    #[serde(rename = "q4_k")]
    Q4K,
}

/// What was written.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The folder, or the GGUF.
    pub output: PathBuf,
    /// Its form.
    pub format: Format,
    /// Type of its weights; `None` where each tensor kept the base's.
    pub dtype: Option<ExportDtype>,
    /// Every file that was written.
    pub files: Vec<WrittenFile>,
    /// Tensors that the adapter changed.
    pub adapted_tensors: usize,
    /// What a user should know, each in a sentence.
    pub warnings: Vec<String>,
    /// What reading it again showed; `None` where that was not asked for.
    pub verification: Option<Verification>,
}

/// One file of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WrittenFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Transformers' own limit for one file.
pub const MAX_SHARD_SIZE: u64 = 5_000_000_000;

impl ExportDtype {
    fn transformers(self) -> &'static str {
        match self {
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            _ => "float32",
        }
    }

    fn quantized(self) -> bool {
        matches!(self, Self::Q8_0 | Self::Q4K)
    }
}

impl From<ModelDtype> for ExportDtype {
    fn from(dtype: ModelDtype) -> Self {
        match dtype {
            ModelDtype::F32 => Self::F32,
            ModelDtype::F16 => Self::F16,
            ModelDtype::Bf16 => Self::Bf16,
        }
    }
}

/// Writes an export, reads it again, and says what came of it.
///
/// It is written beside its place and renamed there only after it has answered as base and adapter do; nothing of a
/// failed export stays. Merging is `W + scale · B A` in f32, one tensor at a time.
///
/// # Errors
/// Model or adapter cannot be read or do not fit, the output exists already, the format cannot carry what the model
/// is, a file cannot be written, or what was written does not answer as it should.
pub fn export(request: &Request) -> Result<Report> {
    check(request)?;
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
    let mut merged = Merged::open(&request.model, adapter)?;
    let tokenizer = match request.model.join("tokenizer.json").is_file() {
        true => Some(Tokenizer::load(&request.model)?),
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
        (Format::Gguf | Format::GgufLora, true) => job.file(&mut merged),
        _ => job.folder(&mut merged),
    }
}

/// Hub id of the base, or the name of its folder.
fn base_name(merged: &Merged) -> Option<String> {
    let hub = Base::repo_of(&merged.folder);
    hub.or_else(|| Some(merged.folder.file_name()?.to_string_lossy().into_owned()))
}

fn check(request: &Request) -> Result<()> {
    let mut errors = domain::FieldErrors::default();
    let needs_adapter = matches!(request.format, Format::Peft | Format::GgufLora);
    if needs_adapter && request.adapter.is_none() {
        errors.push("adapter", "is missing: this format holds nothing else");
    }
    if let Some(dtype) = request.dtype {
        if request.format == Format::Peft {
            errors.push(
                "dtype",
                "is for merged weights; a PEFT adapter keeps its own",
            );
        }
        if dtype.quantized() && request.format != Format::Gguf {
            errors.push(
                "dtype",
                "q8_0 and q4_k are for the format gguf; f32, f16 and bf16 go everywhere",
            );
        }
        if dtype == ExportDtype::Bf16 && request.format == Format::GgufLora {
            errors.push(
                "dtype",
                "of a GGUF LoRA is f32 or f16, which every llama.cpp multiplies",
            );
        }
    }
    if request.max_shard_size == 0 {
        errors.push("max_shard_size", "must be at least 1 byte");
    }
    errors.into_result()?;
    if crate::gguf::is_gguf(&request.model) {
        return Err(Error::file(
            &request.model,
            "is a GGUF, whose packed weights nothing is merged into; give the Hugging Face folder that it was made from: an adapter that was trained on the file fits that too",
        ));
    }
    if request.output.exists() {
        let same = |other: &Path| request.output.canonicalize().ok() == other.canonicalize().ok();
        if same(&request.model) || request.adapter.as_deref().is_some_and(same) {
            return Err(Error::file(
                &request.output,
                "is what is exported; choose another place",
            ));
        }
        if !request.force {
            return Err(Error::file(
                &request.output,
                "exists already; choose another place, or --force to replace it",
            ));
        }
    }
    Ok(())
}

struct Job<'a> {
    request: &'a Request,
    tokenizer: Option<Tokenizer>,
    chat: Chat,
}

impl Job<'_> {
    /// A folder of files, put in its place when all of them are right.
    fn folder(self, merged: &mut Merged) -> Result<Report> {
        let mut report = self.begin(merged);
        let output = &self.request.output;
        if output.is_file() {
            return Err(Error::file(output, "is a file; this format is a folder"));
        }
        files::replace_folder(output, |fresh| {
            let written = match self.request.format {
                Format::Gguf => fresh.join("model.gguf"),
                Format::GgufLora => fresh.join("adapter.gguf"),
                _ => fresh.to_owned(),
            };
            self.write(&written, merged, &mut report)?;
            report.verification = self.verify(&written, fresh, merged, &mut report)?;
            if written != *fresh {
                let name = written.file_name().unwrap_or_default().to_string_lossy();
                let text = self.modelfile(&name, merged, &mut report);
                files::write_synced(&fresh.join("Modelfile"), text.as_bytes())?;
            }
            let card = card::card(self.request, merged, report.verification.as_ref());
            files::write_synced(&fresh.join("README.md"), card.as_bytes())
        })?;
        let entries = std::fs::read_dir(output).map_err(Error::io("read", output))?;
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect();
        paths.sort();
        report.files = paths.into_iter().map(written_file).collect::<Result<_>>()?;
        Ok(report)
    }

    /// A GGUF by its own name, with a Modelfile beside it.
    fn file(self, merged: &mut Merged) -> Result<Report> {
        let mut report = self.begin(merged);
        let output = &self.request.output;
        if output.is_dir() {
            return Err(Error::file(output, "is a folder; choose another name"));
        }
        let parent = match output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        files::replace_file(output, |fresh| {
            self.write(fresh, merged, &mut report)?;
            report.verification = self.verify(fresh, parent, merged, &mut report)?;
            Ok(())
        })?;
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        let text = self.modelfile(&name, merged, &mut report);
        // The first takes the name that Ollama looks for; another GGUF's is left alone.
        let usual = parent.join("Modelfile");
        let ours = |path: &Path| {
            let own = format!("./{name}\n");
            std::fs::read_to_string(path).is_ok_and(|text| text.contains(&own))
        };
        let modelfile = match !usual.exists() || ours(&usual) {
            true => usual,
            false => output.with_extension("Modelfile"),
        };
        files::replace_file(&modelfile, |fresh| {
            files::write_synced(fresh, text.as_bytes())
        })?;
        report.files = [output.clone(), modelfile]
            .into_iter()
            .map(written_file)
            .collect::<Result<_>>()?;
        Ok(report)
    }

    fn begin(&self, merged: &Merged) -> Report {
        let request = self.request;
        let dtype = request.dtype.or(match request.format {
            Format::Gguf => Some(gguf::own_dtype(merged)),
            Format::GgufLora => Some(ExportDtype::F32),
            Format::Peft | Format::Safetensors => None,
        });
        Report {
            output: request.output.clone(),
            format: request.format,
            dtype,
            files: Vec::new(),
            adapted_tensors: merged.adapted(),
            warnings: self.chat.warnings.clone(),
            verification: None,
        }
    }

    fn write(&self, path: &Path, merged: &mut Merged, report: &mut Report) -> Result<()> {
        let dtype = report.dtype.unwrap_or(ExportDtype::F32);
        let name = card::made_of(self.request);
        match (self.request.format, merged.adapter()) {
            (Format::Peft, Some(adapter)) => peft::write(path, merged, adapter),
            (Format::GgufLora, _) => gguf::write_lora(path, merged, dtype, &name),
            (Format::Gguf, _) => {
                let end = self.chat.end_of_turn.as_ref().map(|(_, id)| *id);
                let tokenizer = self.tokenizer.as_ref();
                let warnings = gguf::write_model(path, merged, dtype, tokenizer, end, &name)?;
                report.warnings.extend(warnings);
                Ok(())
            }
            _ => safetensors::write(path, merged, report.dtype, self.request.max_shard_size),
        }
    }

    fn modelfile(&self, file: &str, merged: &Merged, report: &mut Report) -> String {
        let tokenizer = self.tokenizer.as_ref();
        let base = base_name(merged).unwrap_or_default();
        let holds = match self.request.format {
            Format::GgufLora => Holds::Adapter { file, base: &base },
            _ => Holds::Model(file),
        };
        let eos = tokenizer.and_then(|tokenizer| tokenizer.token(tokenizer.eos_id()?));
        let has_template = tokenizer.is_some_and(|tokenizer| tokenizer.chat_template().is_some());
        let (text, left_out) =
            modelfile::modelfile(&holds, &self.chat, has_template, eos.as_deref());
        report.warnings.extend(left_out);
        text
    }

    /// Asks base and adapter, then what was written. One model is in memory at a time.
    fn verify(
        &self,
        written: &Path,
        scratch: &Path,
        merged: &Merged,
        report: &mut Report,
    ) -> Result<Option<Verification>> {
        if !self.request.verify {
            return Ok(None);
        }
        let own = gguf::own_dtype(merged);
        let (model, adapter) = (&self.request.model, self.request.adapter.as_deref());
        let decoder = load(model, adapter, own)?;
        let ids = verify::prompt(self.tokenizer.as_ref(), &decoder)?;
        let expected = verify::ask(&decoder, &ids)?;
        drop(decoder);
        let dtype = report.dtype.unwrap_or(match self.request.format {
            Format::Peft => ExportDtype::F32,
            _ => own,
        });
        if let (Format::Gguf, Some(tokenizer)) = (self.request.format, &self.tokenizer) {
            report
                .warnings
                .extend(verify::vocabulary(written, tokenizer));
        }
        let got = match self.request.format {
            Format::Peft => verify::ask(&load(model, Some(written), own)?, &ids)?,
            Format::Safetensors => verify::ask(&load(written, None, dtype)?, &ids)?,
            Format::Gguf => verify::ask(&load(written, None, dtype)?, &ids)?,
            Format::GgufLora => in_scratch(scratch, |folder| {
                reread::unpack_lora(written, folder, merged)?;
                verify::ask(&load(model, Some(folder), own)?, &ids)
            })?,
        };
        verify::compare(&self.request.output, &expected, &got, dtype).map(Some)
    }
}

/// A folder beside the output for what is unpacked, removed at the end.
fn in_scratch<T>(parent: &Path, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = tempfile::Builder::new()
        .prefix(".verify-")
        .tempdir_in(parent)
        .map_err(Error::io("create", parent))?;
    work(folder.path())
}

fn load(model: &Path, adapter: Option<&Path>, dtype: ExportDtype) -> Result<Decoder> {
    let mut decoder = Decoder::load(model, Loading::frozen(verify::held(dtype)))?;
    if let Some(adapter) = adapter {
        read_adapter(&mut decoder, adapter, false)?;
    }
    Ok(decoder)
}

fn written_file(path: PathBuf) -> Result<WrittenFile> {
    let metadata = std::fs::metadata(&path).map_err(Error::io("read", &path))?;
    Ok(WrittenFile {
        bytes: metadata.len(),
        path,
    })
}
