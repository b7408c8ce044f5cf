use std::path::{Path, PathBuf};

use domain::ModelDtype;
use serde::Serialize;

use super::verify::Verification;
use crate::{Error, Result};

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

/// How far an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What it does.
    pub stage: Stage,
    /// Parts of that which are done.
    pub done: usize,
    /// Parts of it in all.
    pub total: usize,
}

/// What an export does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Writes tensor by tensor.
    Write,
    /// Asks base and adapter, then what was written, and compares.
    Check,
}

/// Hears how far an export is.
pub(super) type Tell<'a> = &'a mut dyn FnMut(Progress);

/// Transformers' own limit for one file.
pub const MAX_SHARD_SIZE: u64 = 5_000_000_000;

impl ExportDtype {
    pub(super) fn transformers(self) -> &'static str {
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

/// Refuses what no format can carry, and an output that is in the way.
///
/// # Errors
/// Names the setting or the file.
pub(super) fn check(request: &Request) -> Result<()> {
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
